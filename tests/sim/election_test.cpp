// SPDX-License-Identifier: Apache-2.0
// Random elections: thousands of seeds of election_world, and its mutants, each of which must be
// caught. One seed again, with its trace: election_test --seed=N [--mutant=M]
#include "tests/sim/election_world.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gemel::sim {
namespace {

std::uint64_t g_seeds = 2000;
std::uint64_t g_first_seed = 1;

std::string run_seed(std::uint64_t seed, Mutant mutant) {
    ElectionOptions options;
    options.seed = seed;
    options.mutant = mutant;
    return ElectionWorld(options).run();
}

TEST(Election, NothingAcknowledgedIsLostAndNobodyServesBesideAnother) {
    for (std::uint64_t seed = g_first_seed; seed < g_first_seed + g_seeds; ++seed) {
        const std::string broken = run_seed(seed, Mutant::none);
        ASSERT_EQ(broken, "") << "again: election_test --seed=" << seed;
    }
}

class ElectionMutant : public testing::TestWithParam<Mutant> {};

TEST_P(ElectionMutant, IsCaught) {
    for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
        const std::string broken = run_seed(seed, GetParam());
        if (broken.empty() || broken.find("does not heal") != std::string::npos) continue;
        std::printf("caught at seed %llu: %s\n", static_cast<unsigned long long>(seed),
                    broken.c_str());
        return;
    }
    FAIL() << "4000 seeds did not notice mutant " << static_cast<int>(GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    All, ElectionMutant,
    testing::Values(Mutant::takeover_without_swap, Mutant::eligible_by_epoch_alone,
                    Mutant::alone_before_outcome, Mutant::forget_incarnation,
                    Mutant::read_settles_unknown, Mutant::join_before_all_acked,
                    Mutant::target_not_synced, Mutant::swap_without_comparing, Mutant::lost_is_won,
                    Mutant::witness_forgets, Mutant::superblock_not_stored,
                    Mutant::serves_before_stored, Mutant::answers_held_ops,
                    Mutant::answers_when_deposed, Mutant::keeps_session,
                    Mutant::acknowledges_unapplied, Mutant::mount_not_aborted,
                    Mutant::address_not_dropped, Mutant::failed_copy_comes_back));

// --seed=N: one seed with its trace. --seeds=N --first=N: how many, from which.
int main_of(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    std::uint64_t one = 0, mutant = 0;
    for (int i = 1; i < argc; ++i) {
        const auto number = [&](const char* option, std::uint64_t& value) {
            const std::size_t size = std::strlen(option);
            if (std::strncmp(argv[i], option, size) != 0) return;
            value = std::strtoull(argv[i] + size, nullptr, 10);
        };
        number("--seed=", one);
        number("--mutant=", mutant);
        number("--seeds=", g_seeds);
        number("--first=", g_first_seed);
    }
    if (one == 0) return RUN_ALL_TESTS();
    ElectionOptions options;
    options.seed = one;
    options.mutant = static_cast<Mutant>(mutant);
    options.trace = true;
    const std::string broken = ElectionWorld(options).run();
    std::printf("%s\n", broken.empty() ? "all checks held" : broken.c_str());
    return broken.empty() ? 0 : 1;
}

}  // namespace
}  // namespace gemel::sim

int main(int argc, char** argv) { return gemel::sim::main_of(argc, argv); }
