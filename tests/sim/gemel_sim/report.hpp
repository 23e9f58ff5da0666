// SPDX-License-Identifier: Apache-2.0
// What a series of runs did and found, as tables for people and as JSON.
#pragma once

#include "tests/sim/gemel_sim/workers.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace gemel::sim {

class Report {
   public:
    void add(const SeedRun& run, const Outcome& outcome);
    void add(const WorkersReport& workers);

    // Every run held, every campaign did what it is there for, no process complained.
    [[nodiscard]] bool is_good() const { return findings_.empty() && shortcomings().empty(); }
    [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }
    // How to repeat a run, and what it showed; in the order of the campaigns and seeds.
    [[nodiscard]] std::vector<std::string> findings() const;
    [[nodiscard]] std::string to_text(double seconds) const;
    [[nodiscard]] std::string to_json(double seconds) const;

   private:
    struct OfCampaign {
        std::uint64_t seeds = 0;
        std::int64_t simulated_ns = 0;
        std::vector<Tally> tallies;
    };
    // Campaigns that did too little, and complaints of processes.
    [[nodiscard]] std::vector<std::string> shortcomings() const;
    [[nodiscard]] std::vector<std::string> probes_never_hit() const;
    [[nodiscard]] std::int64_t simulated_ns() const;

    std::uint64_t runs_ = 0;
    std::map<const CampaignKind*, OfCampaign> campaigns_;  // in the order of campaigns()
    std::array<std::uint64_t, kFaultKinds> faults_{};
    std::set<std::pair<FaultKind, FaultKind>> pairs_;  // two at once, in this order
    std::map<std::pair<std::string, std::uint64_t>, std::string> findings_;
    WorkersReport workers_;
};

}  // namespace gemel::sim
