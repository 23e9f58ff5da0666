// SPDX-License-Identifier: Apache-2.0
// The commands that ask the daemon. They know nothing that its answers do not say.
#include "controller/config_suggest.hpp"
#include "controller/control_client.hpp"
#include "controller/duration.hpp"
#include "controller/rate_range.hpp"
#include "controller/status_json.hpp"
#include "controller/status_text.hpp"
#include "tools/gemel/commands.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <optional>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// For questions that the daemon answers from memory.
constexpr Duration kPatience = Duration::seconds(30);
constexpr std::chrono::seconds kWatchInterval{1};
constexpr unsigned kFollowWaitS = 30;
// A number that no log has reached: the answer comes at once and says where the log is.
constexpr std::uint64_t kBeyond = ~std::uint64_t{0};

std::string status_path(const std::string& mirror) {
    return mirror.empty() ? "/v1/status" : "/v1/status/" + ControlClient::escape(mirror);
}

WallTime now() {
    timespec time{};
    clock_gettime(CLOCK_REALTIME, &time);
    return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

void print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

// One picture of the state; nothing when the answer is none.
std::optional<std::string> render(const ControlAnswer& answer, bool json) {
    if (json) return answer.body;
    const std::optional<NodeStatus> status = parse_node_status(answer.body);
    if (!status) return std::nullopt;
    return status_text(*status, {isatty(STDOUT_FILENO) == 1, now()});
}

// Over what was there before, without flicker: each line is cleared to its end, then the rest.
std::string repaint(const std::string& text) {
    std::string painted = "\x1b[H";
    for (const char c : text) {
        if (c == '\n') painted += "\x1b[K";
        painted += c;
    }
    return painted + "\x1b[J";
}

int watch(ControlClient& client, const StatusOptions& options, std::string text) {
    const bool is_terminal = isatty(STDOUT_FILENO) == 1 && !options.json;
    for (;;) {
        print(is_terminal ? repaint(text) : options.json ? text : text + "\n");
        if (std::ferror(stdout) != 0) return kExitFailed;
        std::this_thread::sleep_for(kWatchInterval);
        const ControlAnswer answer = client.get(status_path(options.mirror), kPatience);
        // A daemon that restarts comes back; a mirror that is gone does not.
        if (answer.http_status == 404) return fail(answer);
        const std::optional<std::string> next =
            answer.is_done() ? render(answer, options.json) : std::nullopt;
        if (next) {
            text = *next;
        } else if (options.json) {
            return fail(answer);
        } else {
            text = printable(answer.sentence) + "\n";
        }
    }
}

// The number of the newest event; nothing when the answer is none.
std::optional<std::uint64_t> last_of(const ControlAnswer& answer) {
    const Json json = Json::parse(answer.body, nullptr, false);
    if (!json.is_object() || !json.contains("last") || !json["last"].is_number_unsigned()) {
        return std::nullopt;
    }
    return json["last"].get<std::uint64_t>();
}

std::string events_path(std::uint64_t since, unsigned wait_s) {
    return "/v1/events?since=" + std::to_string(since) + "&wait=" + std::to_string(wait_s);
}

std::string text_of(const Json& event, const char* key) {
    const auto found = event.find(key);
    if (found == event.end() || !found->is_string()) return "";
    return printable(found->get<std::string>());
}

// What a dry run has answered, for a person; empty when it is something else.
std::string estimate_text(const std::string& body) {
    const auto bytes = [](const Json& json) { return format_size(json.get<std::uint64_t>()); };
    try {
        const Json json = Json::parse(body);
        std::string text;
        for (const Json& volume : json.at("volumes")) {
            const Json& objects = volume.at("objects");
            text += printable(volume.at("path").get<std::string>()) + ": ";
            text += objects.is_null() ? "all objects" : objects.dump() + " objects";
            text += ", " + bytes(volume.at("compare_bytes")) + " to compare, at most " +
                    bytes(volume.at("send_bytes_max")) + " to send\n";
        }
        if (json.at("seconds_max").is_null()) {
            text +=
                "how long it takes is not known: no rate has been seen, and none is the limit\n";
        } else {
            const bool observed = json.at("rate_from").get<std::string>() == "observed";
            text += "at most " + format_age(json.at("seconds_max").get<std::uint64_t>()) + " at " +
                    bytes(json.at("rate_bytes_per_s")) + "/s, " +
                    (observed ? "as seen last\n" : "the highest rate allowed\n");
        }
        if (json.at("paused").get<bool>()) text += "it is paused\n";
        for (const Json& unknown : json.at("unknown")) {
            text += "note: " + printable(unknown.get<std::string>()) + "\n";
        }
        return text;
    } catch (const Json::exception&) {
        return {};
    }
}

void print_events(const Json& events, bool json) {
    for (const Json& event : events) {
        if (json) {
            print(event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
            continue;
        }
        const std::string mirror = text_of(event, "mirror");
        print(text_of(event, "time") + "  " + (mirror.empty() ? "-" : mirror) + "  " +
              text_of(event, "kind") + ": " + text_of(event, "text") + "\n");
    }
}

}  // namespace

int fail(const ControlAnswer& answer) {
    switch (answer.outcome) {
        case ControlAnswer::Outcome::no_daemon:
            complain(answer.sentence + "; is gemeld running? --run names another run directory");
            return kExitNoDaemon;
        case ControlAnswer::Outcome::timed_out:
            complain(answer.sentence);
            return kExitTimedOut;
        case ControlAnswer::Outcome::answered:
        case ControlAnswer::Outcome::failed:
            break;
    }
    complain(answer.sentence);
    // 504: what was asked for has a time limit of its own.
    return answer.http_status == 504 ? kExitTimedOut : kExitFailed;
}

int fail_unintelligible() {
    complain("gemeld answered something that this gemel does not understand; other versions?");
    return kExitFailed;
}

int show_status(const std::string& run, const StatusOptions& options) {
    ControlClient client(run);
    const ControlAnswer answer = client.get(status_path(options.mirror), kPatience);
    if (!answer.is_done()) return fail(answer);
    std::optional<std::string> text = render(answer, options.json);
    if (!text) return fail_unintelligible();
    if (options.watch) return watch(client, options, std::move(*text));
    print(*text);
    return kExitDone;
}

int wait_for_state(const std::string& run, const WaitOptions& options) {
    const std::optional<MirrorState> wanted = parse_mirror_state(options.state);
    if (!wanted) {
        std::vector<std::string_view> names;
        for (const MirrorState state : kMirrorStates) names.push_back(mirror_state_name(state));
        complain("'" + options.state + "' is no state of a mirror" +
                 suggestion(options.state, names));
        return kExitUsage;
    }
    const std::optional<Duration> limit = parse_duration(options.timeout);
    if (!options.timeout.empty() && !limit) {
        complain("'" + options.timeout + "' is no time; write it like 500ms, 30s or 2min");
        return kExitUsage;
    }
    const auto deadline = Clock::now() + std::chrono::nanoseconds(limit ? limit->ns : 0);
    ControlClient client(run);
    // The number is taken before the state, so that no change falls between the two.
    ControlAnswer events = client.get(events_path(kBeyond, 0), kPatience);
    for (;;) {
        if (!events.is_done() && events.outcome != ControlAnswer::Outcome::timed_out) {
            return fail(events);
        }
        const ControlAnswer answer = client.get(status_path(options.mirror), kPatience);
        if (!answer.is_done()) return fail(answer);
        const std::optional<NodeStatus> status = parse_node_status(answer.body);
        if (!status || status->mirrors.size() != 1) return fail_unintelligible();
        const MirrorStatus& mirror = status->mirrors[0];
        if (mirror.state == *wanted) return kExitDone;
        Duration left = kPatience;
        if (limit) left = {std::chrono::nanoseconds(deadline - Clock::now()).count()};
        if (left <= Duration{}) {
            complain("mirror '" + mirror.name + "' is still " +
                     std::string(mirror_state_name(mirror.state)) + " after " + options.timeout +
                     (mirror.reason.empty() ? "" : ": " + printable(mirror.reason)));
            return kExitTimedOut;
        }
        // A second at most: not every change of what is asked for need be an event.
        const std::uint64_t since = last_of(events).value_or(kBeyond);
        if (since == kBeyond) std::this_thread::sleep_for(std::chrono::milliseconds(100));
        events = client.get(events_path(since, 1), left);
    }
}

int show_events(const std::string& run, const EventsOptions& options) {
    ControlClient client(run);
    std::uint64_t since = 0;
    unsigned wait_s = 0;
    do {
        const ControlAnswer answer =
            client.get(events_path(since, wait_s), Duration::seconds(wait_s) + kPatience);
        if (!answer.is_done()) return fail(answer);
        const Json json = Json::parse(answer.body, nullptr, false);
        const std::optional<std::uint64_t> last = last_of(answer);
        if (!last || !json.contains("events")) return fail_unintelligible();
        print_events(json["events"], options.json);
        if (std::ferror(stdout) != 0) return kExitFailed;
        since = *last;
        wait_s = kFollowWaitS;
    } while (options.follow);
    return kExitDone;
}

namespace {

int post_command(const std::string& run, const std::string& mirror, const std::string& verb,
                 const std::string& body) {
    ControlClient client(run);
    // Without a limit: an application may take long to stop, and the daemon knows its limit.
    const ControlAnswer answer =
        client.post("/v1/mirrors/" + ControlClient::escape(mirror) + "/" + verb, body, Duration{});
    if (!answer.is_done()) return fail(answer);
    const Json json = Json::parse(answer.body, nullptr, false);
    if (json.is_object() && json.contains("text")) print(text_of(json, "text") + "\n");
    return kExitDone;
}

}  // namespace

int send_command(const std::string& run, const std::string& mirror, const std::string& verb) {
    return post_command(run, mirror, verb, "");
}

int promote(const std::string& run, const std::string& mirror, bool before_resync) {
    const Json body{{"force", true}, {"before_resync", before_resync}};
    return post_command(run, mirror, "promote", body.dump());
}

int resync(const std::string& run, const ResyncOptions& options) {
    const int asked = int{options.full && !options.dry_run} + int{options.pause} +
                      int{options.resume} + int{options.dry_run} + int{!options.rate.empty()};
    if (asked != 1) {
        complain("resync takes one of --full, --pause, --resume, --rate and --dry-run; " +
                 std::string("what is dirty is brought up to date without being asked"));
        return kExitUsage;
    }
    Json body = Json::object();
    if (options.full) body["full"] = true;
    if (options.pause) body["pause"] = true;
    if (options.resume) body["resume"] = true;
    if (options.dry_run) body["dry_run"] = true;
    if (!options.rate.empty()) {
        ResyncRateRange range;
        const std::string mistake = parse_rate_range(options.rate, range);
        if (!mistake.empty()) {
            complain("--rate " + mistake);
            return kExitUsage;
        }
        body["rate"] = options.rate;
    }
    ControlClient client(run);
    const ControlAnswer answer =
        client.post("/v1/mirrors/" + ControlClient::escape(options.mirror) + "/resync",
                    body.dump(-1, ' ', false, Json::error_handler_t::replace), Duration{});
    if (!answer.is_done()) return fail(answer);
    if (!options.dry_run) return kExitDone;
    if (options.json) {
        print(answer.body);
        return kExitDone;
    }
    const std::string text = estimate_text(answer.body);
    if (text.empty()) return fail_unintelligible();
    print(text);
    return kExitDone;
}

int resize_volume(const std::string& run, const std::string& mirror, const std::string& volume,
                  const std::string& size) {
    const std::optional<std::uint64_t> bytes = parse_size(size);
    if (!bytes || *bytes == 0) {
        complain("'" + size + "' is no size like \"500MiB\" or \"30GiB\"");
        return kExitUsage;
    }
    ControlClient client(run);
    const Json body{{"volume", volume}, {"size", *bytes}};
    // Without a limit: a device may have to be zeroed first.
    const ControlAnswer answer =
        client.post("/v1/mirrors/" + ControlClient::escape(mirror) + "/resize",
                    body.dump(-1, ' ', false, Json::error_handler_t::replace), Duration{});
    return answer.is_done() ? kExitDone : fail(answer);
}

int refuse_promotion(const std::string& run, const std::string& mirror) {
    ControlClient client(run);
    const ControlAnswer answer = client.get(status_path(mirror), kPatience);
    if (!answer.is_done()) return fail(answer);
    const std::optional<NodeStatus> status = parse_node_status(answer.body);
    if (!status || status->mirrors.size() != 1) return fail_unintelligible();
    complain(promote_warning(status->node, status->mirrors[0]));
    return kExitFailed;
}

}  // namespace gemel
