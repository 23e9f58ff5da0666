// SPDX-License-Identifier: Apache-2.0
// How the pace of a resync follows the applications, in given time: no loop, no disk, no link.
#include "resync/pacer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace gemel {
namespace {

constexpr ResyncRateRange kRange{10 * kMiB, 400 * kMiB};
constexpr Duration kStep = Duration::microseconds(100);

// A resync that always has something to do, beside applications of which `latency` says how long
// their ops take at the rate that the resync has; none: they rest.
class PacerTest : public testing::Test {
   protected:
    using Latency = std::function<Duration(std::uint64_t rate)>;

    PacerTest() { pacer_.set_range(kRange); }

    // Returns the bytes that the resync moved. `item`: it never stops within so many.
    std::uint64_t run(Duration time, const Latency& latency = {}, std::size_t item = 64 * kKiB) {
        std::uint64_t moved = 0;
        for (const Instant end = now_ + time; now_ < end; now_ = now_ + kStep) {
            if (latency && ++steps_ % steps_per_op_ == 0) answer(latency(pacer_.rate()));
            if (now_ < asleep_until_) continue;
            const ResyncPacer::Grant grant = pacer_.ask(load_, now_);
            asleep_until_ = now_ + grant.wait;
            if (grant.bytes == 0) continue;
            const std::uint64_t spent = (grant.bytes + item - 1) / item * item;
            pacer_.spend(spent);
            moved += spent;
        }
        return moved;
    }
    // One op that took so long.
    void answer(Duration latency) {
        ++load_.arrived;
        load_.ops.add(latency);
    }
    static Duration untroubled(std::uint64_t) { return Duration::microseconds(80); }
    // Twice as slow as alone when the resync takes more than 100 MiB/s.
    static Duration troubled(std::uint64_t rate) {
        return Duration::microseconds(rate > 100 * kMiB ? 160 : 80);
    }

    ResyncPacer pacer_;
    ApplicationLoad load_;
    Instant now_{1'000'000'000};
    Instant asleep_until_;
    std::uint64_t steps_ = 0, steps_per_op_ = 1;
};

std::uint64_t bytes_in(Duration time, std::uint64_t rate) {
    return rate / 1000 * static_cast<std::uint64_t>(time.ns / 1'000'000);
}

TEST_F(PacerTest, TakesEverythingWhileApplicationsRest) {
    pacer_.set_range({kRange.min, ResyncRateRange::kUnlimited});
    const ResyncPacer::Grant grant = pacer_.ask(load_, now_);
    EXPECT_EQ(grant.bytes, ResyncPacer::kTurnBytesMax);
    EXPECT_EQ(pacer_.outstanding_max(), ResyncPacer::kOutstandingMax);
    EXPECT_EQ(pacer_.item_max(), ResyncPacer::kTurnBytesMax);
    pacer_.spend(100 * kMiB);
    now_ = now_ + Duration::nanoseconds(1);
    EXPECT_EQ(pacer_.ask(load_, now_).bytes, ResyncPacer::kTurnBytesMax);
}

// Whatever the items' size and however long the time.
TEST_F(PacerTest, NeverExceedsTheHighestRate) {
    for (const std::uint64_t max : {std::uint64_t{kMiB}, 50 * kMiB, kGiB}) {
        for (const std::size_t item : {std::size_t{1}, 64 * kKiB, std::size_t{kMiB}}) {
            ResyncRateRange range{std::min(kRange.min, max), max};
            pacer_.set_range(range);
            run(Duration::seconds(3), {}, item);  // what an earlier one owed
            const Duration time = Duration::seconds(5);
            const std::uint64_t most = bytes_in(time + ResyncPacer::kBurst, max) + item;
            const std::uint64_t moved = run(time, {}, item);
            EXPECT_LE(moved, most) << max << " in items of " << item;
            // A turn each 100 microseconds can't do more than this.
            const std::uint64_t turns = bytes_in(time, 10'000 * ResyncPacer::kTurnBytesMax);
            EXPECT_GE(moved + 2 * item, std::min(most, turns) * 9 / 10)
                << max << " in items of " << item;
        }
    }
}

TEST_F(PacerTest, BacksOffWithTheFirstOp) {
    run(Duration::seconds(1));
    EXPECT_EQ(pacer_.rate(), kRange.max);
    ++load_.arrived;  // and is not answered yet
    pacer_.ask(load_, now_);
    EXPECT_EQ(pacer_.rate(), kRange.min);
    EXPECT_LE(pacer_.item_max(), 64 * kKiB);
    EXPECT_EQ(pacer_.outstanding_max(), ResyncPacer::kOutstandingMin);
}

TEST_F(PacerTest, TakesMoreAndMoreWhereItDoesNoHarm) {
    run(Duration::seconds(3), untroubled);
    EXPECT_TRUE(pacer_.are_applications_busy());
    run(Duration::milliseconds(200), untroubled);  // no measurement falls into these
    EXPECT_EQ(pacer_.rate(), kRange.max);
}

// And halves within 100 ms of the first slow op, down to the least rate and no further.
TEST_F(PacerTest, BacksOffWhenOpsGetSlower) {
    run(Duration::seconds(3), untroubled);
    ASSERT_EQ(pacer_.rate(), kRange.max);
    const auto slow = [](std::uint64_t) { return Duration::microseconds(160); };
    run(Duration::milliseconds(100), slow);
    EXPECT_LE(pacer_.rate(), kRange.max / 2);
    run(Duration::milliseconds(600), slow);
    EXPECT_EQ(pacer_.rate(), kRange.min);
}

TEST_F(PacerTest, BacksOffWhenNothingIsAnsweredAnyMore) {
    run(Duration::seconds(3), untroubled);
    ASSERT_EQ(pacer_.rate(), kRange.max);
    ++load_.arrived;
    run(Duration::milliseconds(100));
    EXPECT_LE(pacer_.rate(), kRange.max / 2);
}

// Each takes as long as ever once it is here, but there are fewer: they wait elsewhere.
TEST_F(PacerTest, BacksOffWhenFewerArrive) {
    run(Duration::seconds(3), untroubled);
    ASSERT_EQ(pacer_.rate(), kRange.max);
    steps_per_op_ = 2;
    run(Duration::milliseconds(100), untroubled);
    EXPECT_LE(pacer_.rate(), kRange.max / 2);
}

// It settles around what does no harm, instead of at either end.
TEST_F(PacerTest, FindsWhatTheApplicationsLeave) {
    run(Duration::seconds(2), troubled);
    const Duration time = Duration::seconds(4);
    const std::uint64_t moved = run(time, troubled);
    EXPECT_GE(moved, bytes_in(time, 50 * kMiB));
    EXPECT_LE(moved, bytes_in(time, 130 * kMiB));
}

TEST_F(PacerTest, IsNeverBelowTheLeastRate) {
    // Worse with every byte, so that there is no rate which would do no harm.
    std::int64_t count = 0;
    const auto worse = [&](std::uint64_t) { return Duration::microseconds(50 + ++count); };
    run(Duration::seconds(1), worse);
    const Duration time = Duration::seconds(4);
    EXPECT_GE(run(time, worse), bytes_in(time, kRange.min) * 95 / 100);
}

// The work of the applications has become another: what was slow before is usual now.
TEST_F(PacerTest, LearnsWhatIsUsual) {
    run(Duration::seconds(3), untroubled);
    const auto other = [](std::uint64_t) { return Duration::microseconds(900); };
    run(Duration::seconds(1), other);
    EXPECT_EQ(pacer_.rate(), kRange.min);
    run(ResyncPacer::kMeasureAgain + Duration::seconds(3), other);
    EXPECT_GE(pacer_.rate(), kRange.max / 2);
}

// Syncs are slow by themselves, and an application that makes more of them is not disturbed.
TEST_F(PacerTest, JudgesSyncsByThemselves) {
    const auto sync = [&] {
        ++load_.arrived;
        load_.syncs.add(Duration::milliseconds(4));
    };
    for (int i = 0; i < 300; ++i) {
        run(Duration::milliseconds(10), untroubled);
        if (i % 10 == 0) sync();
    }
    ASSERT_EQ(pacer_.rate(), kRange.max);
    for (int i = 0; i < 50; ++i) {
        run(Duration::milliseconds(10), untroubled);
        sync();
    }
    EXPECT_EQ(pacer_.rate(), kRange.max);
}

TEST_F(PacerTest, TakesEverythingAgainWhenTheyRest) {
    run(Duration::seconds(1), troubled);
    EXPECT_LT(pacer_.rate(), kRange.max);
    run(ResyncPacer::kRest + ResyncPacer::kInterval * 2);
    EXPECT_EQ(pacer_.rate(), kRange.max);
}

TEST_F(PacerTest, WhatWasBeforeAResyncDoesNotSlowItsBegin) {
    run(Duration::seconds(1));
    for (int i = 0; i < 1000; ++i) answer(Duration::microseconds(80));
    now_ = now_ + Duration::seconds(60);
    pacer_.begin();
    pacer_.ask(load_, now_);
    EXPECT_FALSE(pacer_.are_applications_busy());
    EXPECT_EQ(pacer_.rate(), kRange.max);
    answer(Duration::microseconds(80));
    pacer_.ask(load_, now_);
    EXPECT_TRUE(pacer_.are_applications_busy());
}

TEST_F(PacerTest, GrantsNothingWhilePaused) {
    run(Duration::seconds(1));
    pacer_.set_paused(true);
    EXPECT_EQ(run(Duration::seconds(10)), 0U);
    EXPECT_EQ(pacer_.rate(), 0U);
    pacer_.set_paused(false);
    asleep_until_ = now_;
    const Duration time = Duration::seconds(1);
    const std::uint64_t moved = run(time);
    EXPECT_GE(moved, bytes_in(time, kRange.max) * 9 / 10);
    // Nothing is made up for.
    EXPECT_LE(moved, bytes_in(time + ResyncPacer::kBurst, kRange.max) + kMiB);
}

TEST_F(PacerTest, TakesAnotherRangeAtOnce) {
    run(Duration::seconds(1));
    pacer_.set_range({kMiB, 2 * kMiB});
    const Duration time = Duration::seconds(4);
    EXPECT_LE(run(time), bytes_in(time + ResyncPacer::kBurst, 2 * kMiB) + kMiB);
}

}  // namespace
}  // namespace gemel
