// SPDX-License-Identifier: Apache-2.0
// A day in the life of a cluster: after 24 simulated hours of work and faults both copies are the
// same, and descriptors, timers, tables, files and memory are where they began.
//
// GEMEL_SEED=N takes another seed, GEMEL_HOURS=N another time.
#include "tests/sim/endurance.hpp"

#include "tests/sim/counted_heap.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <memory>

namespace gemel::sim {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Endurance, NothingHasGrownAfterADay) {
    const std::uint64_t heap_before = heap_in_use();
    const std::uint64_t seed = number_from("GEMEL_SEED", 2);  // open: 1 (docs/testing.md)
    const std::uint64_t hours = number_from("GEMEL_HOURS", 24);
    auto day = std::make_unique<Endurance>(seed, hours);
    const std::string failure = day->run();
    std::cout << day->faults() << " faults, " << day->acknowledged() << " ops acknowledged, "
              << day->events() << " events\n";
    if (day->first()) std::cout << "after the first hour:\n" << day->first()->to_string();
    if (day->last()) std::cout << "after the last:\n" << day->last()->to_string();
    if (!failure.empty()) std::cerr << day->timeline() << '\n';
    EXPECT_EQ(failure, "") << "GEMEL_SEED=" << seed;
    day.reset();
    // What killed processes had in the hands of their kernel is never freed (lsan.supp).
    EXPECT_LT(heap_in_use() - heap_before, kMiB);
}

// What grows slowly is noticed: each of these is caught in a few hours.
struct Leak {
    const char* name;
    Mutant mutant;
    const char* what;
};

class EnduranceMutant : public testing::TestWithParam<Leak> {};

TEST_P(EnduranceMutant, IsCaught) {
    constexpr std::uint64_t kHours = 4;
    const std::string failure = Endurance(1, kHours, GetParam().mutant).run();
    EXPECT_TRUE(failure.starts_with(GetParam().what)) << failure;
}

INSTANTIATE_TEST_SUITE_P(
    Engines, EnduranceMutant,
    testing::Values(Leak{"keep_intents", Mutant::keep_intents, "live intents"},
                    Leak{"leak_descriptors", Mutant::leak_descriptors, "descriptors"},
                    Leak{"leak_timers", Mutant::leak_timers, "timers"},
                    Leak{"leak_memory", Mutant::leak_memory, "bytes of memory"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gemel::sim
