// SPDX-License-Identifier: Apache-2.0
// XXH3 digests (xxHash 0.8, https://xxhash.com). They detect accidents, not attacks: whatever
// comes from a peer is trusted only after the handshake has proved the cluster key.
#pragma once

#include "engine/base/bytes.hpp"

#include <cstdint>

namespace gemel {

struct Digest128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;

    friend constexpr auto operator<=>(const Digest128&, const Digest128&) noexcept = default;
};

// The seed separates uses: equal bytes in two roles then have different digests.
std::uint64_t checksum64(Bytes data, std::uint64_t seed = 0) noexcept;
Digest128 digest128(Bytes data, std::uint64_t seed = 0) noexcept;

}  // namespace gemel
