// SPDX-License-Identifier: Apache-2.0
// Every way of breaking block volumes in mutants.hpp, and the engine in block_mutants.hpp, is
// caught, within a number of seeds that is written here and in docs/testing.md.
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

// One kind of fault alone, time and again.
class Repeated : public WithBlock<SingleFaults> {
   public:
    using WithBlock::WithBlock;

   private:
    std::string misfortune() final {
        for (int i = 0; i < 4; ++i) {
            run_for(random_time(1, 800));
            const bool is_alpha = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
            if (is_alpha ? !heals(Cluster::kAlpha, Cluster::kBeta)
                         : !heals(Cluster::kBeta, Cluster::kAlpha)) {
                return failure("did not heal");
            }
        }
        return {};
    }
    virtual bool heals(std::size_t serving, std::size_t other) = 0;
};

// The serving node's disk has no space.
class Refusals final : public Repeated {
   public:
    using Repeated::Repeated;

   private:
    bool heals(std::size_t serving, std::size_t) override {
        const bool is_quota = prng().one_in(2);
        begin_disk_fault(serving, is_quota ? DiskFault::Kind::quota : DiskFault::Kind::full_data);
        run_for(random_time(1, 3000));
        end_faults();
        return heal();
    }
};

// Changes are under way for long while the other node is brought up to date.
class SlowDisks final : public Repeated {
   public:
    using Repeated::Repeated;

   private:
    bool heals(std::size_t serving, std::size_t other) override {
        cluster_.kill(other);
        run_for(random_time(1, 1500));
        begin_disk_fault(serving, DiskFault::Kind::slow);
        if (!heal()) return false;
        end_faults();
        return true;
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
             100},
        Case{"sync_elsewhere", Mutant::none, BlockMutant::sync_elsewhere, Faults::two, false, 100},
        Case{"barrier_elsewhere", Mutant::none, BlockMutant::barrier_elsewhere, Faults::two, false,
             100},
        Case{"forget_changes", Mutant::none, BlockMutant::forget_changes, Faults::single, false,
             100},
        Case{"forget_intents_found", Mutant::none, BlockMutant::forget_intents_found,
             Faults::single, false, 100}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gemel::sim
