// SPDX-License-Identifier: Apache-2.0
// A verify that does not keep to the order of the stream is caught by its false alarms.
#include "tests/sim/verify_campaign.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>

namespace gemel::sim {
namespace {

TEST(VerifyMutant, NoticesAVerifyThatIgnoresOpsOnTheirWay) {
    constexpr std::uint64_t kSeedsMax = 20;
    for (std::uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
        Verifies campaign(seed, Mutant::verify_out_of_order);
        const std::string failure = campaign.run();
        if (!failure.starts_with("a false alarm")) continue;
        std::cout << "caught by seed " << seed << ": " << failure << '\n';
        return;
    }
    FAIL() << kSeedsMax << " seeds did not notice it";
}

}  // namespace
}  // namespace gemel::sim
