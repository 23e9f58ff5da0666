// SPDX-License-Identifier: Apache-2.0
#include "engine/base/prng.hpp"

#include <bit>
#include <cstring>

namespace gemel {

Prng::Prng(std::uint64_t seed) noexcept {
    // splitmix64 spreads a small seed over the whole state, which must not be all zero.
    for (std::uint64_t& word : state_) {
        seed += 0x9E3779B97F4A7C15ULL;
        std::uint64_t mixed = seed;
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ULL;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBULL;
        word = mixed ^ (mixed >> 31);
    }
}

std::uint64_t Prng::next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

std::uint64_t Prng::below(std::uint64_t bound) noexcept {
    GEMEL_ASSERT(bound > 0);
    // Values under the threshold would make small results more likely: draw again.
    const std::uint64_t threshold = (0 - bound) % bound;
    for (;;) {
        const std::uint64_t value = next();
        if (value >= threshold) return value % bound;
    }
}

Uuid Prng::uuid() noexcept {
    Uuid uuid;
    const std::uint64_t words[2] = {next(), next()};
    std::memcpy(uuid.bytes.data(), words, sizeof words);
    return uuid;
}

}  // namespace gemel
