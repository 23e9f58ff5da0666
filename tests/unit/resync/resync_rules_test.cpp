// SPDX-License-Identifier: Apache-2.0
// One test a rule of docs/resync.md: each builds the one interleaving in which the rule matters,
// and fails without it.
#include "engine/io/sim/fault_policy.hpp"
#include "engine/store/object_index.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace gemel::resync_test {

namespace {

// Slow enough that a log's write ends before a frame arrives.
constexpr Duration kSlowWire = Duration::milliseconds(200);

}  // namespace

TEST_F(ResyncTest, RemovedDirectoryThatIsNotEmptyThere) {
    begin(1);
    wire_delay_min_ = kSlowWire;
    const ObjectId d = make_dir(kRootObject, "d");
    make_file(d, "f", "content");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    unlink(d, "f");
    connect();
    auto removal = std::make_unique<TestOp>();
    removal->op.kind = OpKind::remove_directory;
    removal->op.parent = kRootObject;
    removal->name = "d";
    TestOp& op = submit_first(std::move(removal), {kRootObject});
    expect_good_end();
    EXPECT_TRUE(op.done && op.outcome.ok());
}

TEST_F(ResyncTest, ReplacedDirectoryThatIsNotEmptyThere) {
    begin(2);
    wire_delay_min_ = kSlowWire;
    const ObjectId d = make_dir(kRootObject, "d");
    make_dir(kRootObject, "e");
    make_file(d, "f", "content");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    unlink(d, "f");
    connect();
    TestOp& op = submit_first(make_rename(kRootObject, "e", kRootObject, "d"), {kRootObject});
    expect_good_end();
    EXPECT_TRUE(op.done && op.outcome.ok());
}

TEST_F(ResyncTest, DirectoryMovedBelowWhatStillContainsItThere) {
    begin(3);
    wire_delay_min_ = kSlowWire;
    const ObjectId s = make_dir(kRootObject, "s");
    const ObjectId t = make_dir(kRootObject, "t");
    const ObjectId x = make_dir(s, "x");
    const ObjectId b = make_dir(x, "b");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    rename(x, "b", t, "b");
    connect();
    // There b is below x still.
    TestOp& op = submit_first(make_rename(s, "x", b, "x"), {s, b});
    expect_good_end();
    EXPECT_TRUE(op.done && op.outcome.ok());
}

TEST_F(ResyncTest, DirectoryIsListedBeforeTheOneAboveIt) {
    begin(4);
    // d has the lowest id of all that become dirty.
    const ObjectId d = make_dir(kRootObject, "d");
    const ObjectId p = make_dir(kRootObject, "p");
    const ObjectId q = make_dir(kRootObject, "q");
    const ObjectId x = make_dir(q, "x");
    rename(kRootObject, "d", x, "d");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    rename(x, "d", p, "d");
    rename(q, "x", d, "x");
    connect();
    expect_good_end();
}

TEST_F(ResyncTest, SessionLostBetweenWantAndContent) {
    for (int answer = 1; answer <= 6; ++answer) {
        begin(5);
        const ObjectId f = make_file(kRootObject, "f", std::string(700'000, 'x'));
        connect();
        ASSERT_TRUE(finish());
        join_and_rest();
        go_alone();
        // More than what is sent without a check.
        write(f, 10'000, std::string(100'000, 'c'));
        write(f, 550'000, std::string(100'000, 'c'));
        connect();
        int answers = 0;
        wire_->after_delivery = [&](int side, FrameType type) {
            if (side == 1 && type == FrameType::resync_answer && ++answers == answer) cut();
        };
        world_->run_until([&] { return a_->complete || a_->lost; });
        close_session();
        if (a_->replica->role() == ReplicaRole::held) a_->replica->begin_alone(++epoch_);
        connect();
        expect_good_end();
        if (HasFailure()) return;
        memory_ = {};
        TearDown();
    }
}

TEST_F(ResyncTest, BusyApplicationsDoNotKeepItFromEnding) {
    begin(8);
    random_ops(40);
    connect();
    // Always some op on its way: the wire is much slower than an op alone.
    random_ops_meanwhile(1'000'000, Duration::microseconds(30));
    ASSERT_TRUE(world_->run_until([&] { return a_->complete || a_->lost; }, Duration::seconds(2)));
    ASSERT_TRUE(a_->complete);
    join();
    ops_to_come_ = 0;
    ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
    EXPECT_TRUE(b_->failures.empty());
    expect_equal();
}

// Between the check of a file's end and its content the file grows. The target takes an item's last
// block whole, so the item has to end where the file ends or with a block.
TEST_F(ResyncTest, FileGrowsBehindTheRangeThatIsWanted) {
    begin(10);
    // More than what is sent without a check, and an end within a block.
    constexpr std::uint64_t kBlocks = 17 * kChunkBlock;
    const ObjectId f = make_file(kRootObject, "f", std::string(kBlocks, 'x'));
    truncate(f, kBlocks + 404);
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    write(f, 0, std::string(kBlocks + 100, 'y'));
    connect();
    TestOp growth;
    growth.op.kind = OpKind::write;
    growth.op.object = f;
    growth.op.offset = kBlocks + 1904;
    growth.data = "written behind the check";
    growth.op.size = growth.data.size();
    growth.op.data = as_bytes(growth.data);
    wire_->after_delivery = [&](int side, FrameType type) {
        if (side == 0 && type == FrameType::resync_check) a_->replica->submit(growth);
    };
    std::size_t contents = 0;
    wire_->before_delivery = [&](int, FrameType type, Bytes payload) {
        if (type != FrameType::resync_content) return;
        const Result<ContentItem> item = decode_content(payload);
        ASSERT_TRUE(item.ok());
        ++contents;
        const std::uint64_t end = item->offset + item->size;
        EXPECT_TRUE(end % kChunkBlock == 0 || end == kBlocks + 1904 + growth.data.size()) << end;
    };
    expect_good_end();
    EXPECT_TRUE(growth.done && growth.outcome.ok());
    EXPECT_GT(contents, 0U);
}

// The target carries the copy out on what it has: while the answer to a check of the source range
// is on its way, that may be the old content, which no later item would put right where it went.
TEST_F(ResyncTest, RangeIsCopiedWhileItsCheckIsUnanswered) {
    begin(11);
    wire_delay_min_ = kSlowWire;
    constexpr std::uint64_t kSize = 64 * kChunkBlock;
    const ObjectId from = make_file(kRootObject, "from", std::string(kSize, 'x'));
    const ObjectId to = make_file(kRootObject, "to", std::string(kSize, 't'));
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    write(from, 0, std::string(kSize, 'y'));
    connect();
    TestOp copy;
    copy.op.kind = OpKind::copy_range;
    copy.op.object = to;
    copy.op.source = from;
    copy.op.size = kSize;
    bool is_submitted = false;
    wire_->after_delivery = [&](int side, FrameType type) {
        if (side != 0 || type != FrameType::resync_check || is_submitted) return;
        is_submitted = true;
        a_->replica->submit(copy);
    };
    expect_good_end();
    EXPECT_TRUE(copy.done && copy.outcome.ok());
}

// The file it reads has become longer alone, and the target does not know its size yet: there the
// copy would end early.
TEST_F(ResyncTest, RangeIsCopiedWhileItsFileIsStillShorterThere) {
    begin(18);
    const ObjectId from = make_file(kRootObject, "from", std::string(10'000, 'x'));
    const ObjectId to = make_file(kRootObject, "to", "y");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    truncate(from, kMiB);
    pacer_.set_paused(true);
    connect();
    bool is_planned = false;
    wire_->after_delivery = [&](int side, FrameType type) {
        is_planned |= side == 0 && type == FrameType::resync_begin;
    };
    ASSERT_TRUE(world_->run_until([&] { return is_planned; }));
    TestOp copy;
    copy.op.kind = OpKind::copy_range;
    copy.op.object = to;
    copy.op.source = from;
    copy.op.size = kMiB;
    ASSERT_TRUE(run(copy).ok());
    pacer_.set_paused(false);
    a_->replica->wake_resync();
    expect_good_end();
}

// Its process lives, as the heartbeats show, but its disk answers no more.
TEST_F(ResyncTest, StuckTargetIsNoticedByWhoeverWaitsForIt) {
    for (const bool congested : {false, true}) {
        begin(9);
        make_file(kRootObject, "f", "content");
        wire_delay_min_ = Duration::milliseconds(1);
        connect();
        bool stuck = false;
        wire_->after_delivery = [&](int side, FrameType type) {
            // Congestion: in the middle. Else at the end, when answers are held.
            const bool now = congested ? type == FrameType::resync_answer && side == 1
                                       : type == FrameType::resync_done && side == 1;
            if (!now || stuck) return;
            stuck = true;
            wire_->hold(1);
            if (congested) wire_->unsent = 64 * kMiB;
            ops_.push_back(std::make_unique<TestOp>());
            ops_.back()->op.kind = OpKind::create;
            ops_.back()->op.parent = kRootObject;
            ops_.back()->op.mode = S_IFREG | 0600;
            ops_.back()->name = "g";
            ops_.back()->op.name = ops_.back()->name;
            a_->replica->submit(*ops_.back());
        };
        ASSERT_TRUE(world_->run_until([&] { return stuck; }));
        world_->run_for(Duration::seconds(3));
        EXPECT_FALSE(ops_.back()->done);
        EXPECT_GT(a_->replica->waiting_for_peer(), Duration::seconds(2));
        // What its owner does then.
        a_->replica->detach();
        EXPECT_TRUE(world_->run_until([&] { return ops_.back()->done; }));
        TearDown();
    }
}

TEST_F(ResyncTest, TargetThatLostItsMemoryAndItsLog) {
    begin(6);
    random_ops(60);
    connect();
    ASSERT_TRUE(finish());
    join();
    world_->run_for(Duration::seconds(5));
    random_ops(40);  // in the target's page cache only
    lose_target_and_its_log();
    ASSERT_FALSE(HasFatalFailure());
    connect();
    expect_good_end();
}

// A process that is killed between the two steps of a rename over an open file leaves it with its
// name and as an orphan. The orphan goes at the next start, the file does not.
TEST_F(ResyncTest, ReleasedOrphanThatStillHasAName) {
    begin(11);
    wire_delay_min_ = kSlowWire;
    const ObjectId f = make_file(kRootObject, "f", "content");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    write(f, 0, "changed");
    Vfs& vfs = a_->loop->vfs();
    const Result<Fd> root = vfs.open_directory("/tree");
    const Result<Fd> orphans = vfs.open_directory("/tree/.gemel/orphans");
    ASSERT_TRUE(root.ok() && orphans.ok());
    const Result<Fd> file = vfs.open_at(root.value(), "f", O_PATH, 0);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(vfs.link(file.value(), orphans.value(), hex_name(f)).ok());
    connect();
    auto release = std::make_unique<TestOp>();
    release->op.kind = OpKind::release_orphan;
    release->op.object = f;
    TestOp& op = submit_first(std::move(release), {kOrphanDirectory});
    expect_good_end();
    EXPECT_TRUE(op.done && op.outcome.ok());
}

TEST_F(ResyncTest, RestartedTargetThatForgotTheOrphans) {
    begin(7);
    const ObjectId f = make_file(kRootObject, "f", "still open");
    connect();
    ASSERT_TRUE(finish());
    join();
    TestOp removal;
    removal.op.kind = OpKind::unlink;
    removal.op.parent = kRootObject;
    removal.op.object_in_use = true;
    removal.name = "f";
    ASSERT_TRUE(run(removal).ok());
    world_->run_for(Duration::seconds(45));
    go_alone();
    b_->kill_process();
    b_->open(Uuid{});
    ASSERT_TRUE(b_->volume().empty_directory(kOrphanDirectory).ok());
    connect();
    ASSERT_TRUE(finish());
    write(f, 3, "written behind the resync");
    join();
    ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
    EXPECT_TRUE(b_->failures.empty());
    expect_equal();
}

// The disk's error must not make it an object that is still to be made.
TEST_F(ResyncTest, RootThatCanNotBeReadForAMoment) {
    begin(19);
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    set_xattr(kRootObject, "user.a", "b");
    struct NoStat final : sim::FaultPolicy {
        sim::VfsFault before(const sim::VfsFaultPoint& point) noexcept override {
            return {point.call == sim::VfsCall::stat ? EIO : 0, false, 0};
        }
    } no_stat;
    connect();
    wire_->before_delivery = [&](int side, FrameType type, Bytes) {
        if (side == 0 && type == FrameType::resync_attributes) {
            b_->node.set_fault_policy(&no_stat);
        }
    };
    wire_->after_delivery = [&](int, FrameType) { b_->node.set_fault_policy(nullptr); };
    expect_good_end();
}

// --- A comparison of everything that was interrupted ---------------------------------------------

class InterruptedComparison : public ResyncTest {
   protected:
    // What of a comparison may be on its way.
    static constexpr std::uint64_t kUnansweredMax = 32 * kMiB;
    static constexpr std::uint64_t kBigSize = 48 * kMiB;

    // Both are equal and at rest, a comparison of everything has dealt with file_ but not with all
    // of what follows, and the session is lost.
    void begin_interrupted(std::uint64_t seed) {
        begin(seed);
        file_ = make_file(kRootObject, "file", "as it was on both nodes");
        make_file(kRootObject, "big", std::string(kBigSize, 'b'));
        connect();
        ASSERT_TRUE(finish());
        join_and_rest();
        go_alone();
        connect(true, true);
        wire_->after_delivery = [this](int side, FrameType) {
            if (side == 1 && a_->progress.bytes_compared > kBigSize - 4 * kMiB) cut();
        };
        ASSERT_TRUE(world_->run_until([&] { return a_->lost; }));
        close_session();
        const DirtyMap& map = a_->replica->dirty_map(0);
        ASSERT_TRUE(!map.empty() && map.is_known(file_) && map.find(file_) == nullptr);
    }
    void change_without_the_mirror() { plant(*b_, "file", "by whoever had the bare directory"); }

    ObjectId file_;
};

TEST_F(InterruptedComparison, GoesOnWhereItWas) {
    begin_interrupted(12);
    connect(true, true);
    expect_good_end();
    EXPECT_LE(a_->progress.bytes_compared, kUnansweredMax + 4 * kMiB);
}

TEST_F(InterruptedComparison, BeginsAnewForANewReason) {
    begin_interrupted(13);
    change_without_the_mirror();
    comparison_ = Uuid{{2}};
    connect(true, true);
    expect_good_end();
}

// The first session with the new reason has no time to tell it: the next one does.
TEST_F(InterruptedComparison, BeginsAnewThoughASessionIsLostAfterTheHello) {
    begin_interrupted(14);
    change_without_the_mirror();
    comparison_ = Uuid{{2}};
    wire_delay_min_ = Duration::milliseconds(5);
    connect(true, true);
    wire_->after_delivery = [this](int side, FrameType type) {
        if (side == 1 && type == FrameType::resync_begin) cut();
    };
    ASSERT_TRUE(world_->run_until([&] { return a_->lost; }));
    close_session();
    connect(true, true);
    expect_good_end();
}

// The tracker had no room for what was changed there.
TEST_F(InterruptedComparison, BeginsAnewForANewIntentOfTheWholeVolume) {
    begin_interrupted(15);
    change_without_the_mirror();
    const IntentKey all{kNoObject, IntentKey::kVolume, 0};
    b_->intents->touch({&all, 1});
    comparison_ = Uuid{{2}};
    connect(true);
    expect_good_end();
}

// Asked for by a person on the serving node, or told by its tracker.
TEST_F(InterruptedComparison, BeginsAnewWhenTheSourceSaysSo) {
    begin_interrupted(16);
    change_without_the_mirror();
    a_->replica->require_full_compare();
    connect(true, true);
    expect_good_end();
}

// What the target had in its cache alone is among the source's intents, and nowhere else.
TEST_F(ResyncTest, TargetThatLostItsMemoryAndThenTheSessionAfterTheHello) {
    begin(17);
    const ObjectId f = make_file(kRootObject, "f", "synced");
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    write(f, 0, "in the target's page cache only");
    lose_target_and_its_log();
    ASSERT_FALSE(HasFatalFailure());
    connect();
    wire_->after_delivery = [this](int side, FrameType type) {
        if (side == 1 && type == FrameType::resync_begin) cut();
    };
    ASSERT_TRUE(world_->run_until([&] { return a_->lost; }));
    close_session();
    connect();
    expect_good_end();
}

}  // namespace gemel::resync_test
