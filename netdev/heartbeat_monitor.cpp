// SPDX-License-Identifier: Apache-2.0
#include "netdev/heartbeat_monitor.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>

namespace gemel {

HeartbeatMonitor::HeartbeatMonitor(const Options& options, Instant now)
    : options_(options),
      links_(options.link_count),
      measured_since_(now),
      last_heard_(now),
      last_tick_(now) {
    GEMEL_ASSERT(options.link_count > 0);
    GEMEL_ASSERT(options.interval.ns > 0 && options.detect >= options.interval * 3);
}

std::optional<HeartbeatMonitor::Change> HeartbeatMonitor::heard(
    std::size_t link, Instant now, std::optional<Duration> round_trip) {
    GEMEL_ASSERT(link < links_.size());
    Link& l = links_[link];
    l.is_up = true;
    l.last_heard = now;
    if (round_trip && round_trip->ns >= 0) {
        // An eighth of the new value, as TCP smooths its own (RFC 6298, 2).
        l.round_trip = l.round_trip ? *l.round_trip * 7 / 8 + *round_trip / 8 : *round_trip;
    }
    last_heard_ = std::max(last_heard_, now);
    refused_ = false;
    if (!silent_) return {};
    silent_ = false;
    return Change::alive;
}

void HeartbeatMonitor::refused(Instant) { refused_ = true; }

std::optional<HeartbeatMonitor::Change> HeartbeatMonitor::tick(Instant now) {
    // Half of `detect`: a silence that ends in a verdict then has at least two ticks within it.
    const Duration gap_max = std::max(options_.detect / 2, options_.interval * 2);
    if (now - last_tick_ > gap_max) {
        measured_since_ = now;
        ++gaps_;
    }
    last_tick_ = now;
    for (Link& l : links_) {
        if (l.is_up && now - std::max(l.last_heard, measured_since_) >= options_.detect) {
            l.is_up = false;
        }
    }
    if (silent_) return {};
    const Duration patience =
        refused_ ? std::min(options_.detect, options_.interval * 3) : options_.detect;
    if (now - std::max(last_heard_, measured_since_) < patience) return {};
    silent_ = true;
    return Change::silent;
}

}  // namespace gemel
