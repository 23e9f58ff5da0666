// SPDX-License-Identifier: Apache-2.0
// Which seeds a campaign runs: first those that once found a fault (regressions.hpp), then a range.
//
// GEMEL_SEED=N: that one only. GEMEL_FIRST=N, GEMEL_SEEDS=M: the range begins at N and has M.
#pragma once

#include "tests/sim/regressions.hpp"

#include <cstdint>
#include <vector>

namespace gemel::sim {

// A number from the environment, or `otherwise`.
[[nodiscard]] std::uint64_t number_from(const char* variable, std::uint64_t otherwise);

[[nodiscard]] std::vector<std::uint64_t> seeds_of(CampaignName campaign,
                                                  std::uint64_t count_default);

// One seed was asked for: a failure shows its last events.
[[nodiscard]] inline bool is_one_seed() { return number_from("GEMEL_SEED", 0) != 0; }

}  // namespace gemel::sim
