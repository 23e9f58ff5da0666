// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/gemel_sim/replay.hpp"

#include <fmt/format.h>

#include <set>

namespace gemel::sim {

namespace {

std::string last_lines(const std::string& text, std::size_t count) {
    std::size_t begin = text.size();
    for (std::size_t lines = 0; lines <= count && begin > 0; ++lines) {
        begin = text.rfind('\n', begin - 1);
        if (begin == std::string::npos) return text;
    }
    return text.substr(begin == 0 ? 0 : begin + 1);
}

std::string faults_text(const Outcome& outcome, const std::set<std::size_t>& left_out) {
    std::string text;
    for (std::size_t i = 0; i < outcome.faults.size(); ++i) {
        if (left_out.contains(i)) continue;
        text +=
            fmt::format("{}{} ({})", text.empty() ? "" : ", ", fault_name(outcome.faults[i]), i);
    }
    return text.empty() ? "none" : text;
}

// Leaves out one fault after the other, the last first, for as long as the run still fails.
std::set<std::size_t> shrink(const SeedRun& run, Mutant mutant, std::size_t remarks, Story& story) {
    std::set<std::size_t> left_out;
    for (bool is_smaller = true; is_smaller;) {
        is_smaller = false;
        for (std::size_t i = story.outcome.faults.size(); i-- > 0;) {
            if (left_out.contains(i)) continue;
            std::set<std::size_t> more = left_out;
            more.insert(i);
            Story smaller = tell_seed(run, mutant, more, remarks);
            fmt::print("without fault {}: {}\n", i,
                       smaller.outcome.failure.empty() ? "holds" : smaller.outcome.failure);
            if (smaller.outcome.failure.empty()) continue;
            left_out = std::move(more);
            story = std::move(smaller);
            is_smaller = true;
            break;
        }
    }
    return left_out;
}

}  // namespace

bool replay(const SeedRun& run, Mutant mutant, const ReplayOptions& options) {
    const std::size_t remarks = options.shows_ops ? options.lines_max : 0;
    Story story = tell_seed(run, mutant, {}, remarks);
    const bool is_same = run_seed(run, mutant).digest == story.outcome.digest;
    const bool holds = story.outcome.failure.empty();
    const std::uint64_t digest = story.outcome.digest;
    std::set<std::size_t> left_out;
    if (!holds && options.shrinks) left_out = shrink(run, mutant, remarks, story);
    fmt::print("{}",
               last_lines(options.shows_events ? story.events : story.timeline, options.lines_max));
    fmt::print("\n{} seed {}: digest {:016x}{}, {:.1f} simulated s\n", run.campaign->text, run.seed,
               digest, is_same ? ", twice the same" : ", ANOTHER ONE THE SECOND TIME",
               static_cast<double>(story.outcome.simulated_ns) / 1e9);
    fmt::print("faults: {}\n", faults_text(story.outcome, left_out));
    fmt::print("{}\n", holds ? std::string("held") : "FOUND: " + story.outcome.failure);
    return holds && is_same;
}

}  // namespace gemel::sim
