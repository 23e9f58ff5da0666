// SPDX-License-Identifier: Apache-2.0
// What a secondary does with the frames it gets: in order, after their intents, and never again
// once something could not be carried out.
#include "tests/unit/mirror/replica_fixture.hpp"

namespace gemel::mirror_test {
namespace {

class FollowingTest : public ReplicaTest {
   protected:
    void SetUp() override {
        ReplicaTest::SetUp();
        become_alone();
        file_ = make_file("file", "content");
        replica().stop();
        settle();
        become_secondary();
    }
    std::vector<std::string> told() {
        std::vector<std::string> texts;
        for (const SentFrame& frame : session_->sent) {
            if (frame.type == FrameType::failed) {
                texts.push_back(decode_failure(frame.payload).value());
            }
        }
        return texts;
    }
    void receive_sync(const SyncRequest& request) {
        ByteBuffer payload;
        encode_sync(request, payload);
        receive(FrameType::sync, payload);
    }

    ObjectId file_;
};

TEST_F(FollowingTest, OpsOfOneTurnAreAcknowledgedTogether) {
    receive_op(write_op(file_, 0, "CON"), 1);
    receive_op(write_op(file_, 3, "TENT"), 2);
    EXPECT_EQ(acks(), "");
    settle();
    EXPECT_EQ(acks(), "2");
    EXPECT_EQ(content(file_), "CONTENT");
    receive_op(write_op(file_, 0, "c"), 3);
    settle();
    EXPECT_EQ(acks(), "2 3");
    EXPECT_EQ(session_->flushed, session_->sent.size());
}

TEST_F(FollowingTest, AGapEndsTheSession) {
    receive_op(write_op(file_, 0, "C"), 1);
    receive_op(write_op(file_, 2, "N"), 3);
    settle();
    EXPECT_TRUE(session_->closed && side_->lost);
    EXPECT_EQ(content(file_), "Content");
    EXPECT_TRUE(side_->failures.empty()) << "the copy is as good as before";
}

TEST_F(FollowingTest, FramesThatBelongElsewhereEndTheSession) {
    receive_number(FrameType::ack, 0);
    EXPECT_TRUE(session_->closed && side_->lost);
}

// Nothing behind it is carried out, or this copy would have later ops without an earlier one.
TEST_F(FollowingTest, WhatCannotBeCarriedOutIsTheLastThingDone) {
    disk_.faults.add({sim::VfsCall::write, nullptr, 1, 1, {ENOSPC}});
    receive_op(write_op(file_, 0, "C"), 1);
    receive_op(write_op(file_, 1, "O"), 2);
    receive_op(write_op(file_, 2, "N"), 3);
    settle();
    EXPECT_EQ(content(file_), "Content");
    EXPECT_EQ(acks(), "");
    ASSERT_EQ(told().size(), 1U);
    EXPECT_NE(told()[0].find("could not be carried out here"), std::string::npos);
    ASSERT_EQ(side_->failures.size(), 1U);
    EXPECT_EQ(side_->failures[0], told()[0]);
}

// The op waits for its intent, and what comes behind waits for the op.
TEST_F(FollowingTest, FramesKeepTheirOrderWhileAnIntentIsBeingWritten) {
    const IntentKey region{file_, 3, 0};
    side_->kill_process();
    settle();
    session_ = std::make_shared<Session>();
    side_->log_directory = "/log2";  // without the intents of the set-up
    side_->open(Uuid{{7, 7, 7}});
    become_secondary();
    const std::uint64_t inode = inode_of(file_);
    std::string calls;
    disk_.on_call = [&](const auto& point) {
        if (point.inode != inode) return;
        if (point.call == sim::VfsCall::write) {
            EXPECT_TRUE(side_->intents->covers(region));
            calls += 'w';
        }
        if (point.call == sim::VfsCall::sync) calls += 's';
    };
    ASSERT_FALSE(side_->intents->covers(region));
    receive_op(write_op(file_, 3 * kIntentRegionSize, "one"), 1);
    receive_sync({1, 0, file_, false});
    receive_op(write_op(file_, 3 * kIntentRegionSize, "two"), 2);
    EXPECT_EQ(calls, "");
    settle();
    // The sync is a worker's: it begins after the first op, and is not waited for by the second.
    EXPECT_EQ(calls, "wws");
    EXPECT_EQ(acks(), "2");
    EXPECT_EQ(session_->count(FrameType::sync_done), 1U);
}

TEST_F(FollowingTest, IntentsAreWrittenAheadOfTheirOps) {
    const IntentKey region{kRootObject, IntentKey::kAttributes, 0};
    ASSERT_FALSE(side_->intents->covers(region));
    ByteBuffer payload;
    encode_intents(std::span(&region, 1), payload);
    receive(FrameType::intend, payload);
    settle();
    EXPECT_TRUE(side_->intents->covers(region));
}

TEST_F(FollowingTest, AnIntentOfAnUnknownVolumeEndsTheSession) {
    const IntentKey region{kRootObject, IntentKey::kAttributes, 1};
    ByteBuffer payload;
    encode_intents(std::span(&region, 1), payload);
    receive(FrameType::intend, payload);
    EXPECT_TRUE(session_->closed);
}

TEST_F(FollowingTest, ASyncIsAnsweredWhenItIsDurable) {
    std::size_t synced = 0;
    disk_.on_call = [&, inode = inode_of(file_)](const auto& point) {
        if (point.call == sim::VfsCall::sync && point.inode == inode) ++synced;
    };
    receive_sync({7, 0, file_, true});
    EXPECT_EQ(session_->count(FrameType::sync_done), 0U);
    settle();
    EXPECT_EQ(synced, 1U);
    ASSERT_EQ(session_->count(FrameType::sync_done), 1U);
    EXPECT_EQ(decode_number(session_->sent.back().payload).value(), 7U);
}

// Whatever the errno, pages are lost: the copy is void.
TEST_F(FollowingTest, AFailedSyncIsAFailedDisk) {
    disk_.faults.add({sim::VfsCall::sync, nullptr, 0, 1, {ENOSPC, true}});
    receive_sync({7, 0, file_, false});
    settle();
    EXPECT_EQ(session_->count(FrameType::sync_done), 0U);
    ASSERT_EQ(side_->failures.size(), 1U);
    EXPECT_NE(side_->failures[0].find("a sync failed"), std::string::npos);
    EXPECT_EQ(told().size(), 1U);
}

TEST_F(FollowingTest, IntentsGoAfterRoundsThatBothHaveSynced) {
    ASSERT_GT(side_->intents->live_count(), 0U);
    for (std::uint64_t round = 1; round <= 35; ++round) {
        receive_number(FrameType::round, round);
        EXPECT_EQ(session_->count(FrameType::round_synced), round - 1);
        settle();
        EXPECT_EQ(session_->count(FrameType::round_synced), round);
        EXPECT_EQ(side_->intents->live_count() > 0, round < 32) << round;
        receive_number(FrameType::round_durable, round);
        settle();
    }
}

TEST_F(FollowingTest, ARoundThatWasNotOpenedCannotBeDurable) {
    receive_number(FrameType::round, 4);
    settle();
    receive_number(FrameType::round_durable, 5);
    EXPECT_TRUE(session_->closed);
}

// The session is gone when the disk fails, so nobody asks for the outcome any more. The kernel
// reports lost pages once: the next service has to know.
TEST_F(FollowingTest, ASyncThatFailsAfterTheSessionIsNotForgotten) {
    disk_.faults.add({sim::VfsCall::sync_file_system, nullptr, 0, 1, {EIO, true}});
    receive_number(FrameType::round, 1);
    lose_session();
    replica().stop();
    settle();
    session_ = std::make_shared<Session>();
    become_secondary();
    settle();
    EXPECT_EQ(side_->failures.size(), 1U);
}

}  // namespace
}  // namespace gemel::mirror_test
