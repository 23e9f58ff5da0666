// SPDX-License-Identifier: Apache-2.0
// Faults that nobody would miss if they did nothing: each is shown to reach what it is about.
#include "engine/base/probe.hpp"
#include "engine/io/sim/fabric.hpp"
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace gemel::sim {
namespace {

// One kind, time and again; `look` is called in the middle of each.
class OneKind final : public SingleFaults {
   public:
    OneKind(std::uint64_t seed, FaultKind kind, std::function<void(Cluster&)> look)
        : SingleFaults(seed), kind_(kind), look_(std::move(look)) {}

    [[nodiscard]] const Fabric::Harm& harm() { return cluster_.world.fabric().harm(); }

   private:
    bool has_person() const override { return kind_ == FaultKind::damaged_state; }
    std::string misfortune() override {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            inject(kind_, Cluster::kAlpha, Cluster::kBeta);
            run_for(random_time(1000, 4000));
            look_(cluster_);
            end_faults();
            if (!heal()) return failure("did not heal");
        }
        return {};
    }

    FaultKind kind_;
    std::function<void(Cluster&)> look_;
};

constexpr std::uint64_t kSeeds = 3;

// The sum over some seeds of what `count` says of the wires.
std::uint64_t harm_of(FaultKind kind, std::uint64_t Fabric::Harm::*count) {
    std::uint64_t sum = 0;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        OneKind campaign(seed, kind, [](Cluster&) {});
        EXPECT_EQ(campaign.run(), "") << fault_name(kind) << ", seed " << seed;
        sum += campaign.harm().*count;
    }
    return sum;
}

// How many of the looks found what they were looking for.
std::uint64_t looks_of(FaultKind kind, const std::function<bool(Cluster&)>& found,
                       std::uint64_t seeds = kSeeds) {
    std::uint64_t sum = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        OneKind campaign(seed, kind, [&](Cluster& cluster) { sum += found(cluster) ? 1U : 0U; });
        EXPECT_EQ(campaign.run(), "") << fault_name(kind) << ", seed " << seed;
    }
    return sum;
}

std::uint64_t hits_of(std::string_view name) {
    for (const Probe* probe = Probe::first(); probe != nullptr; probe = probe->next()) {
        if (probe->name() == name) return probe->hits();
    }
    return 0;
}

TEST(FaultKinds, WiresAreSlowLossyAndCorrupting) {
    using Harm = Fabric::Harm;
    EXPECT_GT(harm_of(fault_of(WireFaults::Kind::slow), &Harm::queued), 50U);
    EXPECT_GT(harm_of(fault_of(WireFaults::Kind::lossy), &Harm::datagrams_lost), 10U);
    EXPECT_GT(harm_of(fault_of(WireFaults::Kind::lossy), &Harm::datagrams_doubled), 10U);
    EXPECT_GT(harm_of(fault_of(WireFaults::Kind::corrupting), &Harm::corrupted), 10U);
}

TEST(FaultKinds, ConnectionsAreLostOnBothSidesOrOne) {
    EXPECT_GT(harm_of(fault_of(WireFaults::Kind::resets), &Fabric::Harm::ends_reset), 25U);
    EXPECT_GT(harm_of(fault_of(WireFaults::Kind::half_open), &Fabric::Harm::ends_lost), 25U);
}

TEST(FaultKinds, ClocksAreWrong) {
    const auto minutes_apart = [](Cluster& cluster) {
        const WallTime alpha = cluster.machines[Cluster::kAlpha]->wall_now();
        const WallTime beta = cluster.machines[Cluster::kBeta]->wall_now();
        return std::abs(alpha.seconds - beta.seconds) / 60;
    };
    EXPECT_GT(looks_of(FaultKind::wrong_clock,
                       [&](Cluster& cluster) { return minutes_apart(cluster) > 5; }),
              kSeeds);
    EXPECT_GT(looks_of(FaultKind::drift,
                       [](Cluster& cluster) {
                           const NodeClock& clock = cluster.machines[Cluster::kAlpha]->clock();
                           const Instant now = cluster.world.now();
                           const Duration second =
                               clock.monotonic(now + Duration::seconds(1)) - clock.monotonic(now);
                           return std::abs(second.ns - 1'000'000'000) > 10'000'000;
                       }),
              kSeeds);
}

TEST(FaultKinds, PersonsVerifyAndChangeOptions) {
    std::uint64_t compared = 0;
    looks_of(FaultKind::verify, [&](Cluster& cluster) {
        for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
            const NodeProgram* program = cluster.program(node);
            if (program == nullptr || !program->verify().status().last) continue;
            compared += program->verify().status().last->objects;
        }
        return true;
    });
    EXPECT_GT(compared, 5U);
    const ResyncRateRange usual;
    EXPECT_GT(looks_of(FaultKind::changed_options,
                       [&](Cluster& cluster) {
                           const NodeProgram* program = cluster.program(Cluster::kAlpha);
                           return program != nullptr &&
                                  program->port().resync_pacer().range() != usual;
                       }),
              0U);
}

// Refused until a person has moved it away, or rebuilt from what else there is.
TEST(FaultKinds, DamageInTheStateDirectoryIsNoticed) {
    const std::uint64_t before = hits_of("volume: a damaged record of the index");
    EXPECT_GT(looks_of(
                  FaultKind::damaged_state,
                  [](Cluster& cluster) {
                      cluster.start(Cluster::kAlpha);
                      return !cluster.refusal(Cluster::kAlpha).empty();
                  },
                  2 * kSeeds),
              0U);
    EXPECT_GT(hits_of("volume: a damaged record of the index"), before);
}

}  // namespace
}  // namespace gemel::sim
