// SPDX-License-Identifier: Apache-2.0
// Clusters of two nodes and a witness under random faults, from one seed each. Checked: what was
// acknowledged (after two faults: synced) is there wherever the mirror is served; acknowledgements
// never go back to an older epoch; once faults stop, the cluster heals by itself, or with a person
// who reads the reasons, and both copies are equal.
//
// GEMEL_SEED=N runs one seed and prints its last events when it fails; GEMEL_SEEDS=N runs the first
// N.

#include "tests/sim/campaign.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 100;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Runs the seeds that the environment asks for, and says how to repeat one that fails.
template <typename Kind>
void run_campaign(std::uint64_t seeds_default) {
    const std::uint64_t one = number_from("GEMEL_SEED", 0);
    const std::uint64_t first = one != 0 ? one : number_from("GEMEL_FIRST", 1);
    const std::uint64_t last =
        one != 0 ? one : first + number_from("GEMEL_SEEDS", seeds_default) - 1;
    std::uint64_t acknowledged = 0;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        Kind campaign(seed);
        const std::string failure = campaign.run();
        acknowledged += campaign.acknowledged();
        if (failure.empty()) continue;
        if (one != 0) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << last - first + 1 << " seeds, " << acknowledged << " ops acknowledged\n";
    EXPECT_GT(acknowledged, (last - first + 1) * 20);
}

TEST(Cluster, LosesNothingAcknowledgedAndHealsUnderSingleFaults) {
    run_campaign<SingleFaults>(kSeedsDefault);
}

TEST(Cluster, LosesNothingSyncedUnderTwoFaultsAndAPerson) {
    run_campaign<DoubleFaults>(kSeedsDefault);
}

TEST(Cluster, NeverMergesCopiesThatWereWrittenApart) {
    run_campaign<WrittenApart>(kSeedsDefault / 5);
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
