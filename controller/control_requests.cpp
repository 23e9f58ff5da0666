// SPDX-License-Identifier: Apache-2.0
#include "controller/control_requests.hpp"

#include "controller/doctor.hpp"
#include "controller/rate_range.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

namespace gemel {
namespace {

using Json = nlohmann::json;

constexpr unsigned kWaitMaxS = 60;
constexpr std::array kVerbs{ControlVerb::start,  ControlVerb::stop,    ControlVerb::release,
                            ControlVerb::swap,   ControlVerb::promote, ControlVerb::verify,
                            ControlVerb::resync, ControlVerb::resize};

// "/v1/status/db" -> {"v1", "status", "db"}; an empty part makes it none of ours.
std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> parts;
    while (path.starts_with('/')) {
        path.remove_prefix(1);
        const std::size_t end = std::min(path.find('/'), path.size());
        parts.emplace_back(path.substr(0, end));
        path.remove_prefix(end);
    }
    return parts;
}

template <typename T>
bool parse_number(const std::string& text, T& number) {
    if (text.empty()) return true;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

ControlReply not_found() { return ControlReply::error(404, "there is nothing at this path"); }

ControlReply wrong_method(std::string_view right) {
    return ControlReply::error(405, "this path takes " + std::string(right) + " only");
}

// The options that a verb has; null for the others'.
bool* option_of(ControlCommand& command, std::string_view name) {
    if (name == "force" && command.verb == ControlVerb::promote) return &command.force;
    if (name == "before_resync" && command.verb == ControlVerb::promote) {
        return &command.before_resync;
    }
    if (name == "repair" && command.verb == ControlVerb::verify) return &command.repair;
    if (name == "stop" && command.verb == ControlVerb::verify) return &command.stop;
    if (command.verb != ControlVerb::resync) return nullptr;
    if (name == "full") return &command.full;
    if (name == "pause") return &command.pause;
    if (name == "resume") return &command.resume;
    if (name == "dry_run") return &command.dry_run;
    return nullptr;
}

std::optional<ControlReply> parse_options(std::string_view body, ControlCommand& command) {
    if (body.empty()) return std::nullopt;
    const Json json = Json::parse(body, nullptr, false);
    if (!json.is_object()) return ControlReply::error(400, "the body has to be a JSON object");
    for (const auto& [name, value] : json.items()) {
        if (command.verb == ControlVerb::resize && name == "volume" && value.is_string()) {
            command.volume = value.get<std::string>();
            continue;
        }
        if (command.verb == ControlVerb::resize && name == "size" && value.is_number_unsigned()) {
            command.size = value.get<std::uint64_t>();
            continue;
        }
        if (command.verb == ControlVerb::verify && name == "rate" && value.is_number_unsigned()) {
            command.rate = value.get<std::uint64_t>();
            continue;
        }
        if (command.verb == ControlVerb::resync && name == "rate" && value.is_string()) {
            ResyncRateRange range;
            const std::string mistake = parse_rate_range(value.get<std::string>(), range);
            if (!mistake.empty()) return ControlReply::error(400, "'rate' " + mistake);
            command.rate_range = range;
            continue;
        }
        bool* option = option_of(command, name);
        if (option == nullptr || !value.is_boolean()) {
            return ControlReply::error(400, "'" + std::string(control_verb_name(command.verb)) +
                                                "' takes no '" + name + "' like that");
        }
        *option = value.get<bool>();
    }
    return std::nullopt;
}

// Two verbs cannot be undone or cost much, and are asked for twice.
std::optional<ControlReply> check_consent(const ControlCommand& command) {
    if (command.verb == ControlVerb::promote && !command.force) {
        return ControlReply::error(409,
                                   "promote may lose writes that only the other node has; "
                                   "it needs {\"force\":true}");
    }
    if (command.verb == ControlVerb::resize && (command.volume.empty() || command.size == 0)) {
        return ControlReply::error(400, "resize needs {\"volume\":NAME,\"size\":BYTES}");
    }
    if (command.stop && (command.repair || command.rate)) {
        return ControlReply::error(400, "'stop' ends a verify and goes with nothing else");
    }
    if (command.verb != ControlVerb::resync) return std::nullopt;
    const int asked = int{command.full} + int{command.pause} + int{command.resume} +
                      int{command.dry_run} + int{command.rate_range.has_value()};
    if (asked == 0) {
        return ControlReply::error(400,
                                   "a resync of what is dirty runs by itself; comparing "
                                   "everything needs {\"full\":true}");
    }
    if (asked > 1 && !(asked == 2 && command.full && command.dry_run)) {
        return ControlReply::error(400,
                                   "resync takes one of 'full', 'pause', 'resume', 'rate' and "
                                   "'dry_run'; only 'dry_run' may have 'full' beside it");
    }
    return std::nullopt;
}

std::optional<ControlReply> parse_command(const std::vector<std::string>& parts,
                                          std::string_view body, ControlRequest& request) {
    const auto verb = std::find_if(kVerbs.begin(), kVerbs.end(), [&](ControlVerb candidate) {
        return control_verb_name(candidate) == parts[3];
    });
    if (verb == kVerbs.end() || parts[2].empty()) return not_found();
    request.kind = ControlRequest::Kind::command;
    request.command.mirror = parts[2];
    request.command.verb = *verb;
    if (auto mistake = parse_options(body, request.command)) return mistake;
    return check_consent(request.command);
}

std::optional<ControlReply> parse_events(const std::function<std::string(const char*)>& argument,
                                         ControlRequest& request) {
    request.kind = ControlRequest::Kind::events;
    if (!parse_number(argument("since"), request.since) ||
        !parse_number(argument("wait"), request.wait_s)) {
        return ControlReply::error(400, "'since' and 'wait' have to be whole numbers");
    }
    request.wait_s = std::min(request.wait_s, kWaitMaxS);
    return std::nullopt;
}

}  // namespace

ControlReply ControlReply::error(unsigned http_status, std::string_view sentence) {
    const Json json{{"error", sentence}};
    return {http_status, json.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

std::optional<ControlReply> parse_control_request(
    std::string_view method, std::string_view path, std::string_view body,
    const std::function<std::string(const char*)>& argument, ControlRequest& request) {
    const std::vector<std::string> parts = split(path);
    if (parts.size() < 2 || parts[0] != "v1") return not_found();
    const std::string& what = parts[1];
    if (what == "mirrors" && parts.size() == 4) {
        request.command.show = method == "GET" && parts[3] == "verify";
        if (method != "POST" && !request.command.show) return wrong_method("POST");
        return parse_command(parts, body, request);
    }
    const bool is_status = what == "status" && parts.size() <= 3;
    const bool is_single =
        (what == "version" || what == "doctor" || what == "events") && parts.size() == 2;
    if (!is_status && !is_single) return not_found();
    if (method != "GET") return wrong_method("GET");
    if (what == "version") return ControlReply{200, R"({"version":")" GEMEL_VERSION R"("})"};
    if (what == "doctor") return ControlReply{200, to_json(examine_machine())};
    if (what == "events") return parse_events(argument, request);
    request.kind = ControlRequest::Kind::status;
    if (parts.size() == 3) request.command.mirror = parts[2];
    return std::nullopt;
}

}  // namespace gemel
