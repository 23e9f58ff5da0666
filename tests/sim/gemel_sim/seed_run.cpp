// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/gemel_sim/seed_run.hpp"

#include "tests/sim/regressions.hpp"

#include <algorithm>
#include <memory>

namespace gemel::sim {

namespace {

Outcome outcome_of(const Campaign& campaign, std::string failure) {
    return {std::move(failure), campaign.digest(), campaign.simulated().ns, campaign.injected(),
            campaign.tallies()};
}

}  // namespace

Outcome run_seed(const SeedRun& run, Mutant mutant) {
    const std::unique_ptr<Campaign> campaign = run.campaign->make(run.seed, mutant);
    std::string failure = campaign->run();
    return outcome_of(*campaign, std::move(failure));
}

Story tell_seed(const SeedRun& run, Mutant mutant, const std::set<std::size_t>& left_out,
                std::size_t remarks) {
    const std::unique_ptr<Campaign> campaign = run.campaign->make(run.seed, mutant);
    if (remarks != 0) campaign->remark(remarks);
    campaign->leave_out(left_out);
    std::string failure = campaign->run();
    return {outcome_of(*campaign, std::move(failure)), campaign->timeline(), campaign->trace()};
}

std::vector<SeedRun> plan_runs(const std::vector<const CampaignKind*>& kinds, std::uint64_t first,
                               std::uint64_t count) {
    std::vector<SeedRun> runs;
    for (const CampaignKind* kind : kinds) {
        for (const Regression& regression : kRegressions) {
            if (regression.campaign == kind->name) runs.push_back({kind, regression.seed});
        }
    }
    std::uint64_t shares = 0;
    for (const CampaignKind* kind : kinds) shares += kind->share;
    // Whoever is furthest behind its share is next.
    std::vector<std::uint64_t> begun(kinds.size(), 0);
    for (std::uint64_t i = 1; i <= count; ++i) {
        std::size_t next = 0;
        double furthest = 0;
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            const double due =
                static_cast<double>(i * kinds[k]->share) / static_cast<double>(shares);
            const double behind = due - static_cast<double>(begun[k]);
            if (behind <= furthest) continue;
            furthest = behind;
            next = k;
        }
        runs.push_back({kinds[next], first + begun[next]++});
    }
    return runs;
}

}  // namespace gemel::sim
