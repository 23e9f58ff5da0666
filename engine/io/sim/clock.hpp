// SPDX-License-Identifier: Apache-2.0
// A node's clocks as functions of the world's time: a monotonic one that may run fast or slow and
// begins anew at each boot, and a wall clock that may be wrong by any amount and jump.
#pragma once

#include "engine/base/assert.hpp"
#include "engine/base/units.hpp"

#include <cstdint>

namespace gemel::sim {

class NodeClock {
   public:
    [[nodiscard]] Instant monotonic(Instant world) const noexcept {
        return local_anchor_ + stretched(world - world_anchor_);
    }
    // The earliest world time at which monotonic() has reached `local`.
    [[nodiscard]] Instant world_time_of(Instant local) const noexcept {
        const Duration passed = local - local_anchor_;
        Instant world = world_anchor_ + Duration{passed.ns - scaled(passed.ns, 1'000'000 + ppm_)};
        while (monotonic(world) < local) world = world + Duration{1};
        return world;
    }
    [[nodiscard]] WallTime wall(Instant world) const noexcept {
        // 2026-01-01 00:00:00 UTC plus the clock's error.
        const std::int64_t ns = stretched(world - world_anchor_).ns + world_anchor_.ns;
        const Duration since = Duration{ns} + wall_offset_;
        std::int64_t seconds = since.ns / 1'000'000'000;
        std::int64_t rest = since.ns % 1'000'000'000;
        if (rest < 0) {
            rest += 1'000'000'000;
            --seconds;
        }
        return {1'767'225'600 + seconds, static_cast<std::uint32_t>(rest)};
    }

    // Runs `ppm` millionths fast (negative: slow) from now on.
    void set_drift(Instant world, std::int64_t ppm) noexcept {
        GEMEL_ASSERT(ppm > -500'000 && ppm < 500'000);
        local_anchor_ = monotonic(world);
        world_anchor_ = world;
        ppm_ = ppm;
    }
    void restart(Instant world, Instant local) noexcept {
        world_anchor_ = world;
        local_anchor_ = local;
    }
    void set_wall_offset(Duration offset) noexcept { wall_offset_ = offset; }
    [[nodiscard]] Duration wall_offset() const noexcept { return wall_offset_; }

   private:
    // ns * ppm / divisor without overflow for a century.
    [[nodiscard]] std::int64_t scaled(std::int64_t ns, std::int64_t divisor) const noexcept {
        return ns / divisor * ppm_ + ns % divisor * ppm_ / divisor;
    }
    [[nodiscard]] Duration stretched(Duration passed) const noexcept {
        return {ppm_ == 0 ? passed.ns : passed.ns + scaled(passed.ns, 1'000'000)};
    }

    Instant world_anchor_, local_anchor_;
    std::int64_t ppm_ = 0;
    Duration wall_offset_;
};

}  // namespace gemel::sim
