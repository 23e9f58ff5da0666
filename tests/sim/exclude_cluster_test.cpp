// SPDX-License-Identifier: Apache-2.0
// Clusters in which names are excluded, under random single faults: what was published is on
// whoever serves, whole; what is a node's own is never on the other (docs/exclude.md). Beside the
// publishers the ordinary clients work.
//
// Which seeds: seeds.hpp.
#include "tests/sim/cluster.hpp"
#include "tests/sim/node_program.hpp"
#include "tests/sim/publishers.hpp"
#include "tests/sim/seeds.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 20;

class Campaign {
   public:
    explicit Campaign(std::uint64_t seed)
        : cluster_(seed),
          clients_(
              cluster_.world, {1, Duration::milliseconds(4)}, [this] { return cluster_.serving(); },
              [this](const std::string& what) { cluster_.failures.push_back(what); }),
          publishers_(
              cluster_.world, 2, [this] { return cluster_.serving(); },
              [this](const std::string& what) { cluster_.failures.push_back(what); }) {
        GEMEL_ASSERT(cluster_.names->exclude.add("*.tmp").empty());
    }

    // A sentence, or nothing when all held.
    std::string run() {
        cluster_.start_all();
        if (!heal()) return "did not begin: " + cluster_.describe();
        clients_.start();
        publishers_.start();
        const std::uint64_t faults = 2 + prng().below(4);
        for (std::uint64_t i = 0; i < faults; ++i) {
            run_for(prng().between(1, 800));
            fault();
            run_for(prng().between(1, 5000));
            cluster_.heal_all();
            cluster_.start_all();
            if (!heal()) return "did not heal: " + cluster_.describe();
            if (!cluster_.failures.empty()) return cluster_.failures.front();
            if (const std::string alarm = verify(); !alarm.empty()) return alarm;
        }
        return finish();
    }

    [[nodiscard]] std::string trace() { return cluster_.world.trace_text(); }
    [[nodiscard]] std::uint64_t published() const { return publishers_.acknowledged(); }
    [[nodiscard]] std::uint64_t verified() const { return verified_; }

   private:
    Prng& prng() { return cluster_.world.prng(); }
    void run_for(std::uint64_t milliseconds) {
        cluster_.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(milliseconds)));
    }

    bool heal() {
        return cluster_.world.run_until(
            [this] {
                cluster_.start_all();
                return !cluster_.failures.empty() || cluster_.is_in_sync();
            },
            Duration::seconds(300));
    }

    // A comparison under work: what is kept per node, or on its way to the other, is no difference.
    // It may not come to its end: a death of before may come late.
    std::string verify() {
        for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
            const NodeProgram* program = cluster_.program(node);
            if (program == nullptr || !program->verify().start({}).empty()) continue;
            const auto ended = [&] {
                return cluster_.program(node) != program || !program->verify().status().running;
            };
            if (!cluster_.world.run_until(ended, Duration::seconds(60))) return "a verify hangs";
            if (cluster_.program(node) != program) return {};
            const std::vector<VerifyFinding> findings = program->verify().findings();
            if (!findings.empty()) return "a false alarm: " + findings.front().path;
            const auto outcome = program->verify().status().last->outcome;
            verified_ += outcome == VerifyOutcome::equal ? 1 : 0;
        }
        return {};
    }

    void fault() {
        const std::size_t machine = prng().below(2);
        switch (prng().below(5)) {
            case 0:
                cluster_.kill(machine);
                break;
            case 1:
                // Only in sync: what one node alone has not synced may be lost.
                if (cluster_.is_in_sync()) cluster_.power_cut(machine);
                break;
            case 2:
                cluster_.cut(machine, 1 - machine);
                if (prng().one_in(2)) cluster_.cut(1 - machine, machine);
                break;
            case 3:
                for (std::size_t to = 0; to < 3; ++to) {
                    if (to != machine) cluster_.cut(machine, to);
                }
                break;
            case 4:
                if (cluster_.machines[machine]->has_process()) {
                    cluster_.machines[machine]->die_at_vfs_call(1 + prng().below(300));
                }
                break;
        }
    }

    std::string finish() {
        clients_.stop();
        publishers_.stop();
        const bool idle = cluster_.world.run_until(
            [this] { return clients_.is_idle() && publishers_.is_idle(); }, Duration::seconds(60));
        if (!idle) return "an op was never answered";
        if (!heal()) return "did not stay healed: " + cluster_.describe();
        SimMount* mount = cluster_.serving();
        if (mount == nullptr) return "nobody serves: " + cluster_.describe();
        for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
        clients_.verify_all(*mount);
        publishers_.verify_all(*mount);
        run_for(3000);
        for (const std::size_t i : {Cluster::kAlpha, Cluster::kBeta}) {
            publishers_.verify_kept(*cluster_.machines[i]->find(ClusterNames::kData).file_system,
                                    cluster_.machines[i]->name());
        }
        if (!cluster_.failures.empty()) return cluster_.failures.front();
        const std::vector<std::string> differences = cluster_.compare();
        if (!differences.empty()) return "the copies differ: " + differences.front();
        return {};
    }

    Cluster cluster_;
    Workload clients_;
    Publishers publishers_;
    std::uint64_t verified_ = 0;
};

TEST(ExcludeCluster, LosesNothingPublishedAndKeepsNamesApart) {
    const std::vector<std::uint64_t> seeds = seeds_of(CampaignName::exclude, kSeedsDefault);
    std::uint64_t published = 0;
    std::uint64_t verified = 0;
    for (const std::uint64_t seed : seeds) {
        Campaign campaign(seed);
        const std::string failure = campaign.run();
        published += campaign.published();
        verified += campaign.verified();
        if (failure.empty()) continue;
        if (is_one_seed()) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << seeds.size() << " seeds, " << published << " versions published\n";
    EXPECT_GT(published, seeds.size() * 5);
    EXPECT_GT(verified, seeds.size());
}

}  // namespace
}  // namespace gemel::sim
