// SPDX-License-Identifier: Apache-2.0
// Every way of breaking block volumes in mutants.hpp and block_mutants.hpp is caught, within a
// number of seeds that is written here and in docs/testing.md.
#include "tests/sim/block_campaign.hpp"
#include "tests/sim/block_mutants.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>

namespace gemel::sim {
namespace {

enum class Faults : unsigned char { single, two, refusals, slow };

struct Case {
    const char* name;
    Mutant mutant;
    BlockMutant block_mutant;
    Faults faults;
    bool answers_early;
    std::uint64_t seeds_max;
};

// The serving node's disk has no space, time and again.
class Refusals final : public WithBlock<SingleFaults> {
   public:
    using WithBlock::WithBlock;

   private:
    std::string misfortune() override {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            const bool is_alpha = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
            begin_disk_fault(
                is_alpha ? Cluster::kAlpha : Cluster::kBeta,
                prng().one_in(2) ? DiskFault::Kind::quota : DiskFault::Kind::full_data);
            run_for(random_time(1, 3000));
            end_faults();
            if (!heal()) return failure("did not heal");
        }
        return {};
    }
};

// Changes are under way for long while the other node is brought up to date, time and again.
class SlowDisks final : public WithBlock<SingleFaults> {
   public:
    using WithBlock::WithBlock;

   private:
    std::string misfortune() override {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            const bool is_alpha = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
            cluster_.kill(is_alpha ? Cluster::kBeta : Cluster::kAlpha);
            run_for(random_time(1, 1500));
            begin_disk_fault(is_alpha ? Cluster::kAlpha : Cluster::kBeta, DiskFault::Kind::slow);
            if (!heal()) return failure("did not heal");
            end_faults();
        }
        return {};
    }
};

std::string run(const Case& test, std::uint64_t seed) {
    if (test.faults == Faults::slow) return SlowDisks(seed, test.answers_early).run();
    if (test.faults == Faults::refusals) return Refusals(seed, test.answers_early).run();
    if (test.faults == Faults::single) {
        return WithBlock<SingleFaults>(seed, test.answers_early, test.mutant).run();
    }
    return WithBlock<DoubleFaults>(seed, test.answers_early, test.mutant).run();
}

class BlockClusterMutant : public testing::TestWithParam<Case> {
   protected:
    void SetUp() override { block_mutant = GetParam().block_mutant; }
    void TearDown() override { block_mutant = BlockMutant::none; }
};

TEST_P(BlockClusterMutant, IsCaught) {
    for (std::uint64_t seed = 1; seed <= GetParam().seeds_max; ++seed) {
        const std::string failure = run(GetParam(), seed);
        // A cluster that stands still is no proof: a mutant has to break a promise.
        if (failure.empty() || failure.starts_with("did not")) continue;
        std::cout << GetParam().name << " is caught by seed " << seed << ": " << failure << '\n';
        return;
    }
    FAIL() << GetParam().seeds_max << " seeds did not notice " << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(
    Engines, BlockClusterMutant,
    testing::Values(
        Case{"acknowledge_blocks_early", Mutant::acknowledge_blocks_early, BlockMutant::none,
             Faults::single, false, 100},
        Case{"flush_early", Mutant::flush_early, BlockMutant::none, Faults::single, true, 100},
        Case{"grow_early", Mutant::grow_early, BlockMutant::none, Faults::single, false, 30},
        Case{"claim_at_once", Mutant::none, BlockMutant::claim_at_once, Faults::slow, false, 100},
        Case{"mend_at_once", Mutant::none, BlockMutant::mend_at_once, Faults::refusals, false, 200},
        Case{"flush_elsewhere", Mutant::none, BlockMutant::flush_elsewhere, Faults::two, false,
             100}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gemel::sim
