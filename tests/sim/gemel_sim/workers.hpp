// SPDX-License-Identifier: Apache-2.0
// Runs seeds in processes of their own, as many at a time as there are processors: a run that ends
// its process, or never ends, is a finding like any other and costs nobody else's result.
#pragma once

#include "tests/sim/gemel_sim/seed_run.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace gemel::sim {

struct WorkersReport {
    std::map<std::string, std::uint64_t> probes;  // hits by name; 0: never
    std::vector<std::string> complaints;          // of processes, not of one of their runs
};

// Calls `on_outcome(index, outcome)` here for each run as it ends, in any order. `stuck_after`:
// seconds of real time after which a run counts as one that never ends.
[[nodiscard]] WorkersReport run_in_workers(
    const std::vector<SeedRun>& runs, Mutant mutant, unsigned jobs, unsigned stuck_after,
    const std::function<void(std::size_t, const Outcome&)>& on_outcome);

}  // namespace gemel::sim
