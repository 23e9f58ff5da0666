// SPDX-License-Identifier: Apache-2.0
// What gemel-sim rests on: a seed is one run, whoever runs it and how often.
#include "tests/sim/campaigns.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace gemel::sim {
namespace {

TEST(Cluster, IsTheSameForTheSameSeed) {
    for (const CampaignKind& kind : campaigns()) {
        std::uint64_t digests[2];
        for (std::uint64_t& digest : digests) {
            const std::unique_ptr<Campaign> campaign = kind.make(77, Mutant::none);
            EXPECT_EQ(campaign->run(), "") << kind.text;
            digest = campaign->digest();
        }
        EXPECT_EQ(digests[0], digests[1]) << kind.text;
    }
}

}  // namespace
}  // namespace gemel::sim
