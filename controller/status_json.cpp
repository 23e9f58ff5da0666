// SPDX-License-Identifier: Apache-2.0
#include "controller/status_json.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdio>
#include <ctime>

namespace gemel {
namespace {

using Json = nlohmann::ordered_json;

// Paths may hold any bytes, JSON only UTF-8: what is none becomes the replacement character.
std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

template <typename T>
Json optional_json(const std::optional<T>& value) {
    return value ? Json(*value) : Json(nullptr);
}

Json peer_json(const PeerStatus& peer) {
    Json links = Json::array();
    for (const LinkStatus& link : peer.links) {
        links.push_back(Json{
            {"address", link.address}, {"up", link.up}, {"rtt_us", optional_json(link.rtt_us)}});
    }
    const Json state = peer.state ? Json(mirror_state_name(*peer.state)) : Json("unknown");
    Json json{{"node", peer.node},
              {"state", state},
              {"connected", peer.connected},
              {"links", std::move(links)}};
    if (!peer.trouble.empty()) json["trouble"] = peer.trouble;
    return json;
}

Json volume_json(const VolumeStatus& volume) {
    Json resync = nullptr;
    if (volume.resync) {
        resync = Json{{"done_bytes", volume.resync->done_bytes},
                      {"total_bytes", volume.resync->total_bytes},
                      {"rate_bytes_per_s", volume.resync->rate_bytes_per_s},
                      {"eta_s", optional_json(volume.resync->eta_s)}};
    }
    Json json{{"kind", volume.kind},
              {"name", volume.name},
              {"path", volume.path},
              {"sync", volume.sync},
              {"dirty_bytes", volume.dirty_bytes},
              {"dirty_objects", volume.dirty_objects},
              {"resync", std::move(resync)}};
    if (volume.size_bytes != 0) json["size_bytes"] = volume.size_bytes;
    return json;
}

Json verify_json(const VerifyStatus& verify) {
    Json running = nullptr;
    if (verify.running) {
        const VerifyRunning& run = *verify.running;
        running = Json{{"began", format_wall_time(run.began)},
                       {"mends", run.mends},
                       {"done_bytes", run.done_bytes},
                       {"total_bytes", run.total_bytes},
                       {"rate_bytes_per_s", run.rate_bytes_per_s},
                       {"eta_s", optional_json(run.eta_s)},
                       {"objects", run.objects},
                       {"differing", run.differing}};
    }
    Json last = nullptr;
    if (verify.last) {
        const VerifyResult& result = *verify.last;
        last = Json{{"began", format_wall_time(result.began)},
                    {"ended", format_wall_time(result.ended)},
                    {"outcome", verify_outcome_name(result.outcome)},
                    {"why", result.why},
                    {"scheduled", result.scheduled},
                    {"objects", result.objects},
                    {"bytes", result.bytes},
                    {"differing", result.differing},
                    {"mended", result.mended}};
    }
    return Json{{"run", verify.run},
                {"period_s", verify.period_s},
                {"running", std::move(running)},
                {"last", std::move(last)}};
}

Json ranges_json(const VerifyFinding::Ranges& ranges) {
    Json json = Json::array();
    for (const auto& [begin, end] : ranges) json.push_back(Json::array({begin, end}));
    return json;
}

Json pace_json(const ResyncPaceStatus& pace) {
    return Json{{"min_bytes_per_s", pace.min_bytes_per_s},
                {"max_bytes_per_s", optional_json(pace.max_bytes_per_s)},
                {"paused", pace.paused}};
}

Json before_resync_json(const MirrorStatus& mirror) {
    if (!mirror.before_resync) return nullptr;
    return Json{{"kept", mirror.before_resync->kept}, {"why_not", mirror.before_resync->why_not}};
}

Json mirror_json(const MirrorStatus& mirror) {
    Json volumes = Json::array();
    for (const VolumeStatus& volume : mirror.volumes) volumes.push_back(volume_json(volume));
    Json addresses = Json::array();
    for (const VirtualIpStatus& ip : mirror.virtual_ip) {
        addresses.push_back(Json{{"address", ip.address}, {"held", ip.held}});
    }
    return Json{{"name", mirror.name},
                {"state", mirror_state_name(mirror.state)},
                {"since", format_wall_time(mirror.since)},
                {"reason", mirror.reason},
                {"epoch", mirror.epoch},
                {"in_sync", mirror.in_sync},
                {"peer", peer_json(mirror.peer)},
                {"volumes", std::move(volumes)},
                {"exclude", mirror.exclude},
                {"tracking", mirror.tracking},
                {"resync_pace", pace_json(mirror.resync_pace)},
                {"before_resync", before_resync_json(mirror)},
                {"application", Json{{"state", mirror.application.state},
                                     {"since", format_wall_time(mirror.application.since)}}},
                {"virtual_ip", std::move(addresses)},
                {"verify", verify_json(mirror.verify)}};
}

// The readers below throw Json::exception when the contract is not met.

WallTime time_of(const Json& json, const char* key) {
    return parse_wall_time(json.at(key).get<std::string>()).value_or(WallTime{});
}

std::optional<std::uint64_t> optional_number(const Json& json, const char* key) {
    const Json& value = json.at(key);
    if (value.is_null()) return std::nullopt;
    return value.get<std::uint64_t>();
}

PeerStatus peer_of(const Json& json) {
    PeerStatus peer;
    peer.node = json.at("node").get<std::string>();
    peer.state = parse_mirror_state(json.at("state").get<std::string>());
    peer.connected = json.at("connected").get<bool>();
    peer.trouble = json.value("trouble", "");
    for (const Json& link : json.at("links")) {
        peer.links.push_back({link.at("address").get<std::string>(), link.at("up").get<bool>(),
                              optional_number(link, "rtt_us")});
    }
    return peer;
}

VolumeStatus volume_of(const Json& json) {
    VolumeStatus volume;
    volume.kind = json.at("kind").get<std::string>();
    volume.name = json.at("name").get<std::string>();
    volume.path = json.at("path").get<std::string>();
    volume.sync = json.at("sync").get<std::string>();
    volume.dirty_bytes = json.at("dirty_bytes").get<std::uint64_t>();
    volume.dirty_objects = json.at("dirty_objects").get<std::uint64_t>();
    volume.size_bytes = json.value("size_bytes", std::uint64_t{0});
    if (const Json& resync = json.at("resync"); !resync.is_null()) {
        volume.resync = ResyncStatus{resync.at("done_bytes").get<std::uint64_t>(),
                                     resync.at("total_bytes").get<std::uint64_t>(),
                                     resync.at("rate_bytes_per_s").get<std::uint64_t>(),
                                     optional_number(resync, "eta_s")};
    }
    return volume;
}

VerifyStatus verify_of(const Json& json) {
    VerifyStatus verify;
    verify.run = json.at("run").get<std::uint64_t>();
    verify.period_s = json.at("period_s").get<std::uint64_t>();
    if (const Json& running = json.at("running"); !running.is_null()) {
        verify.running = VerifyRunning{time_of(running, "began"),
                                       running.at("mends").get<bool>(),
                                       running.at("done_bytes").get<std::uint64_t>(),
                                       running.at("total_bytes").get<std::uint64_t>(),
                                       running.at("rate_bytes_per_s").get<std::uint64_t>(),
                                       optional_number(running, "eta_s"),
                                       running.at("objects").get<std::uint64_t>(),
                                       running.at("differing").get<std::uint64_t>()};
    }
    if (const Json& last = json.at("last"); !last.is_null()) {
        const auto outcome = parse_verify_outcome(last.at("outcome").get<std::string>());
        verify.last = VerifyResult{time_of(last, "began"),
                                   time_of(last, "ended"),
                                   outcome.value_or(VerifyOutcome::failed),
                                   last.at("why").get<std::string>(),
                                   last.at("scheduled").get<bool>(),
                                   last.at("objects").get<std::uint64_t>(),
                                   last.at("bytes").get<std::uint64_t>(),
                                   last.at("differing").get<std::uint64_t>(),
                                   last.at("mended").get<std::uint64_t>()};
    }
    return verify;
}

MirrorStatus mirror_of(const Json& json) {
    MirrorStatus mirror;
    mirror.name = json.at("name").get<std::string>();
    mirror.state =
        parse_mirror_state(json.at("state").get<std::string>()).value_or(MirrorState::wait);
    mirror.since = time_of(json, "since");
    mirror.reason = json.at("reason").get<std::string>();
    mirror.epoch = json.at("epoch").get<std::uint64_t>();
    mirror.in_sync = json.at("in_sync").get<std::vector<std::string>>();
    mirror.peer = peer_of(json.at("peer"));
    for (const Json& volume : json.at("volumes")) mirror.volumes.push_back(volume_of(volume));
    mirror.exclude = json.value("exclude", std::vector<std::string>());
    mirror.tracking = json.value("tracking", "");
    if (const auto pace = json.find("resync_pace"); pace != json.end()) {
        mirror.resync_pace = {pace->at("min_bytes_per_s").get<std::uint64_t>(),
                              optional_number(*pace, "max_bytes_per_s"),
                              pace->at("paused").get<bool>()};
    }
    if (const auto before = json.find("before_resync");
        before != json.end() && before->is_object()) {
        mirror.before_resync =
            BeforeResyncStatus{before->value("kept", false), before->value("why_not", "")};
    }
    mirror.application.state = json.at("application").at("state").get<std::string>();
    mirror.application.since = time_of(json.at("application"), "since");
    for (const Json& ip : json.at("virtual_ip")) {
        mirror.virtual_ip.push_back(
            {ip.at("address").get<std::string>(), ip.at("held").get<bool>()});
    }
    if (json.contains("verify")) mirror.verify = verify_of(json.at("verify"));
    return mirror;
}

}  // namespace

std::string to_json(const NodeStatus& status) {
    Json mirrors = Json::array();
    for (const MirrorStatus& mirror : status.mirrors) mirrors.push_back(mirror_json(mirror));
    return dump(Json{{"cluster", status.cluster},
                     {"node", status.node},
                     {"version", status.version},
                     {"mirrors", std::move(mirrors)}});
}

std::string to_json(const VerifyStatus& verify, const std::vector<VerifyFinding>& findings) {
    Json json = verify_json(verify);
    Json list = Json::array();
    for (const VerifyFinding& finding : findings) {
        Json details = Json::array();
        for (const VerifyFinding::Detail& detail : finding.details) {
            details.push_back(
                Json{{"what", detail.what}, {"here", detail.here}, {"there", detail.there}});
        }
        list.push_back(Json{{"volume", finding.volume},
                            {"path", finding.path},
                            {"details", std::move(details)},
                            {"content", ranges_json(finding.content)},
                            {"holes", ranges_json(finding.holes)}});
    }
    json["differences"] = std::move(list);
    return dump(json);
}

std::optional<VerifyFindings> parse_verify_report(std::string_view json) {
    try {
        const Json root = Json::parse(json);
        VerifyFindings report;
        report.status = verify_of(root);
        const auto ranges_of = [](const Json& list) {
            VerifyFinding::Ranges ranges;
            for (const Json& range : list) {
                ranges.emplace_back(range.at(0).get<std::uint64_t>(),
                                    range.at(1).get<std::uint64_t>());
            }
            return ranges;
        };
        for (const Json& one : root.at("differences")) {
            VerifyFinding finding;
            finding.volume = one.at("volume").get<std::string>();
            finding.path = one.at("path").get<std::string>();
            for (const Json& detail : one.at("details")) {
                finding.details.push_back({detail.at("what").get<std::string>(),
                                           detail.at("here").get<std::string>(),
                                           detail.at("there").get<std::string>()});
            }
            finding.content = ranges_of(one.at("content"));
            finding.holes = ranges_of(one.at("holes"));
            report.findings.push_back(std::move(finding));
        }
        return report;
    } catch (const Json::exception&) {
        return std::nullopt;
    }
}

std::optional<NodeStatus> parse_node_status(std::string_view json) {
    try {
        const Json root = Json::parse(json);
        NodeStatus status;
        status.cluster = root.at("cluster").get<std::string>();
        status.node = root.at("node").get<std::string>();
        status.version = root.at("version").get<std::string>();
        for (const Json& mirror : root.at("mirrors")) status.mirrors.push_back(mirror_of(mirror));
        return status;
    } catch (const Json::exception&) {
        return std::nullopt;
    }
}

std::string format_wall_time(WallTime time) {
    const std::time_t seconds = time.seconds;
    std::tm parts{};
    if (gmtime_r(&seconds, &parts) == nullptr) return "1970-01-01T00:00:00.000Z";
    std::array<char, 32> date{};
    std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%s.%03uZ", date.data(), time.nanoseconds / 1'000'000);
    return text.data();
}

std::optional<WallTime> parse_wall_time(std::string_view text) {
    const std::string copy(text);
    std::tm parts{};
    const char* rest = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    unsigned milliseconds = 0;
    int length = -1;
    if (rest == nullptr || std::sscanf(rest, ".%3uZ%n", &milliseconds, &length) != 1) {
        return std::nullopt;
    }
    if (length != 5 || rest[length] != '\0') return std::nullopt;
    return WallTime{timegm(&parts), milliseconds * 1'000'000};
}

}  // namespace gemel
