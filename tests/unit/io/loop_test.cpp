// SPDX-License-Identifier: Apache-2.0
// Conformance of Loop: tasks, timers, jobs, operations on descriptors.
#include "tests/unit/io/world.hpp"

#include <algorithm>
#include <fcntl.h>
#include <optional>

namespace gemel::test {
namespace {

class LoopTest : public WorldTest {};
GEMEL_IN_EVERY(worlds, LoopTest);

struct TestOp : IoOp {
    int completions = 0;
    Status status;
    std::size_t count = 0;
    std::function<void()> then;

    void on_complete(Status new_status, std::size_t new_count) noexcept override {
        ++completions;
        status = new_status;
        count = new_count;
        if (then) then();
    }
};

struct TestJob : Job {
    std::function<void()> work;
    std::function<void()> finished;

    void run() noexcept override {
        if (work) work();
    }
    void done() noexcept override {
        if (finished) finished();
    }
};

// ---- tasks ----------------------------------------------------------------------------------

TEST_P(LoopTest, PostedTasksRunInOrderAndNotInsidePost) {
    std::vector<int> order;
    for (int i = 0; i < 5; ++i) loop().post([&, i] { order.push_back(i); });
    EXPECT_TRUE(order.empty());
    world().run_until([&] { return order.size() == 5; });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST_P(LoopTest, TaskPostedByTaskRunsAfterIt) {
    std::vector<int> order;
    loop().post([&] {
        loop().post([&] { order.push_back(3); });
        order.push_back(1);
    });
    loop().post([&] { order.push_back(2); });
    world().run_until([&] { return order.size() == 3; });
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_P(LoopTest, TasksFromOutsideRunInOrderAndNotInside) {
    std::vector<int> order;
    for (int i = 0; i < 3; ++i) loop().run_from_any_thread([&, i] { order.push_back(i); });
    EXPECT_TRUE(order.empty());
    world().run_until([&] { return order.size() == 3; });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

// ---- timers ---------------------------------------------------------------------------------

TEST_P(LoopTest, TimersFireByDueTimeAndNeverEarly) {
    std::vector<int> order;
    const Instant start = loop().now();
    Instant fired_at[3];
    const auto timer = [&](int i) {
        return std::make_unique<Timer>(loop(), [&, i] {
            order.push_back(i);
            fired_at[i] = loop().now();
        });
    };
    // Wakes the loop meanwhile, so that a timer that could fire early would.
    std::optional<Timer> tick;
    tick.emplace(loop(), [&] { tick->start(Duration::milliseconds(1)); });
    tick->start(Duration{});
    const auto late = timer(2), early = timer(0), middle = timer(1);
    late->start(Duration::milliseconds(30));
    early->start(Duration::milliseconds(10));
    middle->start(Duration::milliseconds(20));
    EXPECT_TRUE(late->is_running());
    world().run_until([&] { return order.size() == 3; });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
    for (int i = 0; i < 3; ++i) {
        EXPECT_GE(fired_at[i], start + Duration::milliseconds(10 * (i + 1)));
    }
    EXPECT_FALSE(late->is_running());
}

TEST_P(LoopTest, TimersOfOneDueTimeFireInOrderOfStart) {
    std::vector<int> order;
    std::vector<std::unique_ptr<Timer>> timers;
    for (int i = 0; i < 20; ++i) {
        timers.push_back(std::make_unique<Timer>(loop(), [&, i] { order.push_back(i); }));
    }
    for (auto& timer : timers) timer->start(Duration::milliseconds(1));
    world().run_until([&] { return order.size() == timers.size(); });
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(LoopTest, ManyTimersWithCancellationsFireInOrder) {
    constexpr int kCount = 300;
    Prng prng(7);
    std::vector<std::pair<Instant, int>> fired, expected;
    std::vector<std::unique_ptr<Timer>> timers;
    std::vector<Instant> due;
    for (int i = 0; i < kCount; ++i) {
        timers.push_back(std::make_unique<Timer>(
            loop(), [&, i] { fired.emplace_back(due[static_cast<std::size_t>(i)], i); }));
        const auto delay =
            Duration::microseconds(static_cast<std::int64_t>(1000 + 100 * prng.below(200)));
        timers.back()->start(delay);
        due.push_back(loop().now() + delay);
    }
    for (int i = 0; i < kCount; ++i) {
        const auto index = static_cast<std::size_t>(i);
        if (prng.one_in(2)) {
            timers[index]->cancel();
        } else {
            expected.emplace_back(due[index], i);
        }
    }
    std::sort(expected.begin(), expected.end());
    world().run_until([&] { return fired.size() == expected.size(); });
    world().run_for(Duration::milliseconds(30));
    EXPECT_EQ(fired, expected);
}

TEST_P(LoopTest, CancelledTimerDoesNotFire) {
    int fired = 0;
    Timer timer(loop(), [&] { ++fired; });
    timer.start(Duration::milliseconds(1));
    timer.cancel();
    timer.cancel();
    EXPECT_FALSE(timer.is_running());
    {
        Timer destroyed(loop(), [&] { ++fired; });
        destroyed.start(Duration::milliseconds(1));
    }
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(fired, 0);
}

TEST_P(LoopTest, RestartedTimerFiresOnceAtItsLastTime) {
    int fired = 0;
    Timer timer(loop(), [&] { ++fired; });
    timer.start(Duration::milliseconds(1));
    const Instant due = loop().now() + Duration::milliseconds(20);
    timer.start(Duration::milliseconds(20));
    world().run_until([&] { return fired > 0; });
    EXPECT_GE(loop().now(), due);
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(fired, 1);
}

TEST_P(LoopTest, TimerRestartsAndIsCancelledInsideCallbacks) {
    int fired = 0;
    std::optional<Timer> periodic, victim;
    victim.emplace(loop(), [&] { ADD_FAILURE() << "fired although cancelled when due"; });
    periodic.emplace(loop(), [&] {
        EXPECT_FALSE(periodic->is_running());
        if (victim.has_value()) victim.reset();
        if (++fired < 3) periodic->start(Duration{});
    });
    periodic->start(Duration::milliseconds(1));
    victim->start(Duration::milliseconds(1));
    world().run_until([&] { return fired == 3; });
    EXPECT_FALSE(periodic->is_running());
}

TEST_P(LoopTest, TimerOfNoDelayDoesNotStarveTasks) {
    bool ran = false;
    std::optional<Timer> busy;
    busy.emplace(loop(), [&] {
        if (!ran) busy->start(Duration{});
        loop().post([&] { ran = true; });
    });
    busy->start(Duration{});
    world().run_until([&] { return ran && !busy->is_running(); });
}

// ---- jobs -----------------------------------------------------------------------------------

TEST_P(LoopTest, JobRunsThenIsDoneOnTheLoopAndNotInside) {
    // Plain int: a thread sanitizer would see a loop that reads it without waiting for the job.
    int step = 0;
    bool done = false;
    TestJob job;
    job.work = [&] { step = 1; };
    job.finished = [&] {
        EXPECT_EQ(step, 1);
        done = true;
    };
    loop().offload(job);
    EXPECT_FALSE(done);
    world().run_until([&] { return done; });
}

TEST_P(LoopTest, JobsUseFilesAndMayBeOffloadedAgainWhenDone) {
    ScopedFd file = open_file("f");
    int rounds = 0;
    TestJob job;
    job.work = [&] {
        EXPECT_TRUE(vfs().pwrite(file.get(), as_bytes("x"), static_cast<unsigned>(rounds)).ok());
        EXPECT_TRUE(vfs().sync(file.get(), false).ok());
    };
    job.finished = [&] {
        if (++rounds < 3) loop().offload(job);
    };
    loop().offload(job);
    world().run_until([&] { return rounds == 3; });
    EXPECT_EQ(content(file.get()), "xxx");
}

TEST_P(LoopTest, EveryJobOfManyIsDoneOnce) {
    std::vector<TestJob> jobs(50);
    std::vector<int> runs(jobs.size(), 0);
    std::size_t done = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        jobs[i].work = [&, i] { ++runs[i]; };
        jobs[i].finished = [&] { ++done; };
        loop().offload(jobs[i]);
    }
    world().run_until([&] { return done == jobs.size(); });
    EXPECT_EQ(runs, std::vector<int>(jobs.size(), 1));
}

// ---- operations -----------------------------------------------------------------------------

TEST_P(LoopTest, OperationsCompleteOnceAndNotInside) {
    ScopedFd file = open_file("f");
    TestOp write, sync, read;
    loop().write(write, file.get(), as_bytes("hello world"), 0);
    EXPECT_EQ(write.completions, 0);
    world().run_until([&] { return write.completions > 0; });
    EXPECT_TRUE(write.status.ok()) << write.status.to_string();
    EXPECT_EQ(write.count, 11U);

    loop().sync(sync, file.get(), true);
    EXPECT_EQ(sync.completions, 0);
    world().run_until([&] { return sync.completions > 0; });
    EXPECT_TRUE(sync.status.ok()) << sync.status.to_string();

    std::byte buffer[64];
    loop().read(read, file.get(), buffer, 6);
    EXPECT_EQ(read.completions, 0);
    world().run_until([&] { return read.completions > 0; });
    EXPECT_TRUE(read.status.ok()) << read.status.to_string();
    EXPECT_EQ(as_text({buffer, read.count}), "world");
    world().run_for(Duration::milliseconds(2));
    EXPECT_EQ(write.completions + sync.completions + read.completions, 3);
}

TEST_P(LoopTest, ReadBeyondTheEndGivesNothing) {
    ScopedFd file = open_file("f");
    write_all(file.get(), "abc");
    TestOp read;
    std::byte buffer[8];
    loop().read(read, file.get(), buffer, 3);
    world().run_until([&] { return read.completions > 0; });
    EXPECT_TRUE(read.status.ok());
    EXPECT_EQ(read.count, 0U);
}

TEST_P(LoopTest, OperationOnTheWrongKindOfDescriptorFails) {
    open_file("f");
    const auto read_only = vfs().open_at(directory(), "f", O_RDONLY, 0);
    ASSERT_TRUE(read_only.ok());
    const ScopedFd file(vfs(), read_only.value());
    TestOp write;
    loop().write(write, file.get(), as_bytes("x"), 0);
    world().run_until([&] { return write.completions > 0; });
    EXPECT_TRUE(write.status.is_errno(EBADF)) << write.status.to_string();
    EXPECT_EQ(write.count, 0U);
}

TEST_P(LoopTest, OperationMayBeSubmittedAgainFromItsCompletion) {
    ScopedFd file = open_file("f");
    TestOp op;
    op.then = [&] {
        if (op.completions < 4) {
            loop().write(op, file.get(), as_bytes("ab"), static_cast<unsigned>(2 * op.completions));
        }
    };
    loop().write(op, file.get(), as_bytes("ab"), 0);
    world().run_until([&] { return op.completions == 4; });
    EXPECT_EQ(content(file.get()), "abababab");
}

TEST_P(LoopTest, CancelledOperationCompletesOnce) {
    ScopedFd file = open_file("f");
    TestOp op;
    loop().sync(op, file.get(), false);
    loop().cancel(op);
    EXPECT_EQ(op.completions, 0);
    world().run_until([&] { return op.completions > 0; });
    EXPECT_TRUE(op.status.ok() || op.status.code() == Code::cancelled) << op.status.to_string();
    world().run_for(Duration::milliseconds(2));
    EXPECT_EQ(op.completions, 1);
}

TEST_P(LoopTest, MoreOperationsThanAnyQueueHolds) {
    constexpr std::size_t kCount = 2000;
    ScopedFd file = open_file("f");
    std::vector<TestOp> ops(kCount);
    std::size_t done = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
        ops[i].then = [&] { ++done; };
        loop().write(ops[i], file.get(), as_bytes("z"), i);
    }
    EXPECT_EQ(done, 0U);
    world().run_until([&] { return done == kCount; });
    EXPECT_EQ(content(file.get()), std::string(kCount, 'z'));
}

// ---- the rest -------------------------------------------------------------------------------

TEST_P(LoopTest, SecureRandomFillsEverythingAndDiffers) {
    std::array<std::byte, 64> a{}, b{};
    loop().secure_random(a);
    loop().secure_random(b);
    EXPECT_NE(a, b);
    const auto is_zero = [](std::byte value) { return value == std::byte{}; };
    EXPECT_LT(std::count_if(a.begin(), a.end(), is_zero), 16);
    EXPECT_LT(std::count_if(a.end() - 16, a.end(), is_zero), 8);
}

TEST_P(LoopTest, BootIdStaysWithinOneBoot) {
    EXPECT_FALSE(loop().boot_id().is_none());
    EXPECT_EQ(loop().boot_id(), loop().boot_id());
}

TEST_P(LoopTest, WallTimeNeverRunsAheadOfFileTimes) {
    ScopedFd file = open_file("f");
    world().run_for(Duration::milliseconds(1));
    const WallTime before = loop().wall_time();
    write_all(file.get(), "x");
    const auto stat = vfs().stat(file.get());
    ASSERT_TRUE(stat.ok());
    EXPECT_GE(stat.value().modified, before);
}

}  // namespace
}  // namespace gemel::test
