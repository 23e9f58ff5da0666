// SPDX-License-Identifier: Apache-2.0
// Clusters of two nodes and a witness under random single faults, from one seed each. Checked:
// every acknowledged op is there wherever the mirror is served; acknowledgements never go back to
// an older epoch; once faults stop, the cluster heals by itself and both copies are equal.
//
// GEMEL_SEED=N runs one seed and prints its last events when it fails; GEMEL_SEEDS=N runs the first
// N.

#include "tests/sim/cluster.hpp"

#include "engine/io/sim/fabric.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 100;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

class Campaign {
   public:
    explicit Campaign(std::uint64_t seed, Mutant mutant = Mutant::none)
        : cluster_(seed, mutant),
          workload_(
              cluster_.world, {}, [this] { return cluster_.serving(); },
              [this](const std::string& what) { cluster_.failures.push_back(what); }) {}

    // A sentence, or nothing when all held.
    std::string run() {
        cluster_.start_all();
        if (!heal()) return "did not begin: " + cluster_.describe();
        workload_.start();
        const std::uint64_t faults = 1 + prng().below(4);
        for (std::uint64_t i = 0; i < faults; ++i) {
            run_for(Duration::milliseconds(static_cast<std::int64_t>(prng().between(1, 800))));
            fault();
            run_for(Duration::milliseconds(static_cast<std::int64_t>(prng().between(1, 6000))));
            cluster_.heal_all();
            for (Node* machine : cluster_.machines) {
                if (machine->is_paused()) machine->resume();
            }
            cluster_.start_all();
            if (!heal()) return "did not heal: " + cluster_.describe();
            if (!cluster_.failures.empty()) return cluster_.failures.front();
        }
        return finish();
    }

    [[nodiscard]] std::uint64_t digest() const { return cluster_.world.digest(); }
    [[nodiscard]] std::string trace() { return cluster_.world.trace_text(); }
    [[nodiscard]] std::uint64_t acknowledged() const { return workload_.acknowledged(); }

   private:
    Prng& prng() { return cluster_.world.prng(); }
    void run_for(Duration duration) { cluster_.world.run_for(duration); }

    bool heal() {
        return cluster_.world.run_until(
            [this] {
                // A process may die late of its fault; a service manager starts it again.
                cluster_.start_all();
                return !cluster_.failures.empty() || cluster_.is_in_sync();
            },
            Duration::seconds(300));
    }

    void fault() {
        const std::size_t machine = prng().below(3);
        const std::size_t other = (machine + 1 + prng().below(2)) % 3;
        switch (prng().below(8)) {
            case 0:
                cluster_.kill(machine);
                break;
            // Only while both nodes are in sync: what one node alone has not synced may be lost.
            case 1:
            case 2:
                if (cluster_.is_in_sync()) cluster_.power_cut(machine);
                break;
            case 3:
                cluster_.cut(machine, other);
                break;
            case 4:
                cluster_.cut(machine, other);
                cluster_.cut(other, machine);
                break;
            case 5:
                for (std::size_t to = 0; to < 3; ++to) {
                    if (to != machine) cluster_.cut(machine, to);
                }
                break;
            case 6:
                if (cluster_.machines[machine]->has_process()) {
                    cluster_.machines[machine]->pause();
                }
                break;
            case 7:
                if (cluster_.machines[machine]->has_process()) {
                    cluster_.machines[machine]->die_at_vfs_call(1 + prng().below(200));
                }
                break;
        }
    }

    std::string finish() {
        workload_.stop();
        const bool idle =
            cluster_.world.run_until([this] { return workload_.is_idle(); }, Duration::seconds(60));
        if (!idle) return "an op was never answered";
        if (!heal()) return "did not stay healed: " + cluster_.describe();
        SimMount* mount = cluster_.serving();
        if (mount == nullptr) return "nobody serves: " + cluster_.describe();
        for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
        workload_.verify_all(*mount);
        run_for(Duration::seconds(3));
        if (!cluster_.failures.empty()) return cluster_.failures.front();
        const std::vector<std::string> differences = cluster_.compare();
        if (!differences.empty()) return "the copies differ: " + differences.front();
        return {};
    }

    Cluster cluster_;
    Workload workload_;
};

TEST(Cluster, LosesNothingAcknowledgedAndHealsUnderSingleFaults) {
    const std::uint64_t one = number_from("GEMEL_SEED", 0);
    const std::uint64_t first = one != 0 ? one : number_from("GEMEL_FIRST", 1);
    const std::uint64_t last =
        one != 0 ? one : first + number_from("GEMEL_SEEDS", kSeedsDefault) - 1;
    std::uint64_t acknowledged = 0;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        Campaign campaign(seed);
        const std::string failure = campaign.run();
        acknowledged += campaign.acknowledged();
        if (failure.empty()) continue;
        if (one != 0) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << last - first + 1 << " seeds, " << acknowledged << " ops acknowledged\n";
    EXPECT_GT(acknowledged, (last - first + 1) * 20);
}

// How many seeds it takes to catch a deliberately broken engine; 0: it was not caught.
std::uint64_t seeds_to_catch(Mutant mutant) {
    constexpr std::uint64_t kSeedsMax = 200;
    for (std::uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
        const std::string failure = Campaign(seed, mutant).run();
        if (failure.empty()) continue;
        std::cout << "caught by seed " << seed << ": " << failure << '\n';
        return seed;
    }
    return 0;
}

TEST(Cluster, CatchesAnEngineThatAcknowledgesBeforeItShips) {
    EXPECT_NE(seeds_to_catch(Mutant::acknowledge_early), 0U);
}

TEST(Cluster, CatchesAnEngineThatForgetsIntents) {
    EXPECT_NE(seeds_to_catch(Mutant::forget_intents), 0U);
}

TEST(Cluster, IsTheSameForTheSameSeed) {
    std::uint64_t digests[2];
    for (std::uint64_t& digest : digests) {
        Campaign campaign(77);
        EXPECT_EQ(campaign.run(), "");
        digest = campaign.digest();
    }
    EXPECT_EQ(digests[0], digests[1]);
}

}  // namespace
}  // namespace gemel::sim
