// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/seeds.hpp"

#include <cstdlib>

namespace gemel::sim {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::vector<std::uint64_t> seeds_of(CampaignName campaign, std::uint64_t count_default) {
    if (is_one_seed()) return {number_from("GEMEL_SEED", 0)};
    std::vector<std::uint64_t> seeds;
    for (const Regression& regression : kRegressions) {
        if (regression.campaign == campaign) seeds.push_back(regression.seed);
    }
    const std::uint64_t first = number_from("GEMEL_FIRST", 1);
    const std::uint64_t count = number_from("GEMEL_SEEDS", count_default);
    for (std::uint64_t i = 0; i < count; ++i) seeds.push_back(first + i);
    return seeds;
}

}  // namespace gemel::sim
