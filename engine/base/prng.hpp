// SPDX-License-Identifier: Apache-2.0
// Seeded pseudo-random numbers (xoshiro256**, Blackman and Vigna 2018). The only source of
// randomness of the engine: production seeds it from the kernel, the simulation from its one seed.
// Not for secrets: challenges and keys come from Loop::secure_random.
#pragma once

#include "engine/base/assert.hpp"
#include "engine/base/units.hpp"

#include <cstdint>

namespace gemel {

class Prng {
   public:
    explicit Prng(std::uint64_t seed) noexcept;

    std::uint64_t next() noexcept;
    // Uniform in [0, bound). Requires: bound > 0.
    std::uint64_t below(std::uint64_t bound) noexcept;
    // Uniform in [low, high]. Requires: low <= high.
    std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
        GEMEL_ASSERT(low <= high);
        return low + below(high - low + 1);
    }
    // True once in `denominator` calls on average.
    bool one_in(std::uint64_t denominator) noexcept { return below(denominator) == 0; }
    Uuid uuid() noexcept;
    // An independent generator whose sequence depends only on this one's state.
    Prng fork() noexcept { return Prng(next()); }

   private:
    std::uint64_t state_[4];
};

}  // namespace gemel
