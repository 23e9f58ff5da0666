// SPDX-License-Identifier: Apache-2.0
// Every broken engine of mutants.hpp is caught, within a number of seeds of the campaigns that is
// written here and in docs/testing.md.
#include "tests/sim/campaign.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>

namespace gemel::sim {
namespace {

enum class Faults : unsigned char { single, two, power };

struct Case {
    const char* name;
    Mutant mutant;
    Faults faults;
    std::uint64_t seeds_max;
};

// The power of the node that does not serve fails, time and again.
class PowerCuts final : public SingleFaults {
   public:
    using SingleFaults::SingleFaults;

   private:
    std::string misfortune() override {
        for (int i = 0; i < 6; ++i) {
            run_for(random_time(100, 3000));
            const bool is_alpha = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
            power_cut(is_alpha ? Cluster::kBeta : Cluster::kAlpha);
            run_for(random_time(1, 500));
            end_faults();
            if (!heal()) return failure("did not heal");
        }
        return {};
    }
};

std::string run(const Case& test, std::uint64_t seed) {
    if (test.faults == Faults::power) return PowerCuts(seed, test.mutant).run();
    if (test.faults == Faults::single) return SingleFaults(seed, test.mutant).run();
    return DoubleFaults(seed, test.mutant).run();
}

class ClusterMutant : public testing::TestWithParam<Case> {};

TEST_P(ClusterMutant, IsCaught) {
    for (std::uint64_t seed = 1; seed <= GetParam().seeds_max; ++seed) {
        const std::string failure = run(GetParam(), seed);
        // A cluster that stands still is no proof: a mutant has to break a promise.
        if (failure.empty() || failure.starts_with("did not")) continue;
        std::cout << GetParam().name << " is caught by seed " << seed << ": " << failure << '\n';
        return;
    }
    FAIL() << GetParam().seeds_max << " seeds did not notice " << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(
    Engines, ClusterMutant,
    testing::Values(Case{"acknowledge_early", Mutant::acknowledge_early, Faults::single, 100},
                    Case{"forget_intents", Mutant::forget_intents, Faults::single, 100},
                    Case{"clear_before_sync", Mutant::clear_before_sync, Faults::power, 200},
                    Case{"ignore_failed_sync", Mutant::ignore_failed_sync, Faults::single, 100},
                    Case{"apply_out_of_order", Mutant::apply_out_of_order, Faults::single, 100},
                    Case{"skip_marking", Mutant::skip_marking, Faults::single, 100},
                    Case{"own_times", Mutant::own_times, Faults::single, 100},
                    Case{"takeover_without_register", Mutant::takeover_without_register,
                         Faults::single, 100},
                    Case{"takeover_from_resync", Mutant::takeover_from_resync, Faults::two, 100}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gemel::sim
