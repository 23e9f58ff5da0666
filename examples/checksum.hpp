// SPDX-License-Identifier: Apache-2.0
// FNV-1a with a seed: finds what a crash left half written, and nothing that is meant to deceive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace examples {

inline std::uint64_t checksum(std::uint64_t seed, std::span<const std::byte> bytes) {
    std::uint64_t hash = 0xcbf29ce484222325 ^ seed;
    for (const std::byte byte : bytes) {
        hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3;
    }
    return hash;
}

}  // namespace examples
