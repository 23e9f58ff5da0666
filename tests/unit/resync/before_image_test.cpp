// SPDX-License-Identifier: Apache-2.0
// A resync is interrupted at any frame, perhaps more than once, perhaps by the end of the target's
// process or of its power: then the last consistent state comes back whole. GEMEL_SEEDS=N makes
// other numbers of seeds.
#include "resync/before_image.hpp"

#include "engine/base/prng.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <cstdlib>
#include <fcntl.h>

namespace gemel::resync_test {

namespace {

using Tree = std::map<std::string, std::string>;

// What a person sees: what is open without a name is gone with the process anyway.
Tree named_tree_of(Side& side) {
    Tree tree = tree_of(side);
    std::erase_if(
        tree, [](const auto& entry) { return entry.first.find(".gemel") != std::string::npos; });
    return tree;
}

void expect_same(const Tree& then, const Tree& now, const std::string& when) {
    for (const auto& [path, text] : then) {
        const auto found = now.find(path);
        if (found != now.end() && found->second == text) continue;
        ADD_FAILURE() << when << " " << path << "\n  then " << text << "\n  now  "
                      << (found == now.end() ? "missing" : found->second);
    }
    for (const auto& [path, text] : now) {
        if (!then.contains(path)) ADD_FAILURE() << when << " left over: " << path << " " << text;
    }
}

enum class End { session, process, power };

class CountedUnlinks final : public sim::FaultPolicy {
   public:
    sim::VfsFault before(const sim::VfsFaultPoint& point) noexcept override {
        if (point.call == sim::VfsCall::unlink) ++count;
        return {};
    }
    std::size_t count = 0;
};

class BeforeImageTest : public ResyncTest {
   protected:
    // In sync, much of it in memory only; then the target is away while the source is changed.
    void begin_apart(std::uint64_t seed) {
        begin(seed);
        random_ops(50);
        connect();
        ASSERT_TRUE(finish());
        join();
        random_ops(20);
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        then_ = named_tree_of(*b_);
        go_alone();
        random_ops(60);
        begin_image();
    }
    void begin_image() {
        look();
        bool begun = false;
        image_->begin(*b_->replica, [&] { begun = true; });
        ASSERT_TRUE(world_->run_until([&] { return begun; }));
        ASSERT_TRUE(image_->is_kept()) << image_->trouble();
    }
    void look() {
        image_ = std::make_unique<BeforeImage>(
            *b_->loop, b_->node.log(), b_->volumes,
            [](Status, const std::string& what) { ADD_FAILURE() << what; });
        before_ = image_.get();
    }
    // A resync that is cut at a frame, while applications go on.
    void resync_until(std::uint64_t frame, End end) {
        connect();
        wire_->cut_at = frame;
        random_ops_meanwhile(15, Duration::milliseconds(3));
        ASSERT_TRUE(world_->run_until([&] {
            return (a_->complete && ops_to_come_ == 0) || a_->lost || !b_->failures.empty();
        }));
        ASSERT_TRUE(b_->failures.empty()) << b_->failures[0];
        ops_to_come_ = 0;
        is_through_ = a_->complete && !a_->lost;
        if (is_through_) {
            join();
            image_->end();
        }
        go_alone();
        if (is_through_) return;
        if (end == End::session) return;
        image_.reset();
        if (end == End::power) b_->node.power_cut();
        if (end == End::process) b_->node.kill_process();
        b_->close();
        b_->open(id_);
        look();
        ASSERT_TRUE(image_->is_kept());
    }
    void restore() {
        Status outcome = Status(Code::cancelled);
        bool done = false;
        image_->restore([&](Status status, const std::string& what) {
            EXPECT_TRUE(status.ok()) << what;
            outcome = status;
            done = true;
        });
        ASSERT_TRUE(world_->run_until([&] { return done; }));
        ASSERT_TRUE(outcome.ok());
    }
    std::vector<std::string> private_names(std::string_view directory) {
        std::vector<std::string> names;
        const Result<ScopedFd> fd = b_->volume().private_directory(directory, false);
        if (!fd.ok()) return names;
        std::vector<DirectoryEntry> entries;
        EXPECT_TRUE(b_->loop->vfs().read_directory(fd->get(), 0, 10'000, entries).ok());
        for (const DirectoryEntry& entry : entries) names.push_back(entry.name);
        return names;
    }
    // The source removes `count` files and a directory of as many while the target is away; the
    // image is kept to the end of the resync.
    void lose_files_apart(std::uint64_t seed, int count) {
        begin(seed);
        const ObjectId dir = make_dir(kRootObject, "dir");
        for (int i = 0; i < count; ++i) make_file(dir, std::to_string(i), "x");
        const ObjectId stays = make_dir(kRootObject, "stays");
        for (int i = 0; i < count; ++i) make_file(stays, std::to_string(i), "x");
        connect();
        ASSERT_TRUE(finish());
        join();
        go_alone();
        for (int i = 0; i < count; ++i) unlink(dir, std::to_string(i));
        for (int i = 0; i < count; ++i) unlink(stays, std::to_string(i));
        unlink(kRootObject, "dir", true);
        begin_image();
        connect();
        ASSERT_TRUE(finish());
        ASSERT_TRUE(image_->is_kept());
        ASSERT_EQ(private_names("detached").size(), static_cast<std::size_t>(count) + 1);
        join();
    }
    void TearDown() override {
        image_.reset();
        before_ = nullptr;
        orphans_.clear();
        memory_ = {};
        is_through_ = false;
        ResyncTest::TearDown();
    }

    Tree then_;
    bool is_through_ = false;  // the last resync came to its end
    std::unique_ptr<BeforeImage> image_;
};

std::uint64_t seeds() {
    const char* text = std::getenv("GEMEL_SEEDS");
    return text == nullptr ? 40 : std::strtoull(text, nullptr, 10);
}

}  // namespace

TEST_F(BeforeImageTest, BringsTheLastConsistentStateBackWhereverTheResyncEnds) {
    for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Prng chance(seed);
        begin_apart(seed);
        if (HasFatalFailure()) return;
        const std::uint64_t sessions = 1 + chance.below(3);
        for (std::uint64_t i = 0; i < sessions && !is_through_; ++i) {
            resync_until(3 + chance.below(60), static_cast<End>(chance.below(3)));
            if (HasFatalFailure()) return;
            random_ops(10);
        }
        if (!is_through_) {
            restore();
            if (HasFatalFailure()) return;
            expect_same(then_, named_tree_of(*b_), "restored");
        }
        // It is an old copy, of which nothing is known, and becomes a good one again.
        EXPECT_TRUE(image_->drop().ok());
        connect(!is_through_);
        ASSERT_TRUE(finish());
        expect_equal();
        TearDown();
    }
}

TEST_F(BeforeImageTest, CanBeBegunAgainWhenThePowerGoesWhileItIsPutBack) {
    std::size_t put_back = 0;
    for (std::uint64_t seed = 100; put_back < 12 && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Prng chance(seed);
        begin_apart(seed);
        resync_until(25, End::session);
        if (HasFatalFailure()) return;
        if (is_through_) {
            TearDown();
            continue;
        }
        ++put_back;
        b_->node.die_at_vfs_call(1 + chance.below(400), true);
        bool done = false;
        image_->restore([&](Status, const std::string&) { done = true; });
        world_->run_for(Duration::seconds(2));
        image_.reset();
        if (done) {
            b_->node.die_at_vfs_call(0);
        } else {
            b_->node.power_cut();
            b_->close();
            b_->open(id_);
            look();
            ASSERT_TRUE(image_->is_kept());
            restore();
            if (HasFatalFailure()) return;
        }
        expect_same(then_, named_tree_of(*b_), "restored");
        TearDown();
    }
}

// There was nothing of them when the resync began.
TEST_F(BeforeImageTest, KeepsNoContentOfFilesMadeSince) {
    begin(9);
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    const ObjectId dir = make_dir(kRootObject, "dir");
    make_file(dir, "small", "x");
    make_file(dir, "large", std::string(300'000, 'x'));
    begin_image();
    connect();
    make_file(kRootObject, "meanwhile", std::string(100'000, 'x'));
    ASSERT_TRUE(finish());
    ASSERT_TRUE(image_->is_kept());
    EXPECT_EQ(private_names("before"), std::vector<std::string>{"journal"});
    go_alone();
    restore();
    EXPECT_TRUE(named_tree_of(*b_).size() <= 1) << "what was made since is gone";
}

// A clone can't be made, and what is kept can't be removed: what counts after a restart is right.
TEST_F(BeforeImageTest, ChangesNothingThatCanNeitherBeKeptNorForgotten) {
    std::size_t refused = 0;
    for (std::uint64_t seed = 1; refused < 12 && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Prng chance(seed);
        begin_apart(seed);
        if (HasFatalFailure()) return;
        sim::ScriptedFaults faults;
        using sim::VfsCall;
        faults.add({VfsCall::copy, nullptr, chance.below(4), faults.kForEver, {ENOSPC}});
        faults.add({VfsCall::unlink, nullptr, chance.below(2), faults.kForEver, {EDQUOT}});
        b_->node.set_fault_policy(&faults);
        connect();
        random_ops_meanwhile(15, Duration::milliseconds(3));
        ASSERT_TRUE(world_->run_until(
            [&] { return (a_->complete && ops_to_come_ == 0) || !b_->failures.empty(); }));
        b_->node.set_fault_policy(nullptr);
        ops_to_come_ = 0;
        const bool is_whole = b_->failures.empty();
        if (!is_whole && !image_->is_kept()) ++refused;
        go_alone();
        image_.reset();
        b_->node.kill_process();
        b_->close();
        b_->open(id_);
        look();
        if (!is_whole && image_->is_kept()) {
            restore();
            if (HasFatalFailure()) return;
            expect_same(then_, named_tree_of(*b_), "restored");
        }
        TearDown();
    }
}

// The disk is full when the copy is synced at the end: what the image has is what it needs.
TEST_F(BeforeImageTest, IsGivenUpWhenTheCopyCannotBeSyncedForWantOfSpace) {
    begin_apart(4);
    sim::ScriptedFaults faults;
    faults.add({sim::VfsCall::sync_file_system, nullptr, 0, faults.kForEver, {ENOSPC}});
    b_->node.set_fault_policy(&faults);
    Status reason;
    b_->on_failure = [&](Status status) { reason = status; };
    connect();
    ASSERT_TRUE(world_->run_until([&] { return !b_->failures.empty(); }));
    b_->node.set_fault_policy(nullptr);
    // What has been lost is not known, as after any failed sync.
    EXPECT_TRUE(is_disk_failure(reason)) << reason.to_string();
    ASSERT_FALSE(b_->failures.empty());
    EXPECT_NE(b_->failures[0].find("No space left"), std::string::npos) << b_->failures[0];
    EXPECT_FALSE(image_->is_kept());
    EXPECT_NE(image_->trouble().find("No space left"), std::string::npos) << image_->trouble();
}

// At a start it could not be read, and so it was not kept on; later it could.
TEST_F(BeforeImageTest, IsGoneWhenItCouldNotBeReadInBetween) {
    begin_apart(3);
    resync_until(20, End::session);
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_FALSE(is_through_);
    image_.reset();
    sim::ScriptedFaults faults;
    faults.add({sim::VfsCall::open, nullptr, 0, 1, {ENFILE}});
    b_->node.set_fault_policy(&faults);
    look();
    b_->node.set_fault_policy(nullptr);
    ASSERT_FALSE(image_->is_kept());
    EXPECT_NE(image_->trouble(), "");
    image_->go_on();
    resync_until(20, End::session);
    ASSERT_FALSE(HasFatalFailure());
    image_.reset();
    look();
    EXPECT_FALSE(image_->is_kept());
}

TEST_F(BeforeImageTest, SaysWhenItMayBeFoundAgain) {
    begin_apart(6);
    sim::ScriptedFaults faults;
    faults.add({sim::VfsCall::unlink, nullptr, 0, 1, {EDQUOT}});
    b_->node.set_fault_policy(&faults);
    EXPECT_TRUE(image_->drop().is_errno(EDQUOT));
    EXPECT_FALSE(image_->is_kept());
    EXPECT_FALSE(image_->keep(0, kRootObject).ok());
    look();
    EXPECT_TRUE(image_->is_kept());
    EXPECT_TRUE(image_->drop().ok());
    look();
    EXPECT_FALSE(image_->is_kept());
    b_->node.set_fault_policy(nullptr);
}

TEST_F(BeforeImageTest, LeavesNothingBehindWhenTheCopyIsComplete) {
    begin_apart(7);
    connect();
    ASSERT_TRUE(finish());
    image_->end();
    EXPECT_FALSE(image_->is_kept());
    expect_equal();
    world_->run_for(Duration::seconds(1));
    EXPECT_TRUE(b_->volume().private_directory("before", false).ok());
    EXPECT_TRUE(private_names("before").empty());
    EXPECT_TRUE(private_names("staging").empty());
    look();
    EXPECT_FALSE(image_->is_kept());
}

// The node is in sync then, and what is removed may be much.
TEST_F(BeforeImageTest, TakesLittleTimeToEndHoweverMuchWasTakenAway) {
    lose_files_apart(11, 500);
    ASSERT_FALSE(HasFatalFailure());
    CountedUnlinks unlinks;
    b_->node.set_fault_policy(&unlinks);
    image_->end();
    EXPECT_LT(unlinks.count, 70U);
    EXPECT_TRUE(private_names("detached").empty());
    world_->run_for(Duration::seconds(1));
    b_->node.set_fault_policy(nullptr);
    EXPECT_GE(unlinks.count, 1000U);
    EXPECT_TRUE(private_names("staging").empty());
    expect_equal();
}

// It was kept when the resync came to its end, and given up before the copy was named in sync.
TEST_F(BeforeImageTest, LeavesNothingTakenAwayWhereItWasGivenUpAtTheEnd) {
    lose_files_apart(12, 10);
    ASSERT_FALSE(HasFatalFailure());
    image_->make_room(Status::from_errno(ENOSPC));
    ASSERT_FALSE(image_->is_kept());
    image_->end();
    EXPECT_TRUE(private_names("detached").empty());
    world_->run_for(Duration::seconds(1));
    expect_equal();
}

TEST_F(BeforeImageTest, GivesTheSpaceOfLargeClonesBackInTheBackground) {
    begin(5);
    const ObjectId file = make_file(kRootObject, "file", std::string(kMiB, 'x'));
    connect();
    ASSERT_TRUE(finish());
    join();
    go_alone();
    write(file, 0, "changed");
    begin_image();
    connect();
    ASSERT_TRUE(finish());
    join();
    ASSERT_EQ(private_names("before").size(), 2U);
    b_->loop->vfs().finish_closing();
    image_->end();
    world_->run_for(Duration::seconds(1));
    EXPECT_TRUE(private_names("before").empty());
    EXPECT_TRUE(b_->loop->vfs().finish_closing());
}

TEST_F(BeforeImageTest, LeavesNothingInTheWayWhenThePowerGoesWhileItEnds) {
    std::size_t died = 0;
    for (std::uint64_t seed = 1; seed <= 30 && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        lose_files_apart(seed, 40);
        if (HasFatalFailure()) return;
        b_->node.die_at_vfs_call(1 + Prng(seed).below(900), seed % 2 == 0);
        image_->end();
        world_->run_for(Duration::seconds(1));
        image_.reset();
        before_ = nullptr;
        if (!b_->node.has_process()) {
            ++died;
            b_->close();
            b_->open(id_);
            EXPECT_TRUE(private_names("staging").empty());
        }
        b_->node.die_at_vfs_call(0);
        go_alone();
        connect();
        ASSERT_TRUE(finish());
        world_->run_for(Duration::seconds(1));
        EXPECT_TRUE(private_names("staging").empty());
        expect_equal();
        TearDown();
    }
    EXPECT_GT(died, 10U);
}

}  // namespace gemel::resync_test
