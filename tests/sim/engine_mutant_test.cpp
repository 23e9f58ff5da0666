// SPDX-License-Identifier: Apache-2.0
// Every way of breaking the engine in engine_mutants.hpp is caught, within a number of seeds that
// is written here and in docs/testing.md.
#include "engine/io/sim/file_system.hpp"
#include "tests/sim/campaigns.hpp"
#include "tests/sim/engine_mutants.hpp"
#include "tests/sim/node_program.hpp"
#include "tests/sim/state_damage.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <memory>
#include <string>

namespace gemel::sim {
namespace {

struct Case {
    const char* name;
    EngineMutant mutant;
    std::unique_ptr<Campaign> (*make)(std::uint64_t seed);
    std::uint64_t seeds_max;
};

template <typename Kind>
std::unique_ptr<Campaign> make(std::uint64_t seed) {
    return std::make_unique<Kind>(seed);
}

template <CampaignName kName>
std::unique_ptr<Campaign> make_named(std::uint64_t seed) {
    for (const CampaignKind& kind : campaigns()) {
        if (kind.name == kName) return kind.make(seed, Mutant::none);
    }
    return nullptr;
}

// Bits are flipped between the nodes, time and again.
class CorruptedBytes final : public SingleFaults {
   public:
    using SingleFaults::SingleFaults;

   private:
    std::string misfortune() override {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            inject(fault_of(WireFaults::Kind::corrupting), Cluster::kAlpha, Cluster::kBeta);
            run_for(random_time(1000, 6000));
            end_faults();
            if (!heal()) return failure("did not heal");
        }
        return {};
    }
};

// The whole superblock of the node that does not serve is damaged, among other things: it has to
// be refused.
class DamagedState final : public SingleFaults {
   public:
    using SingleFaults::SingleFaults;

   private:
    [[nodiscard]] bool has_person() const override { return true; }
    std::string misfortune() override {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            const bool alpha_serves = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
            const std::size_t other = alpha_serves ? Cluster::kBeta : Cluster::kAlpha;
            cluster_.kill(other);
            FileSystem& disk = *cluster_.machines[other]->find(ClusterNames::kState).file_system;
            const std::string what = damage_state(disk, Cluster::state_path(), prng());
            cluster_.start(other);
            if (what.starts_with("all copies") && cluster_.refusal(other).empty()) {
                return "nobody noticed that it is damaged: " + what;
            }
            if (!heal()) return failure("did not heal");
        }
        return {};
    }
};

// Resyncs over a slow link that loses its connections again and again.
class LostResyncs final : public SingleFaults {
   public:
    using SingleFaults::SingleFaults;

   private:
    std::string misfortune() override {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            const bool alpha_serves = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
            const std::size_t other = alpha_serves ? Cluster::kBeta : Cluster::kAlpha;
            cluster_.kill(other);
            run_for(random_time(1500, 3000));
            inject(fault_of(WireFaults::Kind::slow), Cluster::kAlpha, Cluster::kBeta);
            inject(fault_of(WireFaults::Kind::resets), Cluster::kAlpha, Cluster::kBeta);
            cluster_.start(other);
            run_for(random_time(2000, 8000));
            end_faults();
            if (!heal()) return failure("did not heal");
        }
        return {};
    }
};

class EngineMutants : public testing::TestWithParam<Case> {
   protected:
    void SetUp() override { engine_mutant = GetParam().mutant; }
    void TearDown() override { engine_mutant = EngineMutant::none; }
};

TEST_P(EngineMutants, IsCaught) {
    for (std::uint64_t seed = 1; seed <= GetParam().seeds_max; ++seed) {
        const std::string failure = GetParam().make(seed)->run();
        // A cluster that stands still is no proof: a mutant has to break a promise.
        if (failure.empty() || failure.starts_with("did not")) continue;
        std::cout << GetParam().name << " is caught by seed " << seed << ": " << failure << '\n';
        return;
    }
    FAIL() << GetParam().seeds_max << " seeds did not notice " << GetParam().name;
}

using enum CampaignName;

INSTANTIATE_TEST_SUITE_P(
    Engines, EngineMutants,
    testing::Values(
        Case{"keep_incarnation", EngineMutant::keep_incarnation, make<FailedCopies>, 100},
        Case{"skip_comparison", EngineMutant::skip_comparison, make<FailedCopies>, 100},
        Case{"pass_disk_failures", EngineMutant::pass_disk_failures, make<SingleFaults>, 100},
        Case{"unchecked_frames", EngineMutant::unchecked_frames, make<CorruptedBytes>, 100},
        Case{"unchecked_superblock", EngineMutant::unchecked_superblock, make<DamagedState>, 100},
        Case{"weak_digests", EngineMutant::weak_digests, make<SingleFaults>, 100},
        Case{"forget_names", EngineMutant::forget_names, make<SingleFaults>, 100},
        Case{"forget_attributes", EngineMutant::forget_attributes, make<SingleFaults>, 100},
        Case{"forget_unanswered", EngineMutant::forget_unanswered, make<LostResyncs>, 100},
        Case{"merge_apart", EngineMutant::merge_apart, make<WrittenApart>, 20},
        Case{"allot_again", EngineMutant::allot_again, make<SingleFaults>, 100},
        Case{"exclude_nothing", EngineMutant::exclude_nothing, make_named<exclude>, 20},
        Case{"record_anything", EngineMutant::record_anything, make<SingleFaults>, 100}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gemel::sim
