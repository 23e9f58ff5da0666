// SPDX-License-Identifier: Apache-2.0
// One process: its loop, and every way in which it may end.
#include "tests/unit/sim_world/scenario.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <vector>

namespace gemel::sim {
namespace {

class ProcessTest : public testing::Test {
   protected:
    World world{7};
    Node& node = add_plain_node(world, 0);
};

TEST_F(ProcessTest, PostsRunInOrderAndNotInside) {
    SimLoop& loop = node.start();
    std::vector<int> order;
    loop.post([&] {
        order.push_back(1);
        loop.post([&] { order.push_back(3); });
    });
    loop.post([&] { order.push_back(2); });
    EXPECT_TRUE(order.empty());
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_F(ProcessTest, TimersFireByDueTimeAndCancelledOnesDoNot) {
    SimLoop& loop = node.start();
    std::vector<int> order;
    Timer late(loop, [&] { order.push_back(2); });
    Timer early(loop, [&] { order.push_back(1); });
    Timer never(loop, [&] { order.push_back(9); });
    late.start(Duration::milliseconds(20));
    early.start(Duration::milliseconds(10));
    never.start(Duration::milliseconds(5));
    never.cancel();
    EXPECT_EQ(loop.running_timers(), 2U);
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST_F(ProcessTest, JobRunsLaterAndIsDoneOnTheLoopAfterwards) {
    SimLoop& loop = node.start();
    Instant ran, finished;
    TestJob job;
    job.work = [&] { ran = world.now(); };
    job.finished = [&] { finished = world.now(); };
    loop.offload(job);
    EXPECT_TRUE(world.run_until([&] { return finished.ns != 0; }));
    EXPECT_GT(ran.ns, 0);
    EXPECT_GT(finished, ran);
}

TEST_F(ProcessTest, TransfersMoveBytesAndCompleteOnce) {
    SimLoop& loop = node.start();
    const Fd root = loop.vfs().open_directory("/").value();
    const Fd file = loop.vfs().open_at(root, "f", O_CREAT | O_RDWR, 0644).value();
    TestIo write, sync, read;
    loop.write(write, file, as_bytes("twelve bytes"), 0);
    EXPECT_TRUE(world.run_until([&] { return write.completions == 1; }));
    loop.sync(sync, file, false);
    EXPECT_TRUE(world.run_until([&] { return sync.completions == 1; }));
    std::byte buffer[32];
    loop.read(read, file, buffer, 7);
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(read.completions, 1);
    EXPECT_EQ(as_text({buffer, read.count}), "bytes");
}

TEST_F(ProcessTest, ReadThatWaitsForEverEndsWhenCancelled) {
    SimLoop& loop = node.start();
    const Fd root = loop.vfs().open_directory("/").value();
    ASSERT_TRUE(loop.vfs().make_node(root, "pipe", S_IFIFO | 0600, 0).ok());
    const Fd pipe = loop.vfs().open_at(root, "pipe", O_RDWR, 0).value();
    std::byte buffer[8];
    TestIo read;
    loop.read(read, pipe, buffer, Loop::kNoOffset);
    world.run_for(Duration::seconds(100));
    EXPECT_EQ(read.completions, 0);
    loop.cancel(read);
    EXPECT_EQ(read.completions, 0);
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(read.completions, 1);
    EXPECT_EQ(read.status, Status(Code::cancelled));
}

// --- Ends --------------------------------------------------------------------------------------

// Has one of everything that may be pending when the process ends.
struct Busy {
    explicit Busy(SimLoop& used, int& callbacks_of_owner, bool& is_alive)
        : loop(used), callbacks(callbacks_of_owner), alive(is_alive), timer(used, [this] {
              ++callbacks;
              timer.start(Duration::milliseconds(1));
          }) {
        alive = true;
        const Fd root = loop.vfs().open_directory("/").value();
        file = ScopedFd(loop.vfs(), loop.vfs().open_at(root, "f", O_CREAT | O_RDWR, 0644).value());
        loop.vfs().close(root);
        timer.start(Duration::milliseconds(1));
        job.work = job.finished = [this] { ++callbacks; };
        loop.offload(job);
        loop.write(write, file.get(), as_bytes("data"), 0);
        loop.post([this, kept = std::make_shared<Timer>(loop, [] {})] { ++callbacks; });
    }
    ~Busy() {
        // What destructors of a killed process may still call.
        EXPECT_FALSE(loop.is_alive());
        EXPECT_EQ(loop.vfs().stat(file.get()).status(), Status(Code::cancelled));
        loop.post([this] { ++callbacks; });
        alive = false;
    }
    SimLoop& loop;
    int& callbacks;
    bool& alive;
    ScopedFd file;
    Timer timer;
    TestJob job;
    TestIo write;
};

TEST_F(ProcessTest, KilledProcessIsNeverCalledAgainAndItsProgramIsDestroyed) {
    int callbacks = 0;
    bool alive = false;
    node.start(
        [&](SimLoop& loop) { return std::make_unique<ProgramOf<Busy>>(loop, callbacks, alive); });
    EXPECT_TRUE(alive);
    node.kill_process();
    EXPECT_FALSE(alive);
    EXPECT_FALSE(node.has_process());
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(callbacks, 0);
}

TEST_F(ProcessTest, ProcessMayBeKilledAtEveryCallback) {
    for (std::uint64_t n = 1; n < 30; ++n) {
        int callbacks = 0;
        bool alive = false;
        node.start([&](SimLoop& loop) {
            return std::make_unique<ProgramOf<Busy>>(loop, callbacks, alive);
        });
        node.die_at_callback(n);
        EXPECT_TRUE(world.run_until([&] { return !node.has_process(); }));
        EXPECT_FALSE(alive);
        EXPECT_LT(callbacks, static_cast<int>(n));
    }
}

TEST_F(ProcessTest, KillFromInsideACallbackTakesEffectAtItsEnd) {
    bool after_kill = false;
    bool alive = false;
    int callbacks = 0;
    node.start([&](SimLoop& loop) {
        auto program = std::make_unique<ProgramOf<Busy>>(loop, callbacks, alive);
        loop.post([&, busy = &program->state] {
            node.kill_process();
            EXPECT_TRUE(alive);  // its objects stay until the callback has returned
            EXPECT_FALSE(busy->loop.is_alive());
            after_kill = true;
        });
        return program;
    });
    world.run_for(Duration::seconds(1));
    EXPECT_TRUE(after_kill);
    EXPECT_FALSE(alive);
}

// Makes files until it dies at the n-th call; exactly the calls before have had their effect.
TEST_F(ProcessTest, DiesAtTheChosenCallWithoutItsEffect) {
    for (std::uint64_t n = 1; n <= 10; ++n) {
        World fresh(n);
        Node& machine = add_plain_node(fresh, 0);
        machine.start([&](SimLoop& loop) -> std::unique_ptr<Program> {
            const Fd root = loop.vfs().open_directory("/").value();
            machine.die_at_vfs_call(n);
            for (int i = 0; i < 10; ++i) {
                const Status made = loop.vfs().make_directory(root, std::to_string(i), 0755);
                const bool should_work = i + 1 < static_cast<int>(n);
                EXPECT_EQ(made, should_work ? Status() : Status(Code::cancelled));
            }
            return nullptr;
        });
        EXPECT_FALSE(machine.has_process());
        SimLoop& next = machine.start();
        std::vector<DirectoryEntry> entries;
        const Fd root = next.vfs().open_directory("/").value();
        EXPECT_TRUE(next.vfs().read_directory(root, 0, 100, entries).ok());
        EXPECT_EQ(entries.size(), n - 1);
    }
}

TEST_F(ProcessTest, DeathAtACallMayBeAPowerCut) {
    node.start([&](SimLoop& loop) -> std::unique_ptr<Program> {
        node.die_at_vfs_call(1, true);
        EXPECT_EQ(loop.vfs().open_directory("/").status(), Status(Code::cancelled));
        return nullptr;
    });
    EXPECT_FALSE(node.is_on());
}

TEST_F(ProcessTest, SupervisorHearsOfEveryEndAndMayStartTheNext) {
    int ends = 0;
    node.set_on_end([&] {
        EXPECT_FALSE(node.has_process());
        if (++ends < 4) node.start();
    });
    node.start();
    node.kill_process();
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(ends, 1);
    node.power_cut();
    world.run_for(Duration::seconds(1));
    node.loop().post([&] { node.loop().exit(); });
    world.run_for(Duration::seconds(1));
    node.die_at_callback(1);
    node.loop().post([] {});
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(ends, 4);
    EXPECT_FALSE(node.has_process());
}

TEST_F(ProcessTest, PausedProcessRunsNothingAndLosesNothing) {
    SimLoop& loop = node.start();
    int fired = 0;
    bool posted = false;
    Timer timer(loop, [&] { ++fired; });
    timer.start(Duration::milliseconds(10));
    loop.post([&] { posted = true; });
    node.pause();
    world.run_for(Duration::seconds(10));
    EXPECT_EQ(fired, 0);
    EXPECT_FALSE(posted);
    node.resume();
    world.run_for(Duration::milliseconds(1));
    EXPECT_EQ(fired, 1);
    EXPECT_TRUE(posted);
}

TEST_F(ProcessTest, PausedProcessMayBeKilled) {
    int callbacks = 0;
    bool alive = false;
    node.start(
        [&](SimLoop& loop) { return std::make_unique<ProgramOf<Busy>>(loop, callbacks, alive); });
    node.pause();
    world.run_for(Duration::seconds(1));
    node.kill_process();
    EXPECT_FALSE(alive);
    node.start();
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(callbacks, 0);
}

TEST_F(ProcessTest, StuckDiskHoldsJobsAndTransfersUntilItGoesOn) {
    SimLoop& loop = node.start();
    const Fd root = loop.vfs().open_directory("/").value();
    const Fd file = loop.vfs().open_at(root, "f", O_CREAT | O_RDWR, 0644).value();
    TestJob job;
    bool finished = false;
    job.finished = [&] { finished = true; };
    TestIo write;
    node.set_disk_stuck(true);
    loop.offload(job);
    loop.write(write, file, as_bytes("x"), 0);
    world.run_for(Duration::seconds(1000));
    loop.cancel(write);
    world.run_for(Duration::seconds(1000));
    EXPECT_FALSE(finished);
    EXPECT_EQ(write.completions, 0);
    node.set_disk_stuck(false);
    world.run_for(Duration::seconds(1));
    EXPECT_TRUE(finished);
    EXPECT_EQ(write.completions, 1);
    EXPECT_TRUE(write.status.ok());
}

}  // namespace
}  // namespace gemel::sim
