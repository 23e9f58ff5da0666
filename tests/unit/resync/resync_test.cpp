// SPDX-License-Identifier: Apache-2.0
// Whole resyncs between two simulated nodes. Each test ends with a comparison of the trees as the
// file systems show them: names, content, holes, owners, times, xattrs, hard links, ids.
#include "tests/unit/resync/resync_fixture.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

namespace gemel::resync_test {

namespace {

std::string text_of(std::size_t size, char first) {
    std::string text(size, first);
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>(first + static_cast<char>(i * 31 % 23));
    }
    return text;
}

}  // namespace

TEST_F(ResyncTest, EmptyTargetGetsEverything) {
    begin(1, false);
    random_ops(150);
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_EQ(b_->volume().id(), id_);
    EXPECT_GT(wire_->counts.frames[FrameType::resync_content], 0U);
}

TEST_F(ResyncTest, OlderCopyIsAdoptedAndOnlyDifferencesTravel) {
    begin(2, false);
    const std::string big = text_of(3 * kMiB, 'a');
    std::string older = big;
    older[2 * kMiB + 5] = '!';
    for (Side* side : {a_.get(), b_.get()}) {
        plant(*side, "d/e/same", big);
        plant(*side, "d/changed", side == b_.get() ? older : big);
        plant(*side, std::string(side == b_.get() ? "gone" : "new"), text_of(10'000, 'n'));
    }
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_LE(wire_->counts.content_bytes, kChunkBlock + 10'000 + 500);
}

// Whether a small file has an older copy there is guessed by the last one: right and wrong guesses.
TEST_F(ResyncTest, SmallFilesNewAndOldInTurnAreAllEqual) {
    constexpr unsigned kFiles = 4000;
    begin(8, false);
    for (unsigned i = 0; i < kFiles; ++i) {
        const std::string path = "d" + std::to_string(i / 100) + "/f" + std::to_string(i);
        const std::string now = text_of(100 + i % 7000, 'a');
        plant(*a_, path, now);
        if (i / 500 % 2 == 0) continue;
        plant(*b_, path, i % 3 == 0 ? now : text_of(50 + i * 7 % 9000, 'b'));
    }
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    const std::uint64_t old_ones = kFiles / 2;
    EXPECT_LT(wire_->counts.frames[FrameType::resync_check], old_ones) << "no guess was wrong";
    EXPECT_GT(wire_->counts.frames[FrameType::resync_check], 0U);
}

TEST_F(ResyncTest, OldHardLinksAndTypesInTheWayAreParted) {
    begin(3, false);
    plant(*a_, "one", "first");
    plant(*a_, "two", "second");
    plant(*a_, "file", "now a file");
    plant(*b_, "one", "old");
    plant(*b_, "file/was", "a directory");
    Vfs& vfs = b_->loop->vfs();
    const Result<Fd> root = vfs.open_directory("/tree");
    const Result<Fd> one = vfs.open_at(root.value(), "one", O_PATH, 0);
    ASSERT_TRUE(vfs.link(one.value(), root.value(), "two").ok());
    vfs.close(one.value());
    vfs.close(root.value());
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
}

TEST_F(ResyncTest, DeltaAfterOpsAloneLeavesEqualTrees) {
    for (std::uint64_t seed = 10; seed < 22; ++seed) {
        begin(seed);
        random_ops(60);
        connect();
        ASSERT_TRUE(finish()) << seed;
        join();
        random_ops(20);
        go_alone();
        random_ops(80);
        connect();
        ASSERT_TRUE(finish()) << seed;
        expect_equal("seed " + std::to_string(seed));
        if (HasFailure()) return;
        orphans_.clear();
        memory_ = {};
        TearDown();
    }
}

TEST_F(ResyncTest, OpsDuringTheResyncLeaveEqualTrees) {
    for (std::uint64_t seed = 30; seed < 60; ++seed) {
        begin(seed, seed % 3 != 0);
        random_ops(80);
        connect();
        random_ops_meanwhile(60, Duration::milliseconds(3));
        ASSERT_TRUE(finish()) << seed;
        join();
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        expect_equal("first copy, seed " + std::to_string(seed));
        go_alone();
        random_ops(60);
        connect();
        random_ops_meanwhile(60, Duration::milliseconds(2));
        ASSERT_TRUE(finish()) << seed;
        join();
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        expect_equal("delta, seed " + std::to_string(seed));
        if (HasFailure()) return;
        orphans_.clear();
        memory_ = {};
        TearDown();
    }
}

TEST_F(ResyncTest, DirectoriesThatSwapParentAndChildAreReordered) {
    begin(4);
    const ObjectId x = make_dir(kRootObject, "x");
    const ObjectId y = make_dir(x, "y");
    const ObjectId d = make_dir(y, "d");
    make_file(d, "f", "content");
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    // x/y/d becomes d/x/y.
    rename(y, "d", kRootObject, "d");
    rename(kRootObject, "x", d, "x");
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_EQ(wire_->counts.content_bytes, 0U);
}

TEST_F(ResyncTest, RenameOfABigFileSendsNoContent) {
    begin(5);
    const ObjectId d = make_dir(kRootObject, "d");
    const ObjectId e = make_dir(kRootObject, "e");
    make_file(d, "big", text_of(2 * kMiB, 'b'));
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    rename(d, "big", e, "moved");
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_EQ(wire_->counts.content_bytes, 0U);
}

TEST_F(ResyncTest, SmallChangeOfABigFileSendsItsBlocks) {
    begin(6);
    const ObjectId big = make_file(kRootObject, "big", text_of(4 * kMiB, 'b'));
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    write(big, 2 * kMiB + 70'000, text_of(4096, 'Z'));
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_GT(wire_->counts.content_bytes, 0U);
    EXPECT_LE(wire_->counts.content_bytes, 2 * kChunkBlock + 200);
}

// Blocks changed all over a file, many more than an object has room for by itself: what was changed
// travels, nothing is compared. A session lost in the middle costs no block a second time but those
// unanswered; around what the target was touching then it compares.
TEST_F(ResyncTest, ScatteredBlocksTravelAloneAndOnce) {
    begin(15);
    constexpr std::uint64_t kSize = 40 * kMiB, kChanged = 500;
    const ObjectId big = make_file(kRootObject, "big", {});
    truncate(big, kSize);
    write(big, 7 * kMiB, text_of(kMiB, 'b'));
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    for (std::uint64_t i = 0; i < kChanged; ++i) {
        write(big, i * (kSize / kChanged) / kChunkBlock * kChunkBlock, text_of(4096, 'Z'));
    }
    EXPECT_EQ(a_->replica->dirty_map(0).find(big)->content.count(), kChanged);
    connect();
    int contents = 0;
    wire_->after_delivery = [&](int side, FrameType type) {
        if (side == 0 && type == FrameType::resync_content && ++contents == 2) cut();
    };
    ASSERT_TRUE(world_->run_until([&] { return a_->lost; }));
    EXPECT_EQ(wire_->counts.frames[FrameType::resync_check], 0U);
    std::uint64_t sent = wire_->counts.content_bytes;
    close_session();
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    sent += wire_->counts.content_bytes;
    EXPECT_GE(sent, kChanged * kChunkBlock);
    EXPECT_LE(sent, kChanged * kChunkBlock * 2);
}

TEST_F(ResyncTest, ComparisonOfEverythingSendsTheBlocksThatDiffer) {
    begin(16);
    const ObjectId big = make_file(kRootObject, "big", text_of(5 * kMiB + 1000, 'b'));
    const ObjectId hollow = make_file(kRootObject, "hollow", {});
    truncate(hollow, 3 * kMiB);
    write(hollow, kMiB, text_of(300'000, 'h'));
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    for (std::uint64_t i = 0; i < 20; ++i) write(big, i * 250'000, "changed");
    write(big, 5 * kMiB + 900, "at the end");
    write(hollow, 2 * kMiB, "no hole any more");
    a_->replica->require_full_compare();
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_GT(wire_->counts.frames[FrameType::resync_check], 5U);
    EXPECT_LE(wire_->counts.content_bytes, 45 * kChunkBlock);
}

// XFS and btrfs hold more than a frame does. A new object, and one whose attributes alone are sent;
// what the target has too much goes.
TEST_F(ResyncTest, MoreExtendedAttributesThanAFrameHolds) {
    constexpr int kCount = 90;  // 5.6 MiB
    begin(7);
    const ObjectId file = make_file(kRootObject, "file", "content");
    for (int i = 0; i < kCount; ++i) {
        set_xattr(file, "user." + std::to_string(i), std::string(64 * kKiB, 'x'));
    }
    set_xattr(file, "user.old", "old");
    connect();
    expect_good_end();
    go_alone();
    for (int i = 0; i < kCount; ++i) {
        set_xattr(file, "user." + std::to_string(i), std::string(64 * kKiB, 'y'));
    }
    TestOp remove;
    remove.op.kind = OpKind::remove_xattr;
    remove.op.object = file;
    remove.name = "user.old";
    ASSERT_TRUE(run(remove).ok());
    connect();
    expect_good_end();
    EXPECT_EQ(b_->volume().full_attributes(file)->xattrs.size(), std::size_t{kCount});
    EXPECT_GT(wire_->counts.frames[FrameType::resync_attributes], 5U);
}

TEST_F(ResyncTest, HolesTravelAsHoles) {
    begin(7);
    const ObjectId sparse = make_file(kRootObject, "sparse", {});
    truncate(sparse, 512 * kMiB);
    write(sparse, 300 * kMiB, text_of(5000, 's'));
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_LE(wire_->counts.content_bytes, kChunkSizeMax);
    EXPECT_LE(wire_->counts.frames[FrameType::resync_content], 10U);
}

TEST_F(ResyncTest, HardLinkWhoseOldNameIsRemovedSurvives) {
    begin(8);
    const ObjectId d = make_dir(kRootObject, "d");
    const ObjectId e = make_dir(kRootObject, "e");
    const ObjectId f = make_file(d, "f", "linked");
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    link(f, e, "g");
    unlink(d, "f");
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_EQ(wire_->counts.content_bytes, 0U);
}

TEST_F(ResyncTest, SessionLostAtAnyFrameForgetsNothing) {
    for (std::uint64_t frame = 1; frame < 200; frame += 3) {
        begin(100, frame % 2 == 0);
        random_ops(70);
        connect();
        wire_->cut_at = frame;
        random_ops_meanwhile(25, Duration::milliseconds(2));
        world_->run_until([&] { return (a_->complete && ops_to_come_ == 0) || a_->lost; });
        close_session();
        random_ops(5);
        connect();
        ASSERT_TRUE(finish()) << "lost at frame " << frame;
        join();
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        expect_equal("lost at frame " + std::to_string(frame));
        if (HasFailure()) return;
        ops_to_come_ = 0;
        orphans_.clear();
        memory_ = {};
        TearDown();
    }
}

// The target may still have what was cut off, though the map was clean there as soon as the size
// was sent; and the file grows over it before they meet again.
TEST_F(ResyncTest, FileGrowsAgainAfterTheSessionThatWasToCutItOff) {
    begin(300);
    const ObjectId file = make_file(kRootObject, "file", std::string(30'000, 'a'));
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    truncate(file, 12'000);
    connect();
    // Whatever the source sends after its plan is on the way when the session is lost.
    wire_->after_delivery = [this](int side, FrameType type) {
        if (side == 0 && type == FrameType::resync_begin) wire_->hold(0);
    };
    ASSERT_TRUE(world_->run_until(
        [&] { return !a_->replica->dirty_map(0).any_content_dirty(file); }));
    cut();
    close_session();
    write(file, 40'000, "z");
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
}

TEST_F(ResyncTest, TargetWithoutPowerInTheMiddleForgetsNothing) {
    for (std::uint64_t frame = 5; frame < 200; frame += 13) {
        begin(200 + frame, frame % 2 == 0);
        random_ops(60);
        connect();
        wire_->cut_at = frame;
        random_ops_meanwhile(20, Duration::milliseconds(2));
        world_->run_until([&] { return (a_->complete && ops_to_come_ == 0) || a_->lost; });
        close_session();
        b_->node.power_cut();
        b_->close();
        b_->open(Uuid{});
        ASSERT_FALSE(HasFatalFailure());
        connect();
        ASSERT_TRUE(finish()) << "power lost at frame " << frame;
        join();
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        expect_equal("power lost at frame " + std::to_string(frame));
        if (HasFailure()) return;
        ops_to_come_ = 0;
        orphans_.clear();
        memory_ = {};
        TearDown();
    }
}

TEST_F(ResyncTest, IntentsOfAResyncRunOutThoughNothingIsWrittenAnyMore) {
    begin(9);
    random_ops(60);
    connect();
    ASSERT_TRUE(finish());
    // So long that the source has no reason of its own for another round.
    world_->run_for(Duration::seconds(60));
    ASSERT_GT(b_->intents->live_count(), 0U);
    join_and_rest();
}

TEST_F(ResyncTest, IntentsOfAResyncAloneGoWithTheFirstRound) {
    begin(9);
    random_ops(60);
    connect();
    ASSERT_TRUE(finish());
    ASSERT_GT(b_->intents->live_count(), 0U);
    join();
    world_->run_for(Duration::seconds(3));
    EXPECT_EQ(b_->intents->live_count(), 0U);
}

TEST_F(ResyncTest, RestartedSourceKnowsTheDifferenceFromItsIntents) {
    begin(9);
    random_ops(60);
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    random_ops(60);
    a_->node.kill_process();
    a_->close();
    a_->open(id_);
    memory_ = {};
    a_->replica->begin_alone(++epoch_);
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
}

TEST_F(ResyncTest, TargetChangedByOthersIsComparedWhole) {
    begin(11);
    const ObjectId f = make_file(kRootObject, "f", "content");
    make_file(kRootObject, "g", "other");
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    Vfs& vfs = b_->loop->vfs();
    const Result<Fd> root = vfs.open_directory("/tree");
    ASSERT_TRUE(vfs.unlink(root.value(), "f", false).ok());
    vfs.close(root.value());
    b_->close();
    b_->node.kill_process();
    b_->open(id_);
    set_xattr(f, "trusted.z", "1");
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
}

TEST_F(ResyncTest, ProgressIsSeenOnBothSides) {
    begin(12, false);
    make_file(kRootObject, "f", text_of(2 * kMiB, 'p'));
    connect();
    ASSERT_TRUE(finish());
    EXPECT_GE(a_->progress.done_bytes, 2 * kMiB);
    EXPECT_GE(a_->progress.total_bytes, a_->progress.done_bytes);
    EXPECT_EQ(a_->progress.bytes_sent, 2 * kMiB);
    EXPECT_EQ(b_->progress.bytes_sent, 2 * kMiB);
    EXPECT_GT(b_->progress.total_bytes, 0U);
    EXPECT_FALSE(a_->progress.running);
}

}  // namespace gemel::resync_test
