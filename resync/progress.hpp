// SPDX-License-Identifier: Apache-2.0
// What the owner of a resync keeps: figures for people, and the source's memory between sessions.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <vector>

namespace gemel {

// Written by a running source or target, readable at any time on the loop. On the target the totals
// are the source's as of the last frame.
struct ResyncProgress {
    bool running = false;
    Instant started;
    std::uint64_t done_bytes = 0;    // of total_bytes: compared, sent or found gone
    std::uint64_t total_bytes = 0;   // an estimate that grows when more becomes dirty
    std::uint64_t objects_done = 0;  // listings, attributes and contents that are through
    std::uint64_t bytes_sent = 0;    // content that travelled (target: arrived)
    std::uint64_t bytes_compared = 0;
    // Of done_bytes, over the last seconds; 0 until there is one. Time left is
    // (total_bytes - done_bytes) / rate.
    std::uint64_t rate_bytes_per_s = 0;
};

// Computes the rate: about the last ten seconds count.
class ResyncRate {
   public:
    void update(ResyncProgress& progress, Instant now) noexcept {
        if (sampled_.ns == 0) {
            sampled_ = now;
            bytes_ = progress.done_bytes;
        }
        const std::int64_t elapsed_ms = (now - sampled_).ns / 1'000'000;
        if (elapsed_ms < 1000) return;
        const std::uint64_t fresh =
            (progress.done_bytes - bytes_) * 1000 / static_cast<std::uint64_t>(elapsed_ms);
        const std::uint64_t old = progress.rate_bytes_per_s;
        progress.rate_bytes_per_s = old == 0 ? fresh : (old * 7 + fresh) / 8;
        sampled_ = now;
        bytes_ = progress.done_bytes;
    }

   private:
    Instant sampled_;
    std::uint64_t bytes_ = 0;
};

// One a mirror, kept by the owner of the Replica for as long as it lives.
struct ResyncMemory {
    // The boot of the peer that the dirty maps relate to: of the last session with it, whatever its
    // role then. None: not known, then everything that may differ is compared.
    Uuid peer_boot;
    // ResyncHello::comparison of the last session that began.
    Uuid comparison;
    // Volumes whose full comparison was begun with both of these and has not been completed.
    std::vector<bool> full_begun;
};

}  // namespace gemel
