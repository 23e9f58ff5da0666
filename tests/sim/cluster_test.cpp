// SPDX-License-Identifier: Apache-2.0
// Clusters of two nodes and a witness under random faults, from one seed each. Checked: what was
// acknowledged (after two faults: synced) is there wherever the mirror is served; acknowledgements
// never go back to an older epoch; once faults stop, the cluster heals by itself, or with a person
// who reads the reasons, and both copies are equal.
//
// Which seeds: seeds.hpp.

#include "tests/sim/campaign.hpp"
#include "tests/sim/seeds.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 100;

// Runs the campaign's seeds, and says how to repeat one that fails.
template <typename Kind>
void run_campaign(CampaignName name, std::uint64_t seeds_default) {
    const std::vector<std::uint64_t> seeds = seeds_of(name, seeds_default);
    std::uint64_t acknowledged = 0;
    for (const std::uint64_t seed : seeds) {
        Kind campaign(seed);
        const std::string failure = campaign.run();
        acknowledged += campaign.acknowledged();
        if (failure.empty()) continue;
        if (is_one_seed()) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << seeds.size() << " seeds, " << acknowledged << " ops acknowledged\n";
    EXPECT_GT(acknowledged, seeds.size() * 20);
}

TEST(Cluster, LosesNothingAcknowledgedAndHealsUnderSingleFaults) {
    run_campaign<SingleFaults>(CampaignName::single_faults, kSeedsDefault);
}

TEST(Cluster, LosesNothingAcknowledgedWhenTheServingNodesDiskHangs) {
    run_campaign<HangingDisks>(CampaignName::hanging_disks, kSeedsDefault / 2);
}

TEST(Cluster, LosesNothingSyncedUnderTwoFaultsAndAPerson) {
    run_campaign<DoubleFaults>(CampaignName::two_faults, kSeedsDefault);
}

TEST(Cluster, LosesNothingSyncedUnderEachPairOfFaults) {
    run_campaign<FaultPairs>(CampaignName::fault_pairs, FaultPairs::kPairs);
}

TEST(Cluster, LosesNothingSyncedUnderTwoFaultsAndLogs) {
    run_campaign<DoubleFaultsUnderLogs>(CampaignName::two_faults_under_logs, kSeedsDefault / 2);
}

TEST(Cluster, NeverMergesCopiesThatWereWrittenApart) {
    run_campaign<WrittenApart>(CampaignName::written_apart, kSeedsDefault / 5);
}

TEST(Cluster, IsTheSameForTheSameSeed) {
    std::uint64_t digests[2];
    for (std::uint64_t& digest : digests) {
        SingleFaults campaign(77);
        EXPECT_EQ(campaign.run(), "");
        digest = campaign.digest();
    }
    EXPECT_EQ(digests[0], digests[1]);
}

}  // namespace
}  // namespace gemel::sim
