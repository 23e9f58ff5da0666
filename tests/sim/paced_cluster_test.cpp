// SPDX-License-Identifier: Apache-2.0
// Clusters under the campaigns' faults whose resyncs are slow and paused at random moments, by a
// person who resumes them: nothing is lost, nobody is in sync too early, and in the end both copies
// are equal.
//
// Which seeds: seeds.hpp.
#include "tests/sim/block_campaign.hpp"
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"
#include "tests/sim/seeds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 40;

template <typename Faults>
class Paced final : public Faults {
   public:
    template <typename... More>
    explicit Paced(std::uint64_t seed, More... more) : Faults(seed, more...) {
        ResyncRateRange& range = this->cluster_.names->resync_rate;
        range.min = (64 + this->prng().below(448)) * kKiB;
        if (seed % 3 != 0) range.max = range.min * (1 + this->prng().below(8));
    }
    // Of resyncs that were under way.
    [[nodiscard]] std::uint64_t pauses() const { return pauses_; }

   private:
    void start_more() override {
        Faults::start_more();
        person_is_there_ = true;
        come_again();
    }
    void stop_more() override {
        Faults::stop_more();
        person_is_there_ = false;
        for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) pause(node, false);
    }
    void come_again() {
        this->cluster_.world.after(this->random_time(20, 1200), [this] {
            if (!person_is_there_) return;
            const std::size_t node = this->prng().below(2);
            const NodeProgram* program = this->cluster_.program(node);
            if (program != nullptr) pause(node, !program->port().resync_pacer().is_paused());
            come_again();
        });
    }
    void pause(std::size_t node, bool paused) {
        const NodeProgram* program = this->cluster_.program(node);
        if (program == nullptr || this->cluster_.machines[node]->is_paused()) return;
        const bool is_alone = program->node()->machine().state() == MirrorState::alone;
        if (paused && !is_alone) return;
        this->note(paused ? "a person pauses the resync" : "a person resumes the resync");
        if (paused && program->port().resync_progress().running) ++pauses_;
        program->port().pause_resync(paused);
    }

    bool person_is_there_ = false;
    std::uint64_t pauses_ = 0;
};

template <typename Faults, typename... More>
void run_campaign(std::uint64_t seeds_default, More... more) {
    const std::vector<std::uint64_t> seeds = seeds_of(CampaignName::paced, seeds_default);
    std::uint64_t acknowledged = 0;
    std::uint64_t pauses = 0;
    for (const std::uint64_t seed : seeds) {
        Paced<Faults> campaign(seed, more...);
        const std::string failure = campaign.run();
        acknowledged += campaign.acknowledged();
        pauses += campaign.pauses();
        if (failure.empty()) continue;
        if (is_one_seed()) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << seeds.size() << " seeds, " << acknowledged << " ops acknowledged, " << pauses
              << " resyncs paused\n";
    EXPECT_GT(acknowledged, seeds.size() * 20);
    if (!is_one_seed()) {
        EXPECT_GT(pauses, seeds.size() / 4);
    }
}

TEST(PacedCluster, LosesNothingAcknowledgedUnderSingleFaults) {
    run_campaign<SingleFaults>(kSeedsDefault);
}

// Of a block volume what is not under way is sent: requests wait for that, but never for a pause.
TEST(PacedCluster, LosesNothingOfABlockVolumeEither) {
    constexpr bool kAnswersEarly = false;
    run_campaign<WithBlock<SingleFaults>>(kSeedsDefault / 2, kAnswersEarly);
}

// It comes too late to hold this one, and is not meant for the next.
TEST(PacedCluster, PauseGivenAtTheVeryEndIsOver) {
    Cluster cluster(3);
    cluster.start_all();
    const auto reach = [&](const auto& condition) {
        return cluster.world.run_until(condition, Duration::seconds(60));
    };
    const auto is_in_sync = [&] { return cluster.is_in_sync(); };
    const auto is_alone = [&] {
        return cluster.program(Cluster::kAlpha)->node()->machine().state() == MirrorState::alone;
    };
    ASSERT_TRUE(reach(is_in_sync));
    cluster.kill(Cluster::kBeta);
    ASSERT_TRUE(reach(is_alone));
    cluster.start(Cluster::kBeta);
    EngineReplica& port = cluster.program(Cluster::kAlpha)->port();
    ASSERT_TRUE(reach([&] { return port.replica().role() == ReplicaRole::attaching; }));
    port.pause_resync(true);
    ASSERT_TRUE(reach(is_in_sync));
    cluster.kill(Cluster::kBeta);
    ASSERT_TRUE(reach(is_alone));
    cluster.start(Cluster::kBeta);
    EXPECT_TRUE(reach(is_in_sync)) << cluster.describe();
}

ObjectId make_file(Cluster& cluster, const std::string& name, std::size_t size) {
    ObjectId made;
    const auto carry_out = [&](std::unique_ptr<SimOp> op) {
        op->op.name = op->name;
        op->op.data = op->data;
        op->op.size = op->data.size();
        SimOp& submitted = *op;
        bool done = false;
        cluster.serving()->submit(std::move(op), [&](Status status) {
            done = status.ok();
            made = submitted.op.object;
        });
        EXPECT_TRUE(cluster.world.run_until([&] { return done; }, Duration::seconds(30)));
    };
    auto create = std::make_unique<SimOp>();
    create->op.kind = OpKind::create;
    create->op.parent = kRootObject;
    create->op.mode = S_IFREG | 0644U;
    create->name = name;
    carry_out(std::move(create));
    for (std::size_t done = 0; done < size; done += kMiB) {
        auto write = std::make_unique<SimOp>();
        write->op.kind = OpKind::write;
        write->op.object = made;
        write->op.offset = done;
        write->data.assign(std::min<std::size_t>(size - done, kMiB), std::byte{'k'});
        carry_out(std::move(write));
    }
    return made;
}

// What has been compared by then does not count any more.
TEST(PacedCluster, CopyReleasedAndChangedInTheMiddleOfAComparison) {
    Cluster cluster(4);
    cluster.names->resync_rate = {512 * kKiB, 512 * kKiB};
    cluster.start_all();
    const auto reach = [&](const auto& condition) {
        return cluster.world.run_until(condition, Duration::seconds(120));
    };
    ASSERT_TRUE(reach([&] { return cluster.is_in_sync(); }));
    const ObjectId first = make_file(cluster, "first", 10'000);
    make_file(cluster, "big", 8 * kMiB);
    cluster.world.run_for(Duration::seconds(60));  // no intent names them any more
    cluster.command(Cluster::kAlpha, Command::resync_full);
    const EngineReplica& port = cluster.program(Cluster::kAlpha)->port();
    ASSERT_TRUE(reach([&] { return port.resync_progress().bytes_compared > 4 * kMiB; }));
    const DirtyMap& map = cluster.program(Cluster::kAlpha)->replica().dirty_map(0);
    ASSERT_TRUE(!map.empty() && map.is_known(first) && map.find(first) == nullptr);
    const auto is_stopped = [&] {
        return cluster.program(Cluster::kBeta)->node()->machine().state() == MirrorState::stopped;
    };
    cluster.command(Cluster::kBeta, Command::stop);
    ASSERT_TRUE(reach(is_stopped));
    cluster.command(Cluster::kBeta, Command::release);
    cluster.world.run_for(Duration::seconds(1));
    FileSystem& disk = *cluster.machines[Cluster::kBeta]->find(ClusterNames::kData).file_system;
    Inode& file = *disk.lookup(disk.root(), "first").value();
    ASSERT_TRUE(disk.write(file, as_bytes("!"), 100, {1'000, 0}).ok());
    cluster.command(Cluster::kBeta, Command::start);
    ASSERT_TRUE(reach([&] { return cluster.is_in_sync(); })) << cluster.describe();
    EXPECT_EQ(cluster.compare(), std::vector<std::string>());
}

TEST(PacedCluster, LosesNothingSyncedUnderTwoFaultsAndAPerson) {
    run_campaign<DoubleFaults>(kSeedsDefault / 2);
}

}  // namespace
}  // namespace gemel::sim
