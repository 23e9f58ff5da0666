// SPDX-License-Identifier: Apache-2.0
// gemel-sim: clusters of the production parts under random faults, in simulated time
// (docs/testing.md).
#include "tests/sim/gemel_sim/replay.hpp"
#include "tests/sim/gemel_sim/report.hpp"
#include "tests/sim/gemel_sim/workers.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace gemel::sim;

constexpr int kFound = 1, kUsage = 2;

struct Options {
    std::vector<std::string> campaigns;
    std::string mutant = "none";
    std::uint64_t first = 1, seeds = 1000, seed = 0;
    unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
    unsigned stuck_after = 600;
    std::string json;
    bool lists = false, is_quiet = false;
    ReplayOptions replay;
};

double real_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int list() {
    for (const CampaignKind& kind : campaigns()) {
        fmt::print("{:<22}{:>3} %  {}\n", kind.text, kind.share, kind.about);
    }
    return 0;
}

int run_series(const Options& options, const std::vector<const CampaignKind*>& kinds,
               gemel::sim::Mutant mutant) {
    const std::vector<SeedRun> runs = plan_runs(kinds, options.first, options.seeds);
    const bool shows_progress = !options.is_quiet && ::isatty(STDERR_FILENO) != 0;
    const double begin = real_seconds();
    Report report;
    report.add(
        run_in_workers(runs, mutant, options.jobs, options.stuck_after,
                       [&](std::size_t index, const Outcome& outcome) {
                           report.add(runs[index], outcome);
                           if (!outcome.failure.empty()) {
                               fmt::print(stderr, "\r{} {}: {}\n", runs[index].campaign->text,
                                          runs[index].seed, outcome.failure);
                           }
                           if (!shows_progress || report.runs() % 16 != 0) return;
                           fmt::print(stderr, "\r{} of {} seeds", report.runs(), runs.size());
                       }));
    if (shows_progress) fmt::print(stderr, "\r\033[K");
    const double seconds = real_seconds() - begin;
    fmt::print("{}", report.to_text(seconds));
    if (!options.json.empty()) std::ofstream(options.json) << report.to_json(seconds) << '\n';
    return report.is_good() ? 0 : kFound;
}

int run(const Options& options) {
    if (options.lists) return list();
    std::vector<const CampaignKind*> kinds;
    for (const std::string& name : options.campaigns) {
        kinds.push_back(find_campaign(name));
        if (kinds.back() != nullptr) continue;
        fmt::print(stderr, "gemel-sim: there is no campaign '{}'; --list shows them\n", name);
        return kUsage;
    }
    if (kinds.empty()) {
        for (const CampaignKind& kind : campaigns()) kinds.push_back(&kind);
    }
    const std::optional<gemel::sim::Mutant> mutant = find_mutant(options.mutant);
    if (!mutant) {
        fmt::print(stderr,
                   "gemel-sim: there is no broken engine '{}'; mutants.cpp has their names\n",
                   options.mutant);
        return kUsage;
    }
    if (options.seed == 0) return run_series(options, kinds, *mutant);
    if (kinds.size() != 1) {
        fmt::print(stderr, "gemel-sim: a seed is one of a campaign: add --campaign NAME\n");
        return kUsage;
    }
    return replay({kinds.front(), options.seed}, *mutant, options.replay) ? 0 : kFound;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app(
        "Runs clusters of two nodes and a witness, made of the production parts, in simulated time "
        "under random faults, one cluster a seed. Exit status: 0 nothing found, 1 something, 2 "
        "wrong use.");
    app.name("gemel-sim");
    app.add_option("-c,--campaign", options.campaigns, "only these campaigns (default: all)");
    app.add_option("-n,--seeds", options.seeds, "how many seeds, shared out among the campaigns")
        ->capture_default_str();
    app.add_option("--first", options.first, "the first seed of each campaign")
        ->capture_default_str();
    app.add_option("-j,--jobs", options.jobs, "processes")->check(CLI::Range(1, 1024));
    app.add_option("--stuck-after", options.stuck_after,
                   "seconds after which a run counts as one that never ends")
        ->capture_default_str();
    app.add_option("--json", options.json, "writes the report there too");
    app.add_option("--mutant", options.mutant, "breaks the engine on purpose");
    app.add_flag("--list", options.lists, "lists the campaigns and their shares of the seeds");
    app.add_flag("-q,--quiet", options.is_quiet, "no progress");
    app.add_option("--seed", options.seed, "this one again, twice, with its timeline");
    app.add_flag("--shrink", options.replay.shrinks,
                 "with --seed: leaves faults out for as long as it still fails");
    app.add_flag("--events", options.replay.shows_events,
                 "with --seed: every event, not only what has a text");
    app.add_flag("--ops", options.replay.shows_ops, "with --seed: what the applications do, too");
    app.add_option("--lines", options.replay.lines_max, "with --seed: how many lines of it")
        ->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }
    return run(options);
}
