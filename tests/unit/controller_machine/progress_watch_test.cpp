// SPDX-License-Identifier: Apache-2.0
#include "controller/progress_watch.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

class Watch : public testing::Test {
   protected:
    // A reading every 100 ms for so long; the last verdict.
    ProgressWatch::Verdict read_for(Duration time) {
        ProgressWatch::Verdict verdict;
        for (const Instant end = now_ + time; now_ < end && verdict.peer_fault.empty();) {
            now_ = now_ + Duration::milliseconds(100);
            for (int i = 0; i < answers_; ++i) reading_.peer_answers.add(wait_);
            verdict = watch_.judge(reading_, now_);
        }
        return verdict;
    }

    ProgressWatch::Options options_{Duration::seconds(1), Duration::seconds(5),
                                    Duration::milliseconds(20), Duration::seconds(10)};
    ProgressWatch watch_{options_};
    ProgressWatch::Reading reading_;
    Instant now_{1};
    int answers_ = 3;
    Duration wait_ = Duration::milliseconds(1);
};

TEST_F(Watch, AnOpMayWaitForDetectAndNoLonger) {
    read_for(Duration::seconds(3));
    reading_.waiting_for_peer = Duration::milliseconds(1'000);
    EXPECT_EQ(read_for(Duration::seconds(2)).peer_fault, "");
    reading_.waiting_for_peer = Duration::milliseconds(1'100);
    EXPECT_EQ(read_for(Duration::seconds(2)).peer_fault,
              "it has not acknowledged a write for 1100 ms");
}

// This node's loop hung: the acknowledgements lie in its socket.
TEST_F(Watch, WhatNobodyLookedAtIsNotThePeersFault) {
    read_for(Duration::seconds(3));
    now_ = now_ + Duration::seconds(4);
    reading_.waiting_for_peer = Duration::seconds(4);
    EXPECT_EQ(read_for(Duration::milliseconds(900)).peer_fault, "");
    EXPECT_NE(read_for(Duration::milliseconds(500)).peer_fault, "");
}

// One that is always late does notice in the end.
TEST_F(Watch, WhoIsAlwaysLateMeasuresAllTheSame) {
    reading_.waiting_for_peer = Duration::seconds(4);
    ProgressWatch::Verdict verdict;
    int readings = 0;
    while (verdict.peer_fault.empty() && readings < 10) {
        now_ = now_ + Duration::milliseconds(600);
        verdict = watch_.judge(reading_, now_);
        ++readings;
    }
    EXPECT_LE(readings, 6);
}

// Both were paused: what their disks have under way looks old, and is not.
TEST_F(Watch, APauseIsNoHang) {
    read_for(Duration::seconds(3));
    now_ = now_ + Duration::seconds(100);
    reading_.peer_disk = Duration::seconds(100);
    EXPECT_FALSE(read_for(Duration::seconds(4)).peer_disk_hangs);
    EXPECT_TRUE(read_for(Duration::seconds(2)).peer_disk_hangs);
}

TEST_F(Watch, SlownessCountsWhenItLasts) {
    wait_ = Duration::milliseconds(30);
    EXPECT_EQ(read_for(Duration::seconds(9)).peer_fault, "");
    wait_ = Duration::milliseconds(10);
    EXPECT_EQ(read_for(Duration::seconds(2)).peer_fault, "");
    wait_ = Duration::milliseconds(30);
    EXPECT_EQ(read_for(Duration::seconds(9)).peer_fault, "");
    // Seconds without an answer prove nothing.
    answers_ = 0;
    EXPECT_EQ(read_for(Duration::seconds(60)).peer_fault, "");
    answers_ = 3;
    EXPECT_EQ(read_for(Duration::seconds(3)).peer_fault.rfind("it has been slow for ", 0), 0U);
}

TEST_F(Watch, NoBoundNoFault) {
    options_.slow_peer = {};
    options_.io_timeout = {};
    watch_ = ProgressWatch(options_);
    wait_ = Duration::seconds(3);
    reading_.own_disk = reading_.peer_disk = Duration::seconds(1'000);
    const ProgressWatch::Verdict verdict = read_for(Duration::seconds(100));
    EXPECT_EQ(verdict.peer_fault, "");
    EXPECT_FALSE(verdict.own_disk_hangs || verdict.peer_disk_hangs);
}

TEST_F(Watch, DisksHangFromTheTimeoutOn) {
    read_for(Duration::seconds(10));
    reading_.peer_disk = Duration::milliseconds(4'999);
    EXPECT_FALSE(read_for(Duration::seconds(1)).peer_disk_hangs);
    reading_.peer_disk = Duration::seconds(5);
    const ProgressWatch::Verdict verdict = read_for(Duration::seconds(1));
    EXPECT_TRUE(verdict.peer_disk_hangs);
    EXPECT_FALSE(verdict.own_disk_hangs);
    // Of its own disk a node knows it before its peer can.
    reading_.own_disk = Duration::milliseconds(2'500);
    EXPECT_TRUE(read_for(Duration::seconds(1)).own_disk_hangs);
}

}  // namespace
}  // namespace gemel
