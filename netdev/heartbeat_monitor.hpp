// SPDX-License-Identifier: Apache-2.0
// Decides, from the heartbeats of one peer over all links, whether the peer is silent. No I/O and
// no clock: whoever owns it tells it the time. A verdict only starts an attempt to take over;
// safety is the register's (protocol.md), so a false one costs a failover, never data.
//
// Own starvation is not the peer's silence: when nobody called tick() for `gap_max`, what was
// measured across that gap does not count, and the measurement begins anew.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace gemel {

class HeartbeatMonitor {
   public:
    struct Options {
        std::size_t link_count = 1;
        Duration interval = Duration::milliseconds(100);
        Duration detect = Duration::seconds(1);
    };
    enum class Change : std::uint8_t { silent, alive };
    struct Link {
        bool is_up = false;                  // something was heard within `detect`
        std::optional<Duration> round_trip;  // smoothed
        Instant last_heard;
    };

    // The peer counts as alive until it has been silent for `detect` from now.
    HeartbeatMonitor(const Options& options, Instant now);

    // Something authentic came over a link. `round_trip`: when the peer echoed what we sent.
    // Requires: link < link_count.
    [[nodiscard]] std::optional<Change> heard(std::size_t link, Instant now,
                                              std::optional<Duration> round_trip = {});
    // The peer's machine answers, but its process does not (connection refused or reset): silence
    // of three intervals is enough then, until it is heard again.
    void refused(Instant now);
    // Call it at least once an interval.
    [[nodiscard]] std::optional<Change> tick(Instant now);

    [[nodiscard]] bool is_silent() const noexcept { return silent_; }
    [[nodiscard]] const Link& link(std::size_t index) const noexcept { return links_[index]; }
    [[nodiscard]] std::uint64_t gaps() const noexcept { return gaps_; }

   private:
    Options options_;
    std::vector<Link> links_;
    Instant measured_since_;
    Instant last_heard_;
    Instant last_tick_;
    bool refused_ = false;
    bool silent_ = false;
    std::uint64_t gaps_ = 0;
};

}  // namespace gemel
