// SPDX-License-Identifier: Apache-2.0
// One run of a campaign from a seed, and what is told of it.
#pragma once

#include "tests/sim/campaigns.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace gemel::sim {

struct SeedRun {
    const CampaignKind* campaign = nullptr;
    std::uint64_t seed = 0;
};

struct Outcome {
    std::string failure;  // empty: all held
    std::uint64_t digest = 0;
    std::int64_t simulated_ns = 0;
    std::vector<FaultKind> faults;
    std::vector<Tally> tallies;
};

// A finished run, with what it has to say.
struct Story {
    Outcome outcome;
    std::string timeline, events;
};

[[nodiscard]] Outcome run_seed(const SeedRun& run, Mutant mutant);
// `left_out`: faults by their numbers. `remarks`: what applications do is told too, and that many
// lines are kept; 0: no.
[[nodiscard]] Story tell_seed(const SeedRun& run, Mutant mutant,
                              const std::set<std::size_t>& left_out, std::size_t remarks);

// The regressions of the campaigns first, then `count` seeds from `first` on, shared out among them
// (all of them: by their shares). The order mixes the campaigns, so that any part of it is like the
// whole.
[[nodiscard]] std::vector<SeedRun> plan_runs(const std::vector<const CampaignKind*>& kinds,
                                             std::uint64_t first, std::uint64_t count);

}  // namespace gemel::sim
