// SPDX-License-Identifier: Apache-2.0
// Syncs that are begun before they are asked for (sync_forecast.hpp): when, and when what was begun
// may be somebody's answer. Whatever it is not allowed to answer has to be synced once more.
#include "engine/mirror/sync_forecast.hpp"
#include "tests/unit/mirror/replica_fixture.hpp"

#include <cerrno>

namespace gemel::mirror_test {
namespace {

class ExpectedSyncTest : public ReplicaTest {
   protected:
    void SetUp() override {
        ReplicaTest::SetUp();
        become_alone();
        file_ = make_file("file", "content");
        other_ = make_file("other");
        disk_.on_call = [this](const auto& point) {
            if (point.call == sim::VfsCall::sync) ++local_syncs_;
        };
    }
    TestOp& write(ObjectId object) {
        TestOp& op = submit_write(object, 0, "record");
        ++numbers_;
        settle();
        if (session_->handler != nullptr) receive_number(FrameType::ack, numbers_);
        settle();
        return op;
    }
    // What the peer was asked for last; it says that it has done it.
    void peer_has_synced() {
        std::uint64_t token = 0;
        for (const SentFrame& frame : session_->sent) {
            if (frame.type == FrameType::sync) token = decode_sync(frame.payload)->token;
        }
        receive_number(FrameType::sync_done, token);
        settle();
    }
    std::size_t requests() const { return session_->count(FrameType::sync); }
    // As many pairs of a write and its sync as it takes, and the name is durable.
    void show_pattern(bool data_only = true) {
        for (std::uint32_t i = 0; i <= SyncForecast::kEvidenceMin; ++i) {
            write(file_);
            const TestSync& sync = submit_sync(file_, data_only);
            settle();
            if (session_->handler != nullptr) peer_has_synced();
            ASSERT_TRUE(sync.done && sync.outcome.ok());
        }
        local_syncs_ = 0;
        session_->sent.clear();
    }

    ObjectId file_, other_;
    std::uint64_t numbers_ = 0;
    std::size_t local_syncs_ = 0;
};

TEST_F(ExpectedSyncTest, LeavesWithTheWriteAndIsTheAnswer) {
    become_primary();
    show_pattern();
    submit_write(file_, 0, "record");
    settle();
    ASSERT_EQ(session_->sent.size(), 2U);
    EXPECT_EQ(session_->sent[0].type, FrameType::op);
    EXPECT_EQ(session_->sent[1].type, FrameType::sync);
    EXPECT_EQ(session_->flushed, 2U);
    EXPECT_EQ(local_syncs_, 1U);
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_FALSE(sync.done) << "the peer has not synced";
    peer_has_synced();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_EQ(requests(), 1U);
    EXPECT_EQ(local_syncs_, 1U);
}

TEST_F(ExpectedSyncTest, DoneBeforeItIsAskedForItIsAnsweredAtOnce) {
    become_primary();
    show_pattern();
    write(file_);
    peer_has_synced();
    const TestSync& sync = submit_sync(file_, true);
    EXPECT_FALSE(sync.done) << "no completion inside the call";
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_EQ(requests(), 1U);
    // It has been used up: the next one has to be made.
    submit_sync(file_, true);
    settle();
    EXPECT_EQ(requests(), 2U);
    EXPECT_EQ(local_syncs_, 2U);
}

TEST_F(ExpectedSyncTest, WaitsForTheLocalDisk) {
    become_primary();
    show_pattern();
    side_->node.set_disk_stuck(true);
    submit_write(file_, 0, "record");
    settle();
    const TestSync& sync = submit_sync(file_, true);
    peer_has_synced();
    EXPECT_FALSE(sync.done);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
}

TEST_F(ExpectedSyncTest, NotWithoutEvidence) {
    become_primary();
    for (std::uint32_t i = 0; i + 1 < SyncForecast::kEvidenceMin; ++i) {
        write(file_);
        EXPECT_EQ(requests(), i) << "only what was asked for";
        submit_sync(file_, true);
        settle();
        peer_has_synced();
    }
}

// The sync was begun before this change, so it does not cover it.
TEST_F(ExpectedSyncTest, AnyChangeInBetweenNeedsANewSync) {
    become_primary();
    for (const ObjectId changed : {file_, other_}) {
        show_pattern();
        write(file_);
        peer_has_synced();
        write(changed);
        const TestSync& sync = submit_sync(file_, true);
        settle();
        EXPECT_FALSE(sync.done);
        EXPECT_EQ(requests(), 2U);
        EXPECT_EQ(local_syncs_, 2U);
        peer_has_synced();
        EXPECT_TRUE(sync.done && sync.outcome.ok());
        // Once wrong, it needs more evidence.
        session_->sent.clear();
        write(file_);
        EXPECT_EQ(requests(), 0U);
        replica().stop();
        TearDown();
        numbers_ = 0;
        SetUp();
        become_primary();
    }
}

TEST_F(ExpectedSyncTest, AnotherSyncThanTheExpectedOneIsMade) {
    become_primary();
    show_pattern();
    write(file_);
    peer_has_synced();
    const TestSync& whole = submit_sync(file_, false);
    settle();
    EXPECT_FALSE(whole.done);
    EXPECT_EQ(requests(), 2U);
    peer_has_synced();
    EXPECT_TRUE(whole.done);
    const TestSync& other = submit_sync(other_, true);
    settle();
    EXPECT_FALSE(other.done);
    EXPECT_EQ(requests(), 3U);
}

TEST_F(ExpectedSyncTest, AloneItSurvivesAPowerCut) {
    show_pattern();
    write(file_);
    EXPECT_EQ(local_syncs_, 1U);
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_EQ(local_syncs_, 1U);
    disk_.on_call = nullptr;
    side_->node.power_cut();
    side_->close();
    side_->node.set_fault_policy(nullptr);
    side_->loop = &side_->node.start();
    Vfs& vfs = side_->loop->vfs();
    const Fd tree = vfs.open_directory("/tree").value();
    ByteBuffer bytes(6);
    EXPECT_EQ(vfs.pread(vfs.open_at(tree, "file", 0, 0).value(), bytes, 0).value(), bytes.size());
    EXPECT_EQ(as_text(bytes), "record");
}

// What was begun alone says nothing about a peer that has joined since.
TEST_F(ExpectedSyncTest, NotTheAnswerOnceAPeerHasJoined) {
    attach();
    show_pattern();
    write(file_);
    EXPECT_EQ(requests(), 0U);
    EXPECT_EQ(local_syncs_, 1U);
    replica().begin_attaching();
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_FALSE(sync.done);
    EXPECT_GE(requests(), 1U);
}

// Whatever the lost peer has synced, this node serves alone now and answers by itself.
TEST_F(ExpectedSyncTest, ForgottenWithTheSession) {
    become_primary();
    show_pattern();
    write(file_);
    lose_session();
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_FALSE(sync.done);
    replica().begin_alone(6);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_EQ(local_syncs_, 2U);
}

TEST_F(ExpectedSyncTest, AFailureIsTheDisksWhetherAskedForOrNot) {
    become_primary();
    show_pattern();
    disk_.faults.add({sim::VfsCall::sync, nullptr, 0, 1, {EIO, true}});
    submit_write(file_, 0, "record");
    settle();
    EXPECT_EQ(side_->failures.size(), 1U);
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_FALSE(sync.done);
    replica().stop();
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.is_errno(EIO));
}

TEST_F(ExpectedSyncTest, ARefusedWriteIsNotSynced) {
    become_primary();
    show_pattern();
    disk_.faults.add({sim::VfsCall::write, nullptr, 0, 1, {ENOSPC}});
    submit_write(file_, 0, "record");
    settle();
    EXPECT_EQ(local_syncs_, 0U);
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_EQ(local_syncs_, 1U);
    peer_has_synced();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
}

Op write_of(ObjectId object) { return write_op(object, 0, "x"); }

TEST(SyncForecastTest, EachWrongGuessNeedsTwiceTheEvidence) {
    SyncForecast forecast;
    const ObjectId object{7};
    std::uint32_t needed = SyncForecast::kEvidenceMin;
    for (int wrong = 0; wrong < 3; ++wrong, needed *= 2) {
        forecast.note_sync(0, object, false);
        for (std::uint32_t pairs = 0; pairs < needed; ++pairs) {
            forecast.note_change(write_of(object));
            EXPECT_FALSE(forecast.expects_sync());
            forecast.note_sync(0, object, false);
        }
        forecast.note_change(write_of(object));
        EXPECT_TRUE(forecast.expects_sync());
        forecast.was_wrong();
        EXPECT_FALSE(forecast.expects_sync());
    }
}

TEST(SyncForecastTest, OnlyOneWriteOfTheSyncedObjectIsAPair) {
    SyncForecast forecast;
    const ObjectId object{7}, other{8};
    const auto show = [&] {
        for (std::uint32_t pairs = 0; pairs <= SyncForecast::kEvidenceMin; ++pairs) {
            forecast.note_change(write_of(object));
            forecast.note_sync(0, object, true);
        }
    };
    show();
    forecast.note_change(write_of(other));
    EXPECT_FALSE(forecast.expects_sync());
    forecast.note_sync(0, other, true);
    show();
    forecast.note_change(write_of(object));
    EXPECT_TRUE(forecast.expects_sync());
    forecast.note_change(write_of(object));
    EXPECT_FALSE(forecast.expects_sync());
    forecast.note_sync(0, object, true);
    forecast.note_change(write_of(object));
    EXPECT_FALSE(forecast.expects_sync()) << "two writes before one sync";
}

}  // namespace
}  // namespace gemel::mirror_test
