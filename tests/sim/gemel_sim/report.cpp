// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/gemel_sim/report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace gemel::sim {

namespace {

// Fewer seeds than this say nothing about an average.
constexpr std::uint64_t kSeedsForAnAverage = 20;

double hours(std::int64_t ns) { return static_cast<double>(ns) / 3.6e12; }

}  // namespace

void Report::add(const SeedRun& run, const Outcome& outcome) {
    ++runs_;
    OfCampaign& of = campaigns_[run.campaign];
    ++of.seeds;
    of.simulated_ns += outcome.simulated_ns;
    for (std::size_t i = 0; i < outcome.tallies.size(); ++i) {
        if (i == of.tallies.size()) {
            of.tallies.push_back(outcome.tallies[i]);
        } else {
            of.tallies[i].count += outcome.tallies[i].count;
        }
    }
    for (const FaultKind kind : outcome.faults) ++faults_[static_cast<std::size_t>(kind)];
    if (run.campaign->name == CampaignName::fault_pairs && outcome.faults.size() == 2) {
        pairs_.emplace(outcome.faults[0], outcome.faults[1]);
    }
    if (outcome.failure.empty()) return;
    findings_[{std::string(run.campaign->text), run.seed}] = outcome.failure;
}

void Report::add(const WorkersReport& workers) { workers_ = workers; }

std::vector<std::string> Report::findings() const {
    std::vector<std::string> texts;
    for (const auto& [run, failure] : findings_) {
        texts.push_back(
            fmt::format("gemel-sim --campaign {} --seed {}: {}", run.first, run.second, failure));
    }
    return texts;
}

std::vector<std::string> Report::shortcomings() const {
    std::vector<std::string> texts = workers_.complaints;
    for (const auto& [kind, of] : campaigns_) {
        if (of.seeds < kSeedsForAnAverage) continue;
        for (const Tally& tally : of.tallies) {
            const double each = static_cast<double>(tally.count) / static_cast<double>(of.seeds);
            if (each >= tally.least) continue;
            texts.push_back(
                fmt::format("{} shows too little: {:.2f} {} a seed, at least {} are due",
                            kind->text, each, tally.what, tally.least));
        }
    }
    return texts;
}

std::vector<std::string> Report::probes_never_hit() const {
    std::vector<std::string> names;
    for (const auto& [name, hits] : workers_.probes) {
        if (hits == 0) names.push_back(name);
    }
    return names;
}

std::int64_t Report::simulated_ns() const {
    std::int64_t sum = 0;
    for (const auto& [kind, of] : campaigns_) sum += of.simulated_ns;
    return sum;
}

std::string Report::to_text(double seconds) const {
    std::string text = fmt::format("{:<22}{:>9}{:>12}  {}\n", "campaign", "seeds", "hours", "did");
    for (const auto& [kind, of] : campaigns_) {
        std::string did;
        for (const Tally& tally : of.tallies) {
            did += fmt::format("{}{} {}", did.empty() ? "" : ", ", tally.count, tally.what);
        }
        text += fmt::format("{:<22}{:>9}{:>12.1f}  {}\n", kind->text, of.seeds,
                            hours(of.simulated_ns), did);
    }
    text += fmt::format("\n{:<38}{:>9}\n", "fault", "times");
    for (std::size_t i = 0; i < faults_.size(); ++i) {
        text += fmt::format("{:<38}{:>9}\n", fault_name(static_cast<FaultKind>(i)), faults_[i]);
    }
    text += fmt::format("ordered pairs of kinds at once: {} of {}\n", pairs_.size(),
                        FaultPairs::kPairs);
    const std::vector<std::string> never = probes_never_hit();
    text += fmt::format("\nprobes: {} of {} hit\n", workers_.probes.size() - never.size(),
                        workers_.probes.size());
    for (const std::string& name : never) text += "  never: " + name + "\n";
    for (const std::string& finding : findings()) text += "\nFOUND: " + finding;
    for (const std::string& finding : shortcomings()) text += "\nFOUND: " + finding;
    text += fmt::format("\n{} seeds, {:.1f} simulated hours in {:.0f} s, {}\n", runs_,
                        hours(simulated_ns()), seconds,
                        is_good()
                            ? std::string("nothing found")
                            : fmt::format("{} findings", findings_.size() + shortcomings().size()));
    return text;
}

std::string Report::to_json(double seconds) const {
    nlohmann::json json;
    json["seeds"] = runs_;
    json["seconds"] = seconds;
    json["simulated_hours"] = hours(simulated_ns());
    for (const auto& [kind, of] : campaigns_) {
        nlohmann::json& entry = json["campaigns"][std::string(kind->text)];
        entry["seeds"] = of.seeds;
        entry["simulated_hours"] = hours(of.simulated_ns);
        for (const Tally& tally : of.tallies) entry["did"][tally.what] = tally.count;
    }
    for (std::size_t i = 0; i < faults_.size(); ++i) {
        json["faults"][std::string(fault_name(static_cast<FaultKind>(i)))] = faults_[i];
    }
    json["pairs"] = {{"at_once", pairs_.size()}, {"of", FaultPairs::kPairs}};
    json["probes"] = workers_.probes;
    json["findings"] = findings();
    json["shortcomings"] = shortcomings();
    return json.dump(2);
}

}  // namespace gemel::sim
