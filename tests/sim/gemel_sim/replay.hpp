// SPDX-License-Identifier: Apache-2.0
// One seed again: whether it fails, where its time went, and with how few of its faults it still
// fails.
#pragma once

#include "tests/sim/gemel_sim/seed_run.hpp"

namespace gemel::sim {

struct ReplayOptions {
    bool shrinks = false;
    bool shows_events = false;  // every event, not only what has a text
    bool shows_ops = false;     // what the applications do
    std::size_t lines_max = 80;
};

// Prints; runs the seed twice, since a run that can't be repeated is a finding too. True when it
// held both times and was the same.
[[nodiscard]] bool replay(const SeedRun& run, Mutant mutant, const ReplayOptions& options);

}  // namespace gemel::sim
