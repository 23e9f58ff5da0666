// SPDX-License-Identifier: Apache-2.0
// How long a loop looks for work before it sleeps. A look that pays saves a wake-up; one that does
// not costs processor time. So the bound follows what waits have lasted lately.
//
// Looking gives the processor away again and again, and where others want it for work of their own
// they keep it for milliseconds, while one that sleeps would be woken in their place. After that
// has happened a number of waits sleep at once, ever more if it happens again.
#pragma once

#include "engine/base/units.hpp"

#include <algorithm>

namespace gemel {

class SpinPolicy {
   public:
    static constexpr Duration kBoundMin = Duration::microseconds(2);
    // No thread that serves the same work keeps the processor so long.
    static constexpr Duration kCrowded = Duration::microseconds(500);
    static constexpr unsigned kSleepsMin = 16, kSleepsMax = 4096;

    // `max` 0: never looks.
    explicit SpinPolicy(Duration max) noexcept : max_(max), bound_(max) {}

    // For the wait that begins: look for so long; 0: sleep at once.
    [[nodiscard]] Duration begin_wait() noexcept {
        looks_ = bound_ > Duration{} && sleeps_left_ == 0;
        if (sleeps_left_ > 0) --sleeps_left_;
        return looks_ ? bound_ : Duration{};
    }
    // The processor was given away in this wait and came back after `lasted`. False: sleep now.
    [[nodiscard]] bool yielded(Duration lasted) noexcept {
        if (lasted < kCrowded) return true;
        sleeps_left_ = sleeps_next_;
        sleeps_next_ = std::min(sleeps_next_ * 2, kSleepsMax);
        looks_ = false;
        return false;
    }
    // The wait is over: a look for as long as is allowed would have paid, or not. A bound of
    // nothing grows again when waits are short.
    void end_wait(Duration waited) noexcept {
        if (waited <= max_) {
            bound_ = std::min(max_, std::max(bound_ * 2, kBoundMin));
            if (looks_ && sleeps_next_ > kSleepsMin) --sleeps_next_;
        } else {
            bound_ = bound_ <= kBoundMin ? Duration{} : bound_ / 2;
        }
    }

   private:
    Duration max_;
    Duration bound_;                     // the present one, 0 to max_
    bool looks_ = false;                 // in the present wait, and did not lose the processor
    unsigned sleeps_left_ = 0;           // waits that sleep at once
    unsigned sleeps_next_ = kSleepsMin;  // how many, the next time
};

}  // namespace gemel
