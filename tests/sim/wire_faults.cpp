// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/wire_faults.hpp"

#include "engine/io/sim/fabric.hpp"

#include <iterator>

namespace gemel::sim {

void WireFaults::begin(Kind kind, Node& a, Node& b, Prng& prng) {
    world_.note({}, EventKind::fault,
                std::string(name_of(kind)) + " between " + a.name() + " and " + b.name());
    LinkOptions options;
    switch (kind) {
        case Kind::slow:
            options.bytes_per_s = prng.between(50, 2000) * 1000;
            options.latency_min = Duration::milliseconds(prng.one_in(2) ? 1 : 20);
            options.latency_max = Duration::milliseconds(
                static_cast<std::int64_t>(prng.between(20, prng.one_in(4) ? 1000 : 100)));
            break;
        case Kind::lossy:
            options.datagrams_lost_per_mille =
                static_cast<std::uint32_t>(prng.between(50, prng.one_in(3) ? 700 : 300));
            options.datagrams_doubled_per_mille = static_cast<std::uint32_t>(prng.below(500));
            break;
        case Kind::corrupting:
            options.corrupted_per_million =
                static_cast<std::uint32_t>(prng.between(2'000, prng.one_in(3) ? 200'000 : 20'000));
            break;
        case Kind::resets:
        case Kind::half_open: {
            const std::uint64_t period_ms = prng.between(5, prng.one_in(2) ? 100 : 2000);
            return lose_connections(kind, a, b,
                                    Duration::milliseconds(static_cast<std::int64_t>(period_ms)));
        }
    }
    world_.fabric().set_link(a, b, options);
    world_.fabric().set_link(b, a, options);
}

void WireFaults::lose_connections(Kind kind, Node& a, Node& b, Duration period) {
    if (kind == Kind::resets) {
        world_.fabric().reset_streams(a, b);
    } else {
        const bool first = world_.prng().one_in(2);
        world_.fabric().lose_ends(first ? a : b, first ? b : a);
    }
    const auto delay =
        static_cast<std::int64_t>(world_.prng().below(2 * static_cast<std::uint64_t>(period.ns)));
    world_.after(Duration{delay}, [this, kind, &a, &b, period, round = round_] {
        if (round == round_) lose_connections(kind, a, b, period);
    });
}

void WireFaults::end() noexcept {
    ++round_;
    world_.fabric().unset_links();
}

std::string_view WireFaults::name_of(Kind kind) noexcept {
    static constexpr std::string_view kNames[] = {"slow link", "lossy datagrams", "corrupted bytes",
                                                  "connections lost", "connections half open"};
    static_assert(std::size(kNames) == kKindCount);
    return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace gemel::sim
