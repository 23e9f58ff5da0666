// SPDX-License-Identifier: Apache-2.0
// The world itself: order of events, clocks, and that one seed is one run.
#include "engine/io/sim/world.hpp"

#include "tests/unit/sim_world/scenario.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <vector>

namespace gemel::sim {
namespace {

TEST(World, RunsEventsInOrderOfTimeThenOfScheduling) {
    World world(1);
    std::vector<int> order;
    world.after(Duration::seconds(2), [&] { order.push_back(3); });
    world.after(Duration::seconds(1), [&] { order.push_back(1); });
    world.after(Duration::seconds(1), [&] { order.push_back(2); });
    world.run_for(Duration::milliseconds(1500));
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
    EXPECT_EQ(world.now(), Instant{1'500'000'000});
    EXPECT_TRUE(world.step());
    EXPECT_FALSE(world.step());
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(World, CancelledEventDoesNotRunAndItsSlotIsUsedAgain) {
    World world(1);
    int ran = 0;
    EventId first = world.after(Duration::seconds(1), [&] { ran += 1; });
    EventId copy = first;
    world.cancel(first);
    EXPECT_FALSE(first.is_set());
    world.after(Duration::seconds(1), [&] { ran += 10; });
    world.cancel(copy);  // the slot belongs to another event now
    world.run_for(Duration::seconds(2));
    EXPECT_EQ(ran, 10);
}

TEST(World, EventMayCancelItself) {
    World world(1);
    EventId self;
    int ran = 0;
    self = world.after(Duration::seconds(1), [&] {
        world.cancel(self);
        ++ran;
    });
    world.run_for(Duration::seconds(2));
    EXPECT_EQ(ran, 1);
}

TEST(World, RunUntilGivesUpAtItsLimit) {
    World world(1);
    EXPECT_FALSE(world.run_until([] { return false; }, Duration::seconds(5)));
    EXPECT_EQ(world.now(), Instant{5'000'000'000});
}

// --- Determinism -------------------------------------------------------------------------------

// Two nodes that write, sync, talk and lose their power, all of it at random.
std::uint64_t busy_run(std::uint64_t seed) {
    World world(seed, 10);
    Node& node = add_plain_node(world, 0);
    struct Writer {
        explicit Writer(SimLoop& used) : loop(used), timer(used, [this] { tick(); }) {
            root = loop.vfs().open_directory("/").value();
            tick();
        }
        void tick() {
            const std::string name(1, static_cast<char>('a' + loop.prng().below(20)));
            auto file = loop.vfs().open_at(root, name, O_CREAT | O_RDWR, 0644);
            if (file.ok()) {
                (void)loop.vfs().pwrite(file.value(), as_bytes("text"), loop.prng().below(20000));
                if (loop.prng().one_in(4)) (void)loop.vfs().sync(file.value(), true);
                loop.vfs().close(file.value());
            }
            timer.start(Duration::microseconds(300));
        }
        SimLoop& loop;
        Timer timer;
        Fd root;
    };
    for (int round = 0; round < 5; ++round) {
        node.start([](SimLoop& loop) { return std::make_unique<ProgramOf<Writer>>(loop); });
        world.run_for(Duration::milliseconds(50));
        node.power_cut();
    }
    return world.digest();
}

TEST(World, SameSeedIsTheSameRun) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) EXPECT_EQ(busy_run(seed), busy_run(seed));
}

TEST(World, AnotherSeedIsAnotherRun) { EXPECT_NE(busy_run(1), busy_run(2)); }

TEST(World, TraceNamesNodesAndFaults) {
    World world(1);
    Node& node = add_plain_node(world, 0);
    node.log().log(LogLevel::warning, "disk is nearly full");
    node.power_cut();
    const std::string text = world.trace_text();
    EXPECT_NE(text.find("a log warning: disk is nearly full"), std::string::npos) << text;
    EXPECT_NE(text.find("a fault power cut"), std::string::npos) << text;
}

// --- Clocks ------------------------------------------------------------------------------------

TEST(NodeClock, FastAndSlowClocksFireTimersByTheirOwnTime) {
    for (const std::int64_t ppm : {-100'000, -3, 0, 7, 100'000}) {
        World world(1);
        NodeOptions options;
        options.clock_drift_ppm = ppm;
        Node& node = world.add_node(options);
        SimLoop& loop = node.start();
        bool fired = false;
        const Instant due = loop.now() + Duration::seconds(100);
        Timer timer(loop, [&] {
            fired = true;
            EXPECT_GE(loop.now(), due);
            EXPECT_LT(loop.now(), due + Duration::milliseconds(1));
        });
        timer.start(Duration::seconds(100));
        EXPECT_TRUE(world.run_until([&] { return fired; }));
        const double expected = 100.0 / (1.0 + static_cast<double>(ppm) / 1e6);
        EXPECT_NEAR(static_cast<double>(world.now().ns) / 1e9, expected, 0.01);
    }
}

TEST(NodeClock, ChangeOfSpeedMovesRunningTimers) {
    World world(1);
    Node& node = add_plain_node(world, 0);
    SimLoop& loop = node.start();
    bool fired = false;
    Timer timer(loop, [&] { fired = true; });
    timer.start(Duration::seconds(100));
    world.run_for(Duration::seconds(50));
    node.set_drift(250'000);
    EXPECT_TRUE(world.run_until([&] { return fired; }));
    EXPECT_NEAR(static_cast<double>(world.now().ns) / 1e9, 90.0, 0.01);
}

TEST(NodeClock, WallClockJumpsAndMonotonicDoesNot) {
    World world(1);
    Node& node = add_plain_node(world, 0);
    const SimLoop& loop = node.start();
    const Instant before = loop.now();
    const WallTime wall = loop.wall_time();
    node.set_wall_offset(Duration::seconds(-86400));
    EXPECT_EQ(loop.now(), before);
    EXPECT_EQ(loop.wall_time().seconds, wall.seconds - 86400);
}

TEST(NodeClock, BootChangesBootIdAndMonotonicClock) {
    World world(1);
    Node& node = add_plain_node(world, 0);
    const Uuid boot = node.boot_id();
    node.start();
    node.kill_process();
    node.start();
    EXPECT_EQ(node.loop().boot_id(), boot);
    node.power_cut();
    EXPECT_FALSE(node.is_on());
    node.start();
    EXPECT_NE(node.loop().boot_id(), boot);
}

}  // namespace
}  // namespace gemel::sim
