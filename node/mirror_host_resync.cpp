// SPDX-License-Identifier: Apache-2.0
// A person's commands about the resyncs of one mirror: pace, pause, and what one would cost.
#include "controller/rate_range.hpp"
#include "controller/status_text.hpp"
#include "resync/estimate.hpp"

#include <nlohmann/json.hpp>

#include "node/mirror_host.hpp"
#include <algorithm>

namespace gemel {

namespace {

using Json = nlohmann::ordered_json;

Json volume_json(const ResyncEstimate::Volume& volume, const VolumeStatus& status) {
    // Of a whole tree nobody has counted the objects.
    const bool is_uncounted = volume.full && status.kind == "directory";
    return Json{{"name", status.name},
                {"path", status.path},
                {"full", volume.full},
                {"objects", is_uncounted ? Json(nullptr) : Json(volume.objects)},
                {"compare_bytes", volume.compare_bytes},
                {"send_bytes_max", volume.send_bytes_max}};
}

}  // namespace

// What nobody can know here, as sentences.
std::vector<std::string> MirrorHost::unknowns_of(const ResyncEstimate& estimate) {
    std::vector<std::string> unknown;
    const bool is_running = replica_->resync_progress().running;
    if (!is_running) {
        unknown.push_back("what " + peer() + " had under way itself, or lost by a reboot, is " +
                          "compared too; it says so when the resync begins");
    }
    if (estimate.send_bytes_max() > estimate.compare_bytes()) {
        unknown.push_back("of objects that " + peer() + " may lack, what it has all the same is " +
                          "compared instead of sent");
    }
    if (estimate.compare_bytes() != 0) {
        unknown.push_back("how much of what is compared differs is not known before");
    }
    for (std::size_t i = 0; i < estimate.volumes.size(); ++i) {
        const VolumeStatus status = volume_status(static_cast<std::uint16_t>(i));
        const ResyncEstimate::Volume& volume = estimate.volumes[i];
        if (volume.full && status.kind == "directory") {
            unknown.push_back("of " + status.path + " everything is compared: the bytes are all " +
                              "that is used on its file system");
        }
        if (volume.sampled) {
            unknown.push_back("the bytes of " + status.path + " are concluded from " +
                              std::to_string(ResyncEstimate::kLookedAtMax) + " of its objects");
        }
    }
    unknown.emplace_back("names and attributes are not counted, nor what applications write");
    return unknown;
}

ControlReply MirrorHost::estimate(bool full) {
    const MirrorState state = node_->machine().state();
    if (state != MirrorState::alone && state != MirrorState::primary) {
        return ControlReply::error(409,
                                   "what a resync has to do is known by the node that serves; "
                                   "this one is in state " +
                                       std::string(mirror_state_name(state)));
    }
    const ResyncEstimate found = estimate_resync(replica(), full);
    Json volumes = Json::array();
    for (std::size_t i = 0; i < found.volumes.size(); ++i) {
        volumes.push_back(
            volume_json(found.volumes[i], volume_status(static_cast<std::uint16_t>(i))));
    }
    const ResyncRateRange& range = replica_->resync_pacer().range();
    const std::uint64_t observed = replica_->resync_progress().rate_bytes_per_s;
    const bool is_limited = range.max != ResyncRateRange::kUnlimited;
    Json rate = nullptr;
    Json seconds = nullptr;
    const char* rate_from = "unknown";
    // The range counts what is compared and what is sent; what has been observed, each byte once.
    std::uint64_t work = found.send_bytes_max();
    if (observed != 0) {
        rate = std::min(observed, range.max);
        rate_from = "observed";
    } else if (is_limited) {
        rate = range.max;
        rate_from = "limit";
        work += found.compare_bytes();
    }
    if (!rate.is_null()) seconds = work / rate.get<std::uint64_t>();
    const Json json{{"mirror", mirror_.name},
                    {"running", replica_->resync_progress().running},
                    {"paused", replica_->resync_pacer().is_paused()},
                    {"peer_connected", node_->is_connected()},
                    {"volumes", std::move(volumes)},
                    {"compare_bytes", found.compare_bytes()},
                    {"send_bytes_max", found.send_bytes_max()},
                    {"rate_bytes_per_s", std::move(rate)},
                    {"rate_from", rate_from},
                    {"seconds_max", std::move(seconds)},
                    {"unknown", unknowns_of(found)}};
    return {200, json.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

ControlReply MirrorHost::pause_resync() {
    const MirrorState state = node_->machine().state();
    if (state != MirrorState::alone) {
        return ControlReply::error(409,
                                   "a resync is paused on the node that serves alone; this one is "
                                   "in state " +
                                       std::string(mirror_state_name(state)));
    }
    if (replica_->resync_pacer().is_paused()) return ControlReply::done();
    replica_->pause_resync(true);
    world_.events.event(mirror_.name, LogLevel::info, "resync",
                        "paused by a person; until 'gemel resync " + mirror_.name + " --resume' " +
                            peer() + " does not become in sync");
    return ControlReply::done();
}

ControlReply MirrorHost::resume_resync() {
    if (!replica_->resync_pacer().is_paused()) return ControlReply::done();
    replica_->pause_resync(false);
    world_.events.event(mirror_.name, LogLevel::info, "resync", "resumed by a person");
    return ControlReply::done();
}

ControlReply MirrorHost::set_resync_rate(const ResyncRateRange& range) {
    replica_->set_resync_range(range);
    world_.events.event(
        mirror_.name, LogLevel::info, "resync",
        "its rate is " + describe_rate_range(range) + " from now on, until gemeld is restarted");
    return ControlReply::done();
}

std::optional<ControlReply> MirrorHost::resync(const ControlCommand& command) {
    if (command.dry_run) return estimate(command.full);
    if (command.pause) return pause_resync();
    if (command.resume) return resume_resync();
    if (command.rate_range) return set_resync_rate(*command.rate_range);
    return std::nullopt;
}

ResyncPaceStatus MirrorHost::pace_status() const {
    const ResyncPacer& pacer = replica_->resync_pacer();
    ResyncPaceStatus status;
    status.min_bytes_per_s = pacer.range().min;
    const std::uint64_t max = pacer.range().max;
    if (max != ResyncRateRange::kUnlimited) status.max_bytes_per_s = max;
    status.paused = pacer.is_paused();
    return status;
}

}  // namespace gemel
