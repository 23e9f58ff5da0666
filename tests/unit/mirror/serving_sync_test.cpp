// SPDX-License-Identifier: Apache-2.0
// What an answered fsync promises on the serving side (docs/protocol.md, rule 8).
#include "tests/unit/mirror/replica_fixture.hpp"

#include <fcntl.h>
#include <set>
#include <sys/stat.h>

namespace gemel::mirror_test {
namespace {

class ServingSyncTest : public ReplicaTest {
   protected:
    void SetUp() override {
        ReplicaTest::SetUp();
        become_alone();
        file_ = make_file("file", "content");
    }
    SyncRequest last_request() {
        SyncRequest last;
        for (const SentFrame& frame : session_->sent) {
            if (frame.type == FrameType::sync) last = decode_sync(frame.payload).value();
        }
        return last;
    }
    // The inodes that are synced from now on, one by one.
    const std::multiset<std::uint64_t>& watch_syncs() {
        disk_.on_call = [this](const auto& point) {
            EXPECT_NE(point.call, sim::VfsCall::sync_file_system) << "not all is to be synced";
            if (point.call == sim::VfsCall::sync) synced_.insert(point.inode);
        };
        return synced_;
    }
    std::uint64_t root_inode() {
        Vfs& vfs = side_->loop->vfs();
        return vfs.stat(vfs.open_directory("/tree").value())->inode;
    }
    void peer_has_synced() { receive_number(FrameType::sync_done, last_request().token); }
    // What is left of /file after a power cut; empty: no such name.
    std::string after_power_cut() {
        side_->node.power_cut();
        side_->close();
        side_->node.set_fault_policy(nullptr);
        side_->loop = &side_->node.start();
        Vfs& vfs = side_->loop->vfs();
        const Fd tree = vfs.open_directory("/tree").value();
        const Result<Fd> file = vfs.open_at(tree, "file", O_RDONLY, 0);
        if (!file.ok()) return {};
        ByteBuffer bytes(1000);
        bytes.resize(vfs.pread(file.value(), bytes, 0).value());
        return std::string(as_text(bytes));
    }

    ObjectId file_;
    std::multiset<std::uint64_t> synced_;
};

TEST_F(ServingSyncTest, AloneItIsDurableHere) {
    const std::multiset<std::uint64_t>& synced = watch_syncs();
    const TestSync& sync = submit_sync(file_);
    EXPECT_FALSE(sync.done);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_EQ(synced, (std::multiset{root_inode(), inode_of(file_)}));
    // Once the name is durable the file alone is enough.
    submit_sync(file_);
    settle();
    EXPECT_EQ(synced.count(root_inode()), 1U);
    EXPECT_EQ(synced.count(inode_of(file_)), 2U);
    EXPECT_TRUE(session_->sent.empty());
    EXPECT_EQ(after_power_cut(), "content");
}

// As much as a database needs: the content, the size, and the names that lead to it.
TEST_F(ServingSyncTest, ADataOnlySyncCoversContentSizeAndNames) {
    const std::multiset<std::uint64_t>& synced = watch_syncs();
    const TestSync& sync = submit_sync(file_, true);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_EQ(synced, (std::multiset{root_inode(), inode_of(file_)}));
    EXPECT_EQ(after_power_cut(), "content");
}

TEST_F(ServingSyncTest, PrimaryWaitsForBothInEitherOrder) {
    become_primary();
    const TestSync& here_first = submit_sync(file_);
    settle();
    EXPECT_FALSE(here_first.done);
    peer_has_synced();
    settle();
    EXPECT_TRUE(here_first.done && here_first.outcome.ok());
    side_->node.set_disk_stuck(true);
    const TestSync& there_first = submit_sync(file_);
    peer_has_synced();
    settle();
    EXPECT_FALSE(there_first.done);
    side_->node.set_disk_stuck(false);
    settle();
    EXPECT_TRUE(there_first.done && there_first.outcome.ok());
}

TEST_F(ServingSyncTest, TheRequestSaysWhatIsAskedFor) {
    become_primary();
    submit_sync(file_, true);
    EXPECT_EQ(last_request().object, file_);
    EXPECT_TRUE(last_request().data_only);
    submit_sync(file_);
    EXPECT_FALSE(last_request().data_only);
    EXPECT_EQ(session_->flushed, session_->sent.size());
}

// What was written before it is on the way before it.
TEST_F(ServingSyncTest, TheRequestStandsBehindTheWritesThatItCovers) {
    become_primary();
    submit_write(file_, 0, "later");
    settle();
    submit_sync(file_);
    ASSERT_GE(session_->sent.size(), 2U);
    EXPECT_EQ(session_->sent.back().type, FrameType::sync);
    EXPECT_EQ(session_->sent[session_->sent.size() - 2].type, FrameType::op);
}

TEST_F(ServingSyncTest, TheAnswerToOneIsNotTheAnswerToAnother) {
    become_primary();
    const TestSync& first = submit_sync(file_);
    const std::uint64_t token = last_request().token;
    const TestSync& second = submit_sync(file_);
    settle();
    receive_number(FrameType::sync_done, token);
    settle();
    EXPECT_TRUE(first.done);
    EXPECT_FALSE(second.done);
}

TEST_F(ServingSyncTest, TheRootIsTheBarrierForEverything) {
    std::size_t whole = 0;
    disk_.on_call = [&](const auto& point) {
        whole += point.call == sim::VfsCall::sync_file_system ? 1 : 0;
    };
    const TestSync& sync = submit_sync(kRootObject);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
    EXPECT_GT(whole, 0U);
    EXPECT_EQ(after_power_cut(), "content");
}

// The peer's part is not to be had any more: answered when this node is the only one in sync.
TEST_F(ServingSyncTest, ALostPeerIsNoLongerWaitedForOnceThisNodeServesAlone) {
    become_primary();
    const TestSync& before = submit_sync(file_);
    settle();
    lose_session();
    const TestSync& meanwhile = submit_sync(file_);
    settle();
    EXPECT_FALSE(before.done || meanwhile.done);
    replica().begin_alone(6);
    settle();
    EXPECT_TRUE(before.done && before.outcome.ok());
    EXPECT_TRUE(meanwhile.done && meanwhile.outcome.ok());
}

// It was begun alone; the swap that adds the peer makes it the peer's, too.
TEST_F(ServingSyncTest, ASyncUnderWayWhenThePeerJoinsNeedsThePeer) {
    attach();
    const TestSync& sync = submit_sync(file_);
    EXPECT_EQ(session_->count(FrameType::sync), 0U);
    replica().begin_attaching();
    settle();
    EXPECT_FALSE(sync.done);
    EXPECT_EQ(session_->count(FrameType::sync), 1U);
    replica().finish_attaching(true);
    settle();
    EXPECT_FALSE(sync.done);
    peer_has_synced();
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.ok());
}

TEST_F(ServingSyncTest, AloneAFailureIsAnsweredAndTold) {
    disk_.faults.add({sim::VfsCall::sync, nullptr, 0, 1, {EIO, true}});
    const TestSync& sync = submit_sync(file_);
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.is_errno(EIO));
    EXPECT_EQ(side_->failures.size(), 1U);
}

// The peer has it all: it takes over, and the application's answer comes from there, or is EIO.
TEST_F(ServingSyncTest, PrimaryAFailureStopsServing) {
    become_primary();
    disk_.faults.add({sim::VfsCall::sync, nullptr, 0, 1, {EIO, true}});
    const TestSync& sync = submit_sync(file_);
    peer_has_synced();
    settle();
    EXPECT_FALSE(sync.done);
    EXPECT_EQ(side_->failures.size(), 1U);
    const TestOp& op = submit_write(file_, 0, "x");
    settle();
    EXPECT_FALSE(op.done);
    EXPECT_EQ(session_->count(FrameType::op), 0U);
    replica().stop();
    settle();
    EXPECT_TRUE(sync.done && sync.outcome.is_errno(EIO));
    EXPECT_TRUE(op.done && op.outcome.is_errno(EIO));
}

// Files written and never synced: before their descriptors run out everything is synced off the
// loop, long before the next round, and nothing has to wait for it.
TEST_F(ServingSyncTest, ManyUnsyncedFilesAreSyncedAhead) {
    world_->run_for(Duration::seconds(60));  // rounds rest
    std::vector<const TestOp*> created;
    for (int i = 0; i < 600; ++i) {
        auto create = std::make_unique<TestOp>();
        create->op.kind = OpKind::create;
        create->op.parent = kRootObject;
        create->op.mode = S_IFREG | 0644;
        create->name = std::to_string(i);
        created.push_back(&submit(std::move(create)));
    }
    settle();
    std::size_t whole = 0;
    disk_.on_call = [&](const auto& point) {
        whole += point.call == sim::VfsCall::sync_file_system ? 1 : 0;
    };
    for (const TestOp* op : created) {
        ASSERT_TRUE(op->done && op->outcome.ok());
        submit_write(op->op.object, 0, "content");
    }
    settle();
    EXPECT_GT(whole, 0U);
    EXPECT_FALSE(side_->volume().wants_sync());
    EXPECT_TRUE(side_->failures.empty());
}

TEST_F(ServingSyncTest, NobodyServesNobodySyncs) {
    replica().stop();
    const TestSync& sync = submit_sync(file_);
    settle();
    EXPECT_EQ(sync.outcome.code(), Code::refused);
}

}  // namespace
}  // namespace gemel::mirror_test
