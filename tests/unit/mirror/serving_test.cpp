// SPDX-License-Identifier: Apache-2.0
// When the serving side answers an op, and with what: alone, with a peer, and when the peer, or
// this node's disk, goes in the middle.
#include "tests/unit/mirror/replica_fixture.hpp"

#include <linux/falloc.h>

namespace gemel::mirror_test {
namespace {

class ServingTest : public ReplicaTest {
   protected:
    void SetUp() override {
        ReplicaTest::SetUp();
        become_alone();
        file_ = make_file("file", std::string(100, '.'));
        side_->failures.clear();
    }
    // The writes of the file that go to the disk, from now on: what the n-th answers.
    void fail_write(std::uint64_t n, sim::VfsFault fault) {
        writes_ = 0;
        disk_.on_call = [this, n, fault, inode = inode_of(file_)](const auto& point) {
            if (point.call != sim::VfsCall::write || point.inode != inode) return;
            disk_.faults.clear();
            if (++writes_ == n) disk_.faults.add({sim::VfsCall::write, nullptr, 0, 1, fault});
        };
    }
    // The same for several: one fault a write, 0 for none.
    void fail_writes(std::vector<int> errors) {
        writes_ = 0;
        disk_.on_call = [this, errors, inode = inode_of(file_)](const auto& point) {
            if (point.call != sim::VfsCall::write || point.inode != inode) return;
            disk_.faults.clear();
            const int error = writes_ < errors.size() ? errors[writes_] : 0;
            ++writes_;
            if (error != 0) disk_.faults.add({sim::VfsCall::write, nullptr, 0, 1, {error}});
        };
    }

    ObjectId file_;
    std::size_t writes_ = 0;
};

TEST_F(ServingTest, AloneAnswersByItselfAndMarks) {
    const TestOp& op = submit_write(file_, 0, "new");
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
    EXPECT_TRUE(dirty().content_dirty(file_, 0, 3));
}

TEST_F(ServingTest, PrimaryAnswersWhenThePeerHasIt) {
    become_primary();
    const TestOp& op = submit_write(file_, 0, "new");
    settle();
    EXPECT_EQ(content(file_).substr(0, 4), "new.");
    EXPECT_EQ(session_->ops().size(), 1U);
    EXPECT_FALSE(op.done);
    receive_number(FrameType::ack, 1);
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
    EXPECT_FALSE(dirty().content_dirty(file_, 0, 3));
}

TEST_F(ServingTest, AnAckCoversAllBeforeIt) {
    become_primary();
    for (int i = 0; i < 3; ++i) submit_write(file_, static_cast<std::uint64_t>(i), "x");
    const std::size_t first = ops_.size() - 3;
    settle();
    receive_number(FrameType::ack, 2);
    settle();
    EXPECT_TRUE(ops_[first]->done);
    EXPECT_TRUE(ops_[first + 1]->done);
    EXPECT_FALSE(ops_[first + 2]->done);
    EXPECT_FALSE(replica().all_acknowledged());
    receive_number(FrameType::ack, 3);
    EXPECT_TRUE(replica().all_acknowledged());
}

TEST_F(ServingTest, AnAckOfWhatWasNotSentEndsTheSession) {
    become_primary();
    const TestOp& op = submit_write(file_, 0, "new");
    settle();
    receive_number(FrameType::ack, 2);
    settle();
    EXPECT_TRUE(session_->closed && side_->lost);
    EXPECT_EQ(replica().role(), ReplicaRole::held);
    EXPECT_FALSE(op.done);
}

TEST_F(ServingTest, OpsOfALostSessionWaitAndAreAnsweredAloneInOrder) {
    become_primary();
    const TestOp& first = submit_write(file_, 0, "one");
    const TestOp& second = submit_write(file_, kMiB, "two");
    settle();
    receive_number(FrameType::ack, 1);
    lose_session();
    const TestOp& later = submit_write(file_, 20, "three");
    settle();
    EXPECT_TRUE(first.done);
    EXPECT_FALSE(second.done || later.done);
    EXPECT_EQ(content(file_)[20], '.') << "carried out while it is not known who serves";
    EXPECT_FALSE(dirty().content_dirty(file_, 0, 3)) << "the peer has it";
    EXPECT_TRUE(dirty().content_dirty(file_, kMiB, 3));
    replica().begin_alone(6);
    settle();
    EXPECT_TRUE(second.done && second.outcome.ok() && later.done && later.outcome.ok());
    EXPECT_EQ(content(file_).substr(20, 5), "three");
    EXPECT_TRUE(dirty().content_dirty(file_, 20, 5));
}

TEST_F(ServingTest, ADeposedNodeAnswersEio) {
    become_primary();
    const TestOp& in_flight = submit_write(file_, 0, "one");
    settle();
    lose_session();
    const TestOp& waiting = submit_write(file_, 10, "two");
    const TestSync& sync = submit_sync(file_);
    settle();
    replica().stop();
    settle();
    EXPECT_TRUE(in_flight.done && in_flight.outcome.is_errno(EIO));
    EXPECT_TRUE(waiting.done && waiting.outcome.is_errno(EIO));
    EXPECT_TRUE(sync.done && sync.outcome.is_errno(EIO));
    EXPECT_EQ(content(file_)[10], '.');
    const TestOp& refused = submit_write(file_, 0, "x");
    settle();
    EXPECT_EQ(refused.outcome.code(), Code::refused);
}

// From begin_attaching on nothing is answered that only one node holds; if the swap fails, all is.
TEST_F(ServingTest, AttachingAnswersWhatBothHoldUntilTheSwapIsKnown) {
    attach();
    const TestOp& before = submit_write(file_, 0, "one");
    settle();
    EXPECT_TRUE(before.done) << "a target is not waited for";
    replica().begin_attaching();
    const TestOp& during = submit_write(file_, 10, "two");
    const TestSync& sync = submit_sync(file_);
    settle();
    EXPECT_FALSE(during.done || sync.done);
    replica().finish_attaching(false);
    settle();
    EXPECT_TRUE(during.done && during.outcome.ok() && sync.done && sync.outcome.ok());
    EXPECT_EQ(replica().role(), ReplicaRole::alone);
}

TEST_F(ServingTest, HeldAnswersWaitForTheTarget) {
    attach();
    const TestOp& before = submit_write(file_, 0, "one");
    settle();
    EXPECT_TRUE(before.done);
    EXPECT_FALSE(replica().all_acknowledged());
    replica().hold_answers();
    const TestOp& held = submit_write(file_, 10, "two");
    settle();
    EXPECT_FALSE(held.done);
    receive_number(FrameType::ack, 1);
    EXPECT_TRUE(replica().all_acknowledged()) << "what is not answered need not be acknowledged";
    receive_number(FrameType::ack, 2);
    settle();
    EXPECT_TRUE(held.done);
}

TEST_F(ServingTest, AFullQueueMakesATargetWaitedFor) {
    attach();
    session_->unsent = 17 * kMiB;
    const TestOp& op = submit_write(file_, 0, "one");
    settle();
    EXPECT_FALSE(op.done);
    receive_number(FrameType::ack, 1);
    settle();
    EXPECT_TRUE(op.done);
    session_->unsent = 15 * kMiB;
    const TestOp& next = submit_write(file_, 0, "one");
    settle();
    EXPECT_TRUE(next.done);
}

TEST_F(ServingTest, WhatThePeerLacksIsMarkedNotShipped) {
    attach();
    dirty().mark_content(file_, 0, 64 * kKiB);
    const TestOp& op = submit_write(file_, 10, "x");
    settle();
    EXPECT_TRUE(op.done);
    EXPECT_TRUE(session_->ops().empty());
    submit_write(file_, kMiB, "x");
    settle();
    EXPECT_EQ(session_->ops().size(), 1U);
}

// --- Batches -------------------------------------------------------------------------------

// The peer works on writes of one turn while they are carried out here, 32 at a time.
TEST_F(ServingTest, WritesOfOneTurnAreSentBeforeTheyAreCarriedOut) {
    become_primary();
    std::vector<std::size_t> sent_at_write;
    disk_.on_call = [&, inode = inode_of(file_)](const auto& point) {
        if (point.call != sim::VfsCall::write || point.inode != inode) return;
        EXPECT_EQ(session_->flushed, session_->sent.size());
        sent_at_write.push_back(session_->ops().size());
    };
    for (std::uint64_t i = 0; i < 40; ++i) submit_write(file_, i, "x");
    settle();
    ASSERT_EQ(sent_at_write.size(), 40U);
    EXPECT_EQ(sent_at_write.front(), 32U);
    EXPECT_EQ(sent_at_write[31], 32U);
    EXPECT_EQ(sent_at_write[32], 40U);
}

// A later op never passes an earlier one, whatever its kind.
TEST_F(ServingTest, ABatchEndsAtAnotherOp) {
    become_primary();
    submit_write(file_, 0, "abc");
    auto truncate = std::make_unique<TestOp>();
    truncate->op.kind = OpKind::truncate;
    truncate->op.object = file_;
    truncate->op.size = 1;
    submit(std::move(truncate));
    submit_write(file_, 2, "z");
    settle();
    EXPECT_EQ(content(file_), std::string("a\0z", 3));
    const std::vector<DecodedOp> sent = session_->ops();
    ASSERT_EQ(sent.size(), 3U);
    for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(sent[i].number, i + 1);
    EXPECT_EQ(sent[0].op.kind, OpKind::write);
    EXPECT_EQ(sent[1].op.kind, OpKind::truncate);
    EXPECT_EQ(sent[2].op.offset, 2U);
}

TEST_F(ServingTest, ALargeWriteGoesInPiecesAndIsAnsweredAfterTheLast) {
    become_primary();
    const TestOp& op = submit_write(file_, 7, std::string(300 * kKiB, 'x'));
    settle();
    const std::vector<DecodedOp> sent = session_->ops();
    ASSERT_EQ(sent.size(), 3U);
    EXPECT_EQ(sent[2].op.offset, 7 + 256 * kKiB);
    EXPECT_EQ(sent[2].op.data.size(), 44 * kKiB);
    receive_number(FrameType::ack, 2);
    settle();
    EXPECT_FALSE(op.done);
    receive_number(FrameType::ack, 3);
    settle();
    EXPECT_TRUE(op.done);
}

// One write of three is refused here and was carried out there: it is answered when the peer has
// mended it; the others are not concerned.
TEST_F(ServingTest, ARefusedWriteOfABatchIsMendedThereBeforeItIsAnswered) {
    become_primary();
    fail_writes({0, ENOSPC, 0});
    const TestOp& first = submit_write(file_, 0, "one");
    const TestOp& refused = submit_write(file_, 4096, "two");
    const TestOp& third = submit_write(file_, 8192, "three");
    settle();
    EXPECT_TRUE(side_->failures.empty());
    const std::vector<DecodedOp> sent = session_->ops();
    ASSERT_EQ(sent.size(), 5U) << "three writes, the hole and the size";
    EXPECT_EQ(sent[3].op.kind, OpKind::allocate);
    EXPECT_EQ(sent[3].op.flags, std::uint32_t{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE});
    EXPECT_EQ(sent[3].op.offset, 4096U);
    EXPECT_EQ(sent[3].op.size, 4096U);
    EXPECT_EQ(sent[4].op.kind, OpKind::truncate);
    EXPECT_EQ(sent[4].op.size, 8197U);
    receive_number(FrameType::ack, 3);
    settle();
    EXPECT_TRUE(first.done && first.outcome.ok() && third.done && third.outcome.ok());
    EXPECT_FALSE(refused.done);
    receive_number(FrameType::ack, 5);
    settle();
    EXPECT_TRUE(refused.done && refused.outcome.is_errno(ENOSPC));
}

// The peer wrote all of it, this node a part: the range there becomes what it is here.
TEST_F(ServingTest, AShortWriteIsMendedToWhatIsHere) {
    become_primary();
    fail_write(1, {0, false, 10});
    const auto fail_rest = disk_.on_call;
    disk_.on_call = [&, fail_rest](const auto& point) {
        const std::size_t before = writes_;
        fail_rest(point);
        if (writes_ == 2 && before == 1) {
            disk_.faults.add({sim::VfsCall::write, nullptr, 0, 1, {ENOSPC}});
        }
    };
    const TestOp& op = submit_write(file_, 0, std::string(50, 'x'));
    settle();
    EXPECT_EQ(op.op.size, 10U);
    EXPECT_EQ(content(file_), std::string(10, 'x') + std::string(90, '.'));
    const std::vector<DecodedOp> sent = session_->ops();
    ASSERT_EQ(sent.size(), 4U);
    EXPECT_EQ(sent[0].op.data.size(), 50U);
    EXPECT_EQ(sent[1].op.kind, OpKind::allocate);
    EXPECT_EQ(as_text(sent[2].op.data), content(file_));
    EXPECT_EQ(sent[3].op.size, 100U);
    receive_number(FrameType::ack, 3);
    settle();
    EXPECT_FALSE(op.done);
    receive_number(FrameType::ack, 4);
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
}

// The disk fails in a batch: the peer goes on from here, and nobody may know of an outcome before.
TEST_F(ServingTest, NothingIsCarriedOutOrAnsweredBehindAFailedDisk) {
    become_primary();
    fail_writes({0, EIO, 0});
    const TestOp& before = submit_write(file_, 0, "one");
    const TestOp& failed = submit_write(file_, 10, "two");
    const TestOp& behind = submit_write(file_, 20, "three");
    settle();
    ASSERT_EQ(side_->failures.size(), 1U);
    EXPECT_EQ(content(file_)[20], '.');
    const TestOp& later = submit_write(file_, 30, "four");
    receive_number(FrameType::ack, 3);
    settle();
    EXPECT_TRUE(before.done && before.outcome.ok()) << "both have it";
    EXPECT_FALSE(failed.done || behind.done || later.done);
    EXPECT_EQ(session_->ops().size(), 3U) << "nothing is mended from a failed disk";
    replica().stop();
    settle();
    for (const TestOp* op : {&failed, &behind, &later}) {
        EXPECT_TRUE(op->done && op->outcome.is_errno(EIO));
    }
}

// The refused one has been carried out by the peer, which serves next: "no space" would be a lie.
TEST_F(ServingTest, ARefusalBeforeAFailedDiskInOneBatchIsNotAnswered) {
    become_primary();
    fail_writes({ENOSPC, EIO});
    const TestOp& refused = submit_write(file_, 0, "one");
    const TestOp& failed = submit_write(file_, 10, "two");
    settle();
    EXPECT_EQ(side_->failures.size(), 1U);
    receive_number(FrameType::ack, 2);
    settle();
    EXPECT_FALSE(refused.done || failed.done);
    replica().stop();
    settle();
    EXPECT_TRUE(refused.done && refused.outcome.is_errno(EIO));
    EXPECT_TRUE(failed.done && failed.outcome.is_errno(EIO));
}

TEST_F(ServingTest, AloneAFailedDiskIsTheApplicationsToKnow) {
    fail_writes({EIO});
    const TestOp& op = submit_write(file_, 0, "one");
    settle();
    EXPECT_TRUE(op.done && op.outcome.is_errno(EIO));
    EXPECT_EQ(side_->failures.size(), 1U);
}

TEST_F(ServingTest, AloneARefusalIsNoFailure) {
    fail_writes({ENOSPC});
    const TestOp& op = submit_write(file_, 0, "one");
    settle();
    EXPECT_TRUE(op.done && op.outcome.is_errno(ENOSPC));
    EXPECT_TRUE(side_->failures.empty());
    EXPECT_TRUE(dirty().content_dirty(file_, 0, 3)) << "it may have been carried out in part";
}

// --- Intents -------------------------------------------------------------------------------

TEST_F(ServingTest, ARegionIsTouchedOnlyAfterItsIntentIsDurableAndThePeerIsToldAhead) {
    become_primary();
    run_rounds(40);
    session_->sent.clear();
    const IntentKey region{file_, 3, 0};
    std::size_t writes = 0;
    disk_.on_call = [&, inode = inode_of(file_)](const auto& point) {
        if (point.call != sim::VfsCall::write || point.inode != inode) return;
        ++writes;
        EXPECT_TRUE(side_->intents->covers(region));
        EXPECT_EQ(session_->sent.front().type, FrameType::intend);
    };
    ASSERT_FALSE(side_->intents->covers(region));
    submit_write(file_, 3 * kIntentRegionSize, "one");
    submit_write(file_, 3 * kIntentRegionSize + 5, "two");
    EXPECT_EQ(writes, 0U);
    settle();
    EXPECT_EQ(writes, 2U);
    submit_write(file_, 3 * kIntentRegionSize + 9, "three");
    settle();
    std::vector<IntentKey> told;
    for (const SentFrame& frame : session_->sent) {
        if (frame.type == FrameType::intend) {
            ASSERT_TRUE(decode_intents(frame.payload, told).ok());
        }
    }
    EXPECT_EQ(told.size(), 2U) << "by each that waited; the third found it durable";
    EXPECT_EQ(told.front(), region);
}

// --- Rounds --------------------------------------------------------------------------------

TEST_F(ServingTest, IntentsAreClearedAfterRoundsThatBothHaveSynced) {
    become_primary();
    const std::size_t live = side_->intents->live_count();
    ASSERT_GT(live, 0U);
    world_->run_for(Duration::seconds(50));
    EXPECT_EQ(session_->count(FrameType::round), 1U) << "the next waits for this one";
    EXPECT_EQ(side_->intents->live_count(), live);
    EXPECT_EQ(session_->count(FrameType::round_durable), 0U);
    run_rounds(40);
    EXPECT_EQ(side_->intents->live_count(), 0U);
    EXPECT_GT(session_->count(FrameType::round_durable), 0U);
}

TEST_F(ServingTest, AloneNoIntentIsCleared) {
    const std::size_t live = side_->intents->live_count();
    world_->run_for(Duration::seconds(50));
    EXPECT_GT(replica().counters().rounds, 0U);
    EXPECT_EQ(side_->intents->live_count(), live);
}

TEST_F(ServingTest, ARoundThatLosesItsPeerClearsNothing) {
    become_primary();
    run_rounds(29);
    const std::size_t live = side_->intents->live_count();
    ASSERT_GT(live, 0U);
    const std::size_t rounds = session_->count(FrameType::round);
    while (session_->count(FrameType::round) == rounds) settle();
    lose_session();
    replica().begin_alone(6);
    world_->run_for(Duration::seconds(50));
    EXPECT_EQ(side_->intents->live_count(), live);
}

TEST_F(ServingTest, ARoundThatFailsHereClearsNothingAndIsTold) {
    become_primary();
    disk_.faults.add({sim::VfsCall::sync_file_system, nullptr, 0, 1, {EIO, true}});
    run_rounds(1);
    EXPECT_EQ(side_->failures.size(), 1U);
    EXPECT_EQ(session_->count(FrameType::round_durable), 0U);
}

// --- Quiesce, waiting ----------------------------------------------------------------------

TEST_F(ServingTest, QuiesceWaitsForEverythingAndHoldsWhatIsNew) {
    become_primary();
    world_->run_for(Duration::milliseconds(500));
    run_rounds(1);  // the next one is far
    session_->sent.clear();
    submit_write(file_, 0, "one");
    settle();
    bool quiesced = false;
    replica().quiesce([&](Status status) { quiesced = status.ok(); });
    const TestOp& later = submit_write(file_, 10, "two");
    settle();
    EXPECT_FALSE(quiesced);
    EXPECT_EQ(session_->count(FrameType::round), 0U) << "the peer lacks an op";
    EXPECT_EQ(content(file_)[10], '.');
    receive_number(FrameType::ack, 1);
    settle();
    EXPECT_FALSE(quiesced) << "not durable on both yet";
    ASSERT_EQ(session_->count(FrameType::round), 1U);
    receive_number(FrameType::round_synced, decode_number(session_->sent.back().payload).value());
    settle();
    EXPECT_TRUE(quiesced);
    EXPECT_FALSE(later.done);
    replica().resume();
    settle();
    EXPECT_EQ(content(file_).substr(10, 3), "two");
}

TEST_F(ServingTest, HowLongThePeerIsWaitedForIsKnown) {
    submit_write(file_, 0, "one");
    settle();
    dirty() = DirtyMap();
    become_primary();
    EXPECT_EQ(replica().waiting_for_peer(), Duration());
    submit_write(file_, 0, "one");
    settle();
    const Duration waited = replica().waiting_for_peer();
    EXPECT_GT(waited, Duration::milliseconds(100));
    world_->run_for(Duration::milliseconds(300));
    EXPECT_EQ(replica().waiting_for_peer(), waited + Duration::milliseconds(300));
    receive_number(FrameType::ack, session_->ops().back().number);
    EXPECT_EQ(replica().waiting_for_peer(), Duration());
}

}  // namespace
}  // namespace gemel::mirror_test
