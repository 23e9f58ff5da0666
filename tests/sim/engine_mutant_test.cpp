// SPDX-License-Identifier: Apache-2.0
// Every way of breaking the engine in engine_mutants.hpp is caught, within a number of seeds that
// is written here and in docs/testing.md.
#include "tests/sim/campaigns.hpp"
#include "tests/sim/engine_mutants.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <memory>
#include <string>

namespace gemel::sim {
namespace {

struct Case {
    const char* name;
    EngineMutant mutant;
    std::unique_ptr<Campaign> (*make)(std::uint64_t seed);
    std::uint64_t seeds_max;
};

template <typename Kind>
std::unique_ptr<Campaign> make(std::uint64_t seed) {
    return std::make_unique<Kind>(seed);
}

class EngineMutants : public testing::TestWithParam<Case> {
   protected:
    void SetUp() override { engine_mutant = GetParam().mutant; }
    void TearDown() override { engine_mutant = EngineMutant::none; }
};

TEST_P(EngineMutants, IsCaught) {
    for (std::uint64_t seed = 1; seed <= GetParam().seeds_max; ++seed) {
        const std::string failure = GetParam().make(seed)->run();
        // A cluster that stands still is no proof: a mutant has to break a promise.
        if (failure.empty() || failure.starts_with("did not")) continue;
        std::cout << GetParam().name << " is caught by seed " << seed << ": " << failure << '\n';
        return;
    }
    FAIL() << GetParam().seeds_max << " seeds did not notice " << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(
    Engines, EngineMutants,
    testing::Values(
        Case{"keep_incarnation", EngineMutant::keep_incarnation, make<FailedCopies>, 100},
        Case{"skip_comparison", EngineMutant::skip_comparison, make<FailedCopies>, 100},
        Case{"pass_disk_failures", EngineMutant::pass_disk_failures, make<SingleFaults>, 100}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gemel::sim
