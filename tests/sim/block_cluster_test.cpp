// SPDX-License-Identifier: Apache-2.0
// Clusters whose mirror has a block volume beside the directory, under the campaigns' faults: every
// sector holds what was answered, both copies are equal byte by byte, and everything that holds of
// the directory holds as well. One register, one role, one failover for both (docs/block.md).
//
// Which seeds: seeds.hpp.
#include "tests/sim/block_campaign.hpp"
#include "tests/sim/seeds.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 60;

template <typename Faults>
void run_campaign(std::uint64_t seeds_default, bool answers_early = false) {
    const std::vector<std::uint64_t> seeds = seeds_of(CampaignName::block, seeds_default);
    std::uint64_t answered = 0;
    std::uint64_t grown = 0;
    for (const std::uint64_t seed : seeds) {
        WithBlock<Faults> campaign(seed, answers_early);
        const std::string failure = campaign.run();
        answered += campaign.answered();
        grown += campaign.grown();
        if (failure.empty()) continue;
        if (is_one_seed()) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << seeds.size() << " seeds, " << answered
              << " requests of the block volume, which grew " << grown << " times\n";
    if (!is_one_seed()) {
        EXPECT_GT(grown, seeds.size() / 4);
    }
    EXPECT_GT(answered, seeds.size() * 20);
}

TEST(BlockCluster, LosesNothingAnsweredUnderSingleFaults) {
    run_campaign<SingleFaults>(kSeedsDefault);
}

TEST(BlockCluster, LosesNothingAnsweredWhenTheServingNodesDiskHangs) {
    run_campaign<HangingDisks>(kSeedsDefault / 2);
}

// Both may lose their memory, and a person does as he likes.
TEST(BlockCluster, LosesNothingFlushedUnderTwoFaultsAndAPerson) {
    run_campaign<DoubleFaults>(kSeedsDefault / 3);
}

// sync = "fsync": what a flush covered is there after a takeover, nothing is invented, and both
// copies are equal in the end.
TEST(BlockCluster, LosesNothingFlushedWhereAnswersAreEarly) {
    run_campaign<SingleFaults>(kSeedsDefault / 3, true);
}

}  // namespace
}  // namespace gemel::sim
