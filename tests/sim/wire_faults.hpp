// SPDX-License-Identifier: Apache-2.0
// Wires of a simulated cluster that are there and bad, from a seed: slow, lossy, corrupting, or
// with connections that are lost again and again. What they do is counted by Fabric::harm().
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/sim/node.hpp"

#include <cstdint>
#include <string_view>

namespace gemel::sim {

class WireFaults {
   public:
    enum class Kind : std::uint8_t {
        slow,        // little bandwidth, which datagrams wait for too, and high latency
        lossy,       // of datagrams: lost, and delivered twice
        corrupting,  // bits of streams and datagrams arrive flipped
        resets,      // every connection between the two, again and again
        half_open,   // one side's ends of the connections, again and again
    };
    static constexpr std::uint64_t kKindCount = 5;

    explicit WireFaults(World& world) noexcept : world_(world) {}
    WireFaults(const WireFaults&) = delete;
    WireFaults& operator=(const WireFaults&) = delete;

    // Between these two, in both directions, until end(). Requires: the world outlives this.
    void begin(Kind kind, Node& a, Node& b, Prng& prng);
    // All that have begun.
    void end() noexcept;

    [[nodiscard]] static std::string_view name_of(Kind kind) noexcept;

   private:
    void lose_connections(Kind kind, Node& a, Node& b, Duration period);

    World& world_;
    std::uint64_t round_ = 0;  // grows with end(): what was to come is not done any more
};

}  // namespace gemel::sim
