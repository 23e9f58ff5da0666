// SPDX-License-Identifier: Apache-2.0
// Changes of a block volume on either side of a session: what an answer waits for, in which order
// overlapping ones take effect, and what becomes of those that are under way when the session, the
// service or the disk ends (docs/block.md).
#include "engine/mirror/messages.hpp"
#include "engine/mirror/replica_context.hpp"
#include "tests/unit/mirror/replica_fixture.hpp"

#include <fcntl.h>
#include <linux/falloc.h>

namespace gemel::mirror_test {
namespace {

constexpr std::uint64_t kSize = 2 * kIntentRegionSize;

class BlockReplicaTest : public ReplicaTest {
   protected:
    BlockReplicaTest() : ReplicaTest(kSize) {}
    void SetUp() override {
        ReplicaTest::SetUp();
        become_alone();
        // The history is new, and nothing is dirty.
        submit_block(0, std::string(kBlockUnit, '.'));
        settle();
        replica().dirty_map(1) = DirtyMap();
        side_->failures.clear();
    }

    BlockVolume& block() { return *replica().volume(1).as_block(); }
    DirtyMap& block_dirty() { return replica().dirty_map(1); }
    TestOp& submit_block(std::uint64_t offset, std::string data) {
        auto op = std::make_unique<TestOp>();
        op->op.volume = 1;
        op->op.object = kBlockObject;
        op->op.offset = offset;
        op->op.size = data.size();
        op->data = std::move(data);
        return submit(std::move(op));
    }
    Op block_op(std::uint64_t offset, std::string_view data) {
        Op op = write_op(kBlockObject, offset, data);
        op.volume = 1;
        return op;
    }
    std::string bytes(std::uint64_t offset, std::size_t size) {
        ByteBuffer buffer(size);
        const Result<Fd> fd = block().data_fd(kBlockObject);
        EXPECT_TRUE(side_->loop->vfs().pread(fd.value(), buffer, offset).ok());
        return std::string(as_text(buffer));
    }
    // The n-th write of the volume from now on is answered so.
    void fail_block_write(std::uint64_t n, int error) {
        const std::uint64_t inode =
            side_->loop->vfs().stat(block().data_fd(kBlockObject).value())->inode;
        writes_ = 0;
        disk_.on_call = [this, n, error, inode](const auto& point) {
            if (point.call != sim::VfsCall::write || point.inode != inode) return;
            disk_.faults.clear();
            if (++writes_ == n) disk_.faults.add({sim::VfsCall::write, nullptr, 0, 1, {error}});
        };
    }
    void begin_growth(std::uint64_t size = 2 * kSize) {
        growth_.reset();
        replica().grow(1, size, [this](Status status, const std::string& text) {
            growth_.emplace(status, text);
        });
    }
    void receive_size(FrameType type, std::uint64_t size, const std::string& refusal = {}) {
        ByteBuffer payload;
        encode_size({1, size, refusal}, payload);
        receive(type, payload);
    }
    bool has_intent(std::uint32_t region) {
        bool found = false;
        replica().intents().for_each([&](const IntentKey& key) {
            found |= key.volume == 1 && key.object == kBlockObject && key.region == region;
        });
        return found;
    }

    std::uint64_t writes_ = 0;
    std::optional<std::pair<Status, std::string>> growth_;
};

TEST_F(BlockReplicaTest, AloneAnswersWhenItIsDoneHereAndMarks) {
    const TestOp& op = submit_block(kBlockUnit, "new");
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
    EXPECT_EQ(bytes(kBlockUnit, 3), "new");
    EXPECT_TRUE(block_dirty().content_dirty(kBlockObject, kBlockUnit, 3));
    EXPECT_TRUE(has_intent(0));
    EXPECT_FALSE(block_dirty().attributes_dirty(kBlockObject));
}

TEST_F(BlockReplicaTest, PrimaryAnswersWhenBothHaveIt) {
    become_primary();
    const TestOp& op = submit_block(0, "new");
    settle();
    EXPECT_EQ(bytes(0, 4), "new.");
    ASSERT_EQ(session_->ops().size(), 1U);
    EXPECT_FALSE(op.done);
    receive_number(FrameType::ack, 1);
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
    EXPECT_TRUE(block_dirty().empty());
}

TEST_F(BlockReplicaTest, AnAckThatComesFirstWaitsForTheDiskHere) {
    become_primary();
    side_->node.set_disk_stuck(true);
    const TestOp& op = submit_block(0, "new");
    settle();
    receive_number(FrameType::ack, 1);
    settle();
    EXPECT_FALSE(op.done);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
}

TEST_F(BlockReplicaTest, WhatIsUnderWayIsHeldWhenTheSessionIsLost) {
    become_primary();
    side_->node.set_disk_stuck(true);
    const TestOp& op = submit_block(0, "new");
    settle();
    lose_session();
    EXPECT_TRUE(block_dirty().content_dirty(kBlockObject, 0, 3));
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_FALSE(op.done);
    replica().begin_alone(6);
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
    EXPECT_TRUE(block_dirty().content_dirty(kBlockObject, 0, 3));
}

// The service ends, the change does not: the next one finds it before its own.
TEST_F(BlockReplicaTest, AStopAnswersAtOnceAndLaterChangesStandBehind) {
    become_primary();
    side_->node.set_disk_stuck(true);
    const TestOp& op = submit_block(0, "old");
    settle();
    replica().stop();
    world_->run_for(Duration::milliseconds(1));
    EXPECT_TRUE(op.done && op.outcome.is_errno(EIO));
    EXPECT_TRUE(block().is_busy(0, 1));
    session_ = std::make_shared<Session>();
    become_secondary();
    receive_op(block_op(0, "new"), 1);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_EQ(bytes(0, 4), "new.");
    EXPECT_EQ(acks(), "1");
}

TEST_F(BlockReplicaTest, AnIntentUnderAChangeIsNotCleared) {
    become_primary();
    submit_block(kIntentRegionSize, "x");
    settle();
    receive_number(FrameType::ack, 1);
    run_rounds(40);
    EXPECT_FALSE(has_intent(1));
    const IntentKey key{kBlockObject, 1, 1};
    replica().intents().touch({&key, 1});
    replica().intents().commit([](Status) {});
    settle();
    side_->node.set_disk_stuck(true);
    class Change final : public BlockChange {
        void on_done(Status) noexcept override {}
    } change;
    block().submit(change, block_op(kIntentRegionSize, "y"));
    // What a round does at its beginning and at its end.
    ReplicaContext context(*side_->loop, side_->node.log(), *side_->intents, side_->volumes, *side_,
                           {});
    const auto round = [&] {
        const std::uint64_t number = replica().intents().begin_round();
        context.touch_in_flight();
        replica().intents().clear_through(number, 0);
    };
    round();
    EXPECT_TRUE(has_intent(1));
    side_->node.set_disk_stuck(false);
    settle();
    round();
    round();
    EXPECT_FALSE(has_intent(1));
}

TEST_F(BlockReplicaTest, ARefusedChangeIsMendedOnThePeerWithWhatIsHere) {
    become_primary();
    fail_block_write(1, ENOSPC);
    const TestOp& op = submit_block(0, std::string(kBlockUnit, 'x'));
    settle();
    const std::vector<DecodedOp> ops = session_->ops();
    ASSERT_EQ(ops.size(), 2U);
    EXPECT_EQ(as_text(ops[1].op.data), std::string(kBlockUnit, '.'));
    EXPECT_FALSE(op.done);
    receive_number(FrameType::ack, 2);
    settle();
    EXPECT_TRUE(op.done && op.outcome.is_errno(ENOSPC));
    EXPECT_TRUE(block_dirty().empty());
    EXPECT_TRUE(side_->failures.empty());
}

// The one behind it is in the peer's stream already: what mends must not undo it there.
TEST_F(BlockReplicaTest, WhatMendsHoldsTheLaterChangeOfTheRangeToo) {
    become_primary();
    fail_block_write(1, ENOSPC);
    submit_block(0, std::string(kBlockUnit, 'x'));
    submit_block(0, std::string(kBlockUnit, 'y'));
    settle();
    const std::vector<DecodedOp> ops = session_->ops();
    ASSERT_EQ(ops.size(), 3U);
    EXPECT_EQ(as_text(ops[2].op.data), std::string(kBlockUnit, 'y'));
    EXPECT_EQ(bytes(0, kBlockUnit), std::string(kBlockUnit, 'y'));
}

TEST_F(BlockReplicaTest, AnErrorOfTheDiskAnswersNothingBeforeTheRolesHaveChanged) {
    become_primary();
    fail_block_write(1, EIO);
    const TestOp& op = submit_block(0, "x");
    settle();
    EXPECT_FALSE(op.done);
    EXPECT_EQ(side_->failures.size(), 1U);
    replica().stop();
    settle();
    EXPECT_TRUE(op.done && op.outcome.is_errno(EIO));
}

TEST_F(BlockReplicaTest, TheSecondaryAcknowledgesInOrder) {
    replica().stop();
    become_secondary();
    std::string expected(16 * kBlockUnit, '\0');
    for (std::uint64_t i = 0; i < 16; ++i) {
        const std::string data(kBlockUnit, static_cast<char>('a' + i));
        receive_op(block_op((15 - i) * kBlockUnit, data), i + 1);
        expected.replace((15 - i) * kBlockUnit, kBlockUnit, data);
    }
    settle();
    EXPECT_EQ(bytes(0, expected.size()), expected);
    EXPECT_TRUE(acks().ends_with("16")) << acks();
}

TEST_F(BlockReplicaTest, ThePeersOpBeyondTheEndEndsTheSession) {
    replica().stop();
    become_secondary();
    receive_op(block_op(kSize - 1, "xy"), 1);
    EXPECT_TRUE(side_->lost);
}

TEST_F(BlockReplicaTest, ASecondaryThatCannotCarryOutLeaves) {
    replica().stop();
    become_secondary();
    fail_block_write(1, ENOSPC);
    receive_op(block_op(0, std::string(kBlockUnit, 'x')), 1);
    settle();
    EXPECT_EQ(session_->count(FrameType::failed), 1U);
    EXPECT_EQ(acks(), "");
}

TEST_F(BlockReplicaTest, AClaimWaitsForWhatIsUnderWayAndKeepsOthersOut) {
    attach();
    side_->node.set_disk_stuck(true);
    const TestOp& first = submit_block(0, "first");
    settle();
    EXPECT_FALSE(replica().claim_content(1, 0, kDirtyUnit));
    EXPECT_TRUE(replica().claim_content(1, kDirtyUnit, kDirtyUnit));
    EXPECT_FALSE(replica().claim_content(1, 0, kDirtyUnit));
    const TestOp& second = submit_block(0, "second");
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_TRUE(first.done);
    EXPECT_EQ(session_->ops().size(), 1U) << "the second has been begun";
    EXPECT_TRUE(replica().claim_content(1, 0, kDirtyUnit));
    settle();
    EXPECT_TRUE(second.done);
    EXPECT_EQ(session_->ops().size(), 2U);
}

// ---- sync = "fsync" ---------------------------------------------------------------------------

class EarlyAnswersTest : public BlockReplicaTest {
   protected:
    EarlyAnswersTest() { options_.answers_blocks_early = true; }
    TestSync& submit_flush() {
        TestSync& sync = *syncs_.emplace_back(std::make_unique<TestSync>());
        sync.volume = 1;
        sync.object = kBlockObject;
        sync.data_only = true;
        replica().sync(sync);
        return sync;
    }
};

TEST_F(EarlyAnswersTest, AWriteIsAnsweredWhenItIsHereAndAFlushWhenItIsOnBoth) {
    become_primary();
    side_->node.set_disk_stuck(true);
    const TestOp& op = submit_block(0, "new");
    settle();
    EXPECT_EQ(session_->ops().size(), 1U);
    EXPECT_FALSE(op.done);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_TRUE(op.done && op.outcome.ok());
    const TestSync& flush = submit_flush();
    settle();
    EXPECT_FALSE(flush.done);
    receive_number(FrameType::ack, 1);
    receive_number(FrameType::sync_done, 1);
    settle();
    EXPECT_TRUE(flush.done && flush.outcome.ok());
}

TEST_F(EarlyAnswersTest, WhatIsAnsweredEarlyIsMarkedWhenThePeerIsLost) {
    become_primary();
    const TestOp& op = submit_block(0, "new");
    const TestSync& flush = submit_flush();
    settle();
    EXPECT_TRUE(op.done);
    lose_session();
    EXPECT_TRUE(block_dirty().content_dirty(kBlockObject, 0, 3));
    const TestOp& later = submit_block(0, "later");
    settle();
    // Not before the register has decided.
    EXPECT_FALSE(flush.done || later.done);
    replica().begin_alone(6);
    settle();
    EXPECT_TRUE(flush.done && flush.outcome.ok() && later.done);
}

TEST_F(EarlyAnswersTest, WhoIsFarAheadWaits) {
    become_primary();
    for (std::uint64_t i = 0; i < 70; ++i) {
        submit_block(i % 4 * kMiB, std::string(kMiB, 'x'));
        settle();
    }
    EXPECT_TRUE(ops_[ops_.size() - 20]->done);
    const TestOp& last = *ops_.back();
    EXPECT_FALSE(last.done);
    receive_number(FrameType::ack, session_->ops().back().number);
    settle();
    EXPECT_TRUE(last.done);
}

TEST_F(BlockReplicaTest, ASecondarySyncsWhenWhatWasSentBeforeIsDone) {
    replica().stop();
    become_secondary();
    side_->node.set_disk_stuck(true);
    receive_op(block_op(0, "new"), 1);
    ByteBuffer payload;
    encode_sync({7, 1, kBlockObject, true}, payload);
    bool done_at_sync = false;
    disk_.on_call = [&](const auto& point) {
        if (point.call == sim::VfsCall::sync) done_at_sync = !block().is_busy();
    };
    receive(FrameType::sync, payload);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_EQ(session_->count(FrameType::sync_done), 1U);
    EXPECT_TRUE(done_at_sync);
}

// ---- growing ----------------------------------------------------------------------------------

TEST_F(BlockReplicaTest, GrowsForItsClientsWhenThePeerHas) {
    become_primary();
    const std::size_t told = session_->count(FrameType::resize);
    begin_growth();
    settle();
    EXPECT_EQ(session_->count(FrameType::resize), told + 1);
    EXPECT_EQ(block().size(), kSize);
    receive_size(FrameType::resized, 2 * kSize);
    settle();
    EXPECT_TRUE(growth_->first.ok()) << growth_->second;
    EXPECT_EQ(block().size(), 2 * kSize);
    EXPECT_EQ(bytes(2 * kSize - 4, 4), std::string(4, '\0'));
    submit_block(2 * kSize - 4, "last");
    settle();
    EXPECT_EQ(session_->ops().back().op.offset, 2 * kSize - 4);
}

TEST_F(BlockReplicaTest, GrowsAloneWithoutASessionOnly) {
    begin_growth();
    settle();
    EXPECT_TRUE(growth_->first.ok()) << growth_->second;
    EXPECT_EQ(block().size(), 2 * kSize);
    attach();
    // Who is to be filled is told before anything else.
    EXPECT_EQ(session_->count(FrameType::resize), 1U);
    begin_growth(3 * kSize);
    settle();
    EXPECT_EQ(growth_->first.code(), Code::refused);
    EXPECT_EQ(block().size(), 2 * kSize);
}

TEST_F(BlockReplicaTest, DoesNotGrowWhereThePeerCannot) {
    become_primary();
    begin_growth();
    receive_size(FrameType::resized, 2 * kSize, "there is no place");
    settle();
    EXPECT_EQ(growth_->first.code(), Code::refused);
    EXPECT_NE(growth_->second.find("there is no place"), std::string::npos);
    EXPECT_EQ(block().size(), kSize);
    begin_growth(kSize / 2);
    settle();
    EXPECT_EQ(growth_->second, "a block volume never shrinks");
}

TEST_F(BlockReplicaTest, AGrowthEndsWithItsSession) {
    become_primary();
    begin_growth();
    settle();
    lose_session();
    settle();
    EXPECT_EQ(growth_->first.code(), Code::refused);
    replica().begin_alone(6);
    settle();
    EXPECT_EQ(block().size(), kSize);
}

TEST_F(BlockReplicaTest, ASecondaryGrowsBesideItsWork) {
    replica().stop();
    become_secondary();
    side_->node.set_disk_stuck(true);
    receive_size(FrameType::resize, 2 * kSize);
    receive_op(block_op(0, "op"), 1);
    EXPECT_EQ(block().size(), kSize);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_EQ(block().size(), 2 * kSize);
    EXPECT_EQ(session_->count(FrameType::resized), 1U);
    EXPECT_EQ(acks(), "1");
    // No serving node gives up what it has.
    receive_size(FrameType::resize, kSize);
    EXPECT_TRUE(side_->lost);
}

TEST_F(BlockReplicaTest, ATargetTakesTheSourcesSizeBeforeAnythingElse) {
    submit_block(kSize - 4, "gone");
    settle();
    replica().stop();
    session_ = std::make_shared<Session>();
    become_secondary(true);
    side_->node.set_disk_stuck(true);
    receive_size(FrameType::resize, kSize - kBlockUnit);
    receive_op(block_op(0, "op"), 1);
    settle();
    EXPECT_EQ(acks(), "");
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_EQ(block().size(), kSize - kBlockUnit);
    EXPECT_EQ(acks(), "1");
    // What lay behind that end is nobody's, should the volume grow again.
    receive_size(FrameType::resize, kSize);
    settle();
    EXPECT_EQ(bytes(kSize - 4, 4), std::string(4, '\0'));
}

TEST_F(BlockReplicaTest, ASwapWaitsForWhatIsUnderWay) {
    side_->node.set_disk_stuck(true);
    submit_block(0, "x");
    settle();
    bool quiet = false;
    replica().quiesce([&](Status) { quiet = true; });
    settle();
    EXPECT_FALSE(quiet);
    side_->node.set_disk_stuck(false);
    world_->run_for(Duration::seconds(1));
    EXPECT_TRUE(quiet);
}

}  // namespace
}  // namespace gemel::mirror_test
