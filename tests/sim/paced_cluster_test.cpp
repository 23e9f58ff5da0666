// SPDX-License-Identifier: Apache-2.0
// Moments at which a resync is paused or its copy taken away, one by one; paced_campaign.hpp has
// the random ones.
#include "tests/sim/cluster.hpp"
#include "tests/sim/node_program.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace gemel::sim {
namespace {

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

}  // namespace
}  // namespace gemel::sim
