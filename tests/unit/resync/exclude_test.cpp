// SPDX-License-Identifier: Apache-2.0
// Excluded names between two simulated nodes: what is a node's own never reaches the other, and
// what is published is on both once it is acknowledged (docs/exclude.md).
#include "tests/unit/resync/resync_fixture.hpp"

#include <cstdlib>
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

class ExcludeTest : public ResyncTest {
   protected:
    static constexpr std::uint64_t kSeed = 500;

    // In sync, with names excluded.
    void begin_joined(std::uint64_t seed = kSeed,
                      std::vector<std::string> exclude = {"*.tmp", "cache/", "/top/only"}) {
        exclude_ = std::move(exclude);
        begin(seed);
        connect();
        ASSERT_TRUE(finish());
        join();
    }
    // The primary is gone; the secondary goes on and is a_ from here on, the other one b_.
    void take_over(bool without_power = false) {
        wire_->cut();
        if (without_power) {
            a_->node.power_cut();
            a_->close();
        } else {
            a_->replica->stop();
        }
        b_->replica->begin_alone(++epoch_);
        std::swap(a_, b_);
        memory_ = {};
        if (without_power) b_->open(Uuid{});
    }
    // Submits without waiting.
    TestOp& submit(std::unique_ptr<TestOp> op) {
        op->op.name = op->name;
        op->op.new_name = op->new_name;
        op->op.data = as_bytes(op->data);
        ops_.push_back(std::move(op));
        a_->replica->submit(*ops_.back());
        return *ops_.back();
    }
    TestOp& submit_write(ObjectId object, std::uint64_t offset, std::string_view text) {
        auto op = std::make_unique<TestOp>();
        op->op.kind = OpKind::write;
        op->op.object = object;
        op->op.offset = offset;
        op->op.size = text.size();
        op->data = text;
        return submit(std::move(op));
    }
    Status try_rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                      std::string_view new_name, std::uint32_t flags = 0) {
        auto op = make_rename(parent, name, new_parent, new_name);
        op->op.flags = flags;
        return run(*op);
    }
    Status try_link(ObjectId object, ObjectId parent, std::string_view name) {
        TestOp op;
        op.op.kind = OpKind::link;
        op.op.object = object;
        op.op.parent = parent;
        op.name = name;
        return run(op);
    }
    void sync(ObjectId object) {
        TestSync request;
        request.object = object;
        a_->replica->sync(request);
        ASSERT_TRUE(world_->run_until([&] { return request.done; }));
        EXPECT_TRUE(request.outcome.ok()) << request.outcome.to_string();
    }
    [[nodiscard]] bool is_quiet() const {
        return ops_to_come_ == 0 && (ops_.empty() || ops_.back()->done) &&
               (a_->replica->link() == nullptr || a_->replica->all_acknowledged());
    }
    void settle() {
        ASSERT_TRUE(world_->run_until([&] { return is_quiet(); }));
    }
    std::string content(Side& side, std::string_view path) {
        Vfs& vfs = side.loop->vfs();
        const std::size_t slash = path.rfind('/');
        std::string directory = "/tree";
        if (slash != path.npos) directory += "/" + std::string(path.substr(0, slash));
        const Result<Fd> parent = vfs.open_directory(directory);
        if (!parent.ok()) return "no " + directory;
        const ScopedFd scoped(vfs, parent.value());
        const Result<Fd> file =
            vfs.open_at(parent.value(), path.substr(slash + 1), O_RDONLY | O_NOATIME, 0);
        if (!file.ok()) return "missing";
        const ScopedFd opened(vfs, file.value());
        std::string text;
        std::byte buffer[65536];
        for (;;) {
            const Result<std::size_t> got = vfs.pread(file.value(), buffer, text.size());
            if (!got.ok() || got.value() == 0) return text;
            text += as_text(Bytes(buffer).first(got.value()));
        }
    }
    std::vector<std::string> local_names(Side& side) {
        std::vector<std::string> names;
        for (const auto& [path, text] : local_tree_of(side)) names.push_back(path);
        return names;
    }
    using Names = std::vector<std::string>;
};

TEST_F(ExcludeTest, ExcludedNamesStayOnTheirNode) {
    begin_joined();
    plant(*b_, "b.tmp", "of the other node");
    const std::uint64_t shipped = wire_->counts.frames[FrameType::op];
    const ObjectId file = make_file(kRootObject, "a.tmp", text_of(200'000, 'a'));
    const ObjectId cache = make_dir(kRootObject, "cache");
    const ObjectId inner = make_file(make_dir(cache, "deeper"), "name", "x");
    truncate(file, 100);
    set_xattr(inner, "trusted.z", "1");
    link(file, cache, "second");
    rename(cache, "second", kRootObject, "third.tmp");
    sync(file);
    unlink(kRootObject, "third.tmp");
    EXPECT_TRUE(a_->volume().is_local(file) && a_->volume().is_local(inner));
    EXPECT_EQ(wire_->counts.frames[FrameType::op], shipped);
    EXPECT_EQ(wire_->counts.frames[FrameType::sync], 0U);
    EXPECT_EQ(a_->intents->live_count(), 1U);  // the time of the root
    // A file of that name is no directory.
    make_file(make_dir(kRootObject, "d"), "cache", "mirrored");
    settle();
    expect_equal();
    EXPECT_EQ(local_names(*a_), (Names{"a.tmp", "cache", "cache/deeper", "cache/deeper/name"}));
    EXPECT_EQ(local_names(*b_), (Names{"b.tmp"}));
}

TEST_F(ExcludeTest, TimesOfMirroredDirectoriesDoNotFollowExcludedNames) {
    begin_joined();
    const ObjectId d = make_dir(kRootObject, "d");
    settle();
    world_->run_for(Duration::seconds(5));
    make_file(d, "a.tmp", "x");
    rename(d, "a.tmp", kRootObject, "b.tmp");
    link(id_of(kRootObject, "b.tmp"), d, "c.tmp");
    unlink(d, "c.tmp");
    make_dir(d, "cache");
    unlink(d, "cache", true);
    expect_equal();
    world_->run_for(Duration::seconds(5));
    rename(kRootObject, "b.tmp", d, "published");
    rename(d, "published", kRootObject, "again.tmp");
    settle();
    expect_equal();
}

TEST_F(ExcludeTest, PublishedFileIsOnBothNodesWithAllThatItIs) {
    begin_joined();
    const ObjectId file = make_file(kRootObject, "x.tmp", {});
    truncate(file, 40 * kMiB + 17);
    write(file, 3 * kMiB - 100, text_of(5 * kMiB, 'a'));
    write(file, 30 * kMiB, text_of(5000, 'b'));
    set_xattr(file, "trusted.z", "value");
    set_xattr(file, "user.colour", "red");
    TestOp attributes;
    attributes.op.kind = OpKind::set_attributes;
    attributes.op.object = file;
    attributes.op.mask = kSetMode | kSetOwner | kSetAccessed | kSetModified;
    attributes.op.mode = 04751;
    attributes.op.uid = 12;
    attributes.op.gid = 13;
    attributes.op.accessed = {1234, 5};
    attributes.op.modified = {4321, 6};
    ASSERT_TRUE(run(attributes).ok());
    rename(kRootObject, "x.tmp", kRootObject, "x");
    settle();
    expect_equal();
    EXPECT_EQ(id_of(kRootObject, "x"), file);
    EXPECT_FALSE(a_->volume().is_local(file));
    EXPECT_LT(wire_->counts.content_bytes, 6 * kMiB);
    write(file, 100, "through the same id");
    settle();
    expect_equal();
    EXPECT_TRUE(local_names(*a_).empty());
}

TEST_F(ExcludeTest, EveryKindIsPublishedAndReplacesWhatWasThere) {
    begin_joined();
    make_file(kRootObject, "x", "old content");
    make_file(kRootObject, "x.tmp", "new content");
    rename(kRootObject, "x.tmp", kRootObject, "x");
    create(kRootObject, "link.tmp", S_IFLNK | 0777, "some target");
    rename(kRootObject, "link.tmp", kRootObject, "link");
    create(kRootObject, "fifo.tmp", S_IFIFO | 0640);
    rename(kRootObject, "fifo.tmp", kRootObject, "fifo");
    make_file(kRootObject, "empty.tmp", {});
    rename(kRootObject, "empty.tmp", make_dir(kRootObject, "d"), "empty");
    make_file(make_dir(kRootObject, "cache"), "below", "moved out");
    rename(id_of(kRootObject, "cache"), "below", kRootObject, "out");
    settle();
    expect_equal();
    EXPECT_EQ(content(*b_, "x"), "new content");
    EXPECT_EQ(content(*b_, "out"), "moved out");
    EXPECT_TRUE(
        try_rename(kRootObject, "x", kRootObject, "out", RENAME_NOREPLACE).is_errno(EEXIST));
    make_file(kRootObject, "y.tmp", "y");
    EXPECT_TRUE(
        try_rename(kRootObject, "y.tmp", kRootObject, "x", RENAME_NOREPLACE).is_errno(EEXIST));
    settle();
    expect_equal();
    EXPECT_EQ(local_names(*a_), (Names{"cache", "y.tmp"}));
}

TEST_F(ExcludeTest, NamelessFilesChangeSidesWithTheirFirstName) {
    begin_joined();
    const ObjectId cache = make_dir(kRootObject, "cache");
    const ObjectId own = create(cache, "", S_IFREG | 0600);
    EXPECT_TRUE(a_->volume().is_local(own));
    write(own, 0, "written without a name");
    link(own, kRootObject, "mirrored");
    const ObjectId both = create(kRootObject, "", S_IFREG | 0600);
    EXPECT_FALSE(a_->volume().is_local(both));
    write(both, 0, "on both");
    link(both, kRootObject, "both.tmp");
    EXPECT_TRUE(a_->volume().is_local(both));
    settle();
    expect_equal();
    EXPECT_EQ(content(*b_, "mirrored"), "written without a name");
    EXPECT_EQ(content(*b_, "both.tmp"), "missing");
    EXPECT_EQ(content(*a_, "both.tmp"), "on both");
    rename(kRootObject, "both.tmp", kRootObject, "both");
    settle();
    expect_equal();
    EXPECT_EQ(content(*b_, "both"), "on both");
}

TEST_F(ExcludeTest, WithdrawnFileLeavesTheOtherNode) {
    begin_joined();
    const ObjectId file = make_file(kRootObject, "x", "content");
    rename(kRootObject, "x", kRootObject, "x.tmp");
    EXPECT_TRUE(a_->volume().is_local(file));
    const std::uint64_t shipped = wire_->counts.frames[FrameType::op];
    write(file, 0, "CONTENT");
    EXPECT_EQ(wire_->counts.frames[FrameType::op], shipped);
    settle();
    expect_equal();
    EXPECT_EQ(content(*a_, "x.tmp"), "CONTENT");
    EXPECT_EQ(content(*b_, "x"), "missing");
    rename(kRootObject, "x.tmp", kRootObject, "x");
    settle();
    expect_equal();
    EXPECT_EQ(content(*b_, "x"), "CONTENT");
}

TEST_F(ExcludeTest, WhatWouldHaveNamesOnBothSidesIsRefused) {
    begin_joined();
    const ObjectId top = make_dir(kRootObject, "top");
    const ObjectId d = make_dir(kRootObject, "d");
    const ObjectId cache = make_dir(kRootObject, "cache");
    const ObjectId own = make_file(kRootObject, "own.tmp", "own");
    const ObjectId both = make_file(kRootObject, "both", "both");
    const auto refused = [](Status status) { return status.is_errno(EXDEV); };
    EXPECT_TRUE(refused(try_link(own, kRootObject, "name")));
    EXPECT_TRUE(refused(try_link(both, cache, "name")));
    EXPECT_TRUE(refused(try_rename(kRootObject, "own.tmp", kRootObject, "both", RENAME_EXCHANGE)));
    EXPECT_TRUE(refused(try_rename(kRootObject, "both", kRootObject, "own.tmp", RENAME_EXCHANGE)));
    EXPECT_TRUE(refused(try_rename(kRootObject, "d", cache, "d")));
    EXPECT_TRUE(refused(try_rename(kRootObject, "d", kRootObject, "d.tmp")));
    EXPECT_TRUE(refused(try_rename(kRootObject, "d", d, "cache")) ||
                refused(try_rename(kRootObject, "d", top, "cache")));
    EXPECT_TRUE(refused(try_rename(kRootObject, "cache", kRootObject, "mirrored")));
    // Below another name of `top` nothing would be excluded by /top/only, and the other way round.
    EXPECT_TRUE(refused(try_rename(kRootObject, "top", kRootObject, "other")));
    EXPECT_TRUE(refused(try_rename(kRootObject, "d", kRootObject, "top", RENAME_EXCHANGE)));
    EXPECT_TRUE(try_rename(kRootObject, "d", top, "d").ok());
    // Several names: it can't change sides with one of them.
    link(both, d, "second");
    EXPECT_TRUE(refused(try_rename(kRootObject, "both", kRootObject, "both.tmp")));
    link(own, kRootObject, "second.tmp");
    EXPECT_TRUE(refused(try_rename(kRootObject, "second.tmp", kRootObject, "second")));
    TestOp copy;
    copy.op.kind = OpKind::copy_range;
    copy.op.source = own;
    copy.op.object = both;
    copy.op.size = 3;
    EXPECT_TRUE(refused(run(copy)));
    TestOp back;
    back.op.kind = OpKind::copy_range;
    back.op.source = both;
    back.op.object = own;
    back.op.size = 3;
    EXPECT_TRUE(run(back).ok());
    make_file(top, "only", "kept here");
    EXPECT_TRUE(a_->volume().is_local(id_of(top, "only")));
    settle();
    expect_equal();
    EXPECT_EQ(content(*a_, "own.tmp"), "bot");
}

TEST_F(ExcludeTest, ALargePublicationHoldsBackItsFileAlone) {
    wire_delay_min_ = Duration::milliseconds(5);
    begin_joined();
    const ObjectId file = make_file(kRootObject, "big.tmp", text_of(64 * kMiB, 'a'));
    const ObjectId other = make_file(kRootObject, "other", "x");
    settle();
    TestOp& publication = submit(make_rename(kRootObject, "big.tmp", kRootObject, "big"));
    TestOp& held = submit_write(file, 5, "held back");
    TestOp& small = submit_write(other, 0, "goes on");
    ASSERT_TRUE(world_->run_until([&] { return small.done; }));
    EXPECT_FALSE(publication.done);
    EXPECT_FALSE(held.done);
    EXPECT_EQ(content(*b_, "other"), "goes on");
    EXPECT_EQ(content(*b_, "big"), "missing");
    ASSERT_TRUE(world_->run_until([&] { return held.done; }));
    EXPECT_TRUE(publication.done && publication.outcome.ok() && held.outcome.ok());
    settle();
    expect_equal();
}

// What is on its way to the other node, by session lost at each frame: nothing acknowledged is
// lost, whoever goes on, and what was not acknowledged is whole or absent.
TEST_F(ExcludeTest, SessionLostAtAnyFrameOfAPublication) {
    for (const bool fails_over : {false, true}) {
        for (std::uint64_t frame = 1; frame < 60; ++frame) {
            begin_joined(kSeed + frame);
            const std::string text = text_of(2 * kMiB + 100, 'a');
            make_file(kRootObject, "x", "old");
            make_file(kRootObject, "x.tmp", text);
            settle();
            wire_->cut_at = wire_->delivered + frame;
            TestOp& publication = submit(make_rename(kRootObject, "x.tmp", kRootObject, "x"));
            world_->run_until([&] { return publication.done || a_->lost; });
            const bool acknowledged = publication.done && publication.outcome.ok();
            if (fails_over) {
                take_over();
                const std::string now = content(*a_, "x");
                EXPECT_TRUE(now == text || (!acknowledged && now == "old")) << frame;
                EXPECT_EQ(content(*a_, "x.tmp"), "missing");
            } else {
                go_alone();
                ASSERT_TRUE(world_->run_until([&] { return publication.done; }));
                EXPECT_EQ(content(*a_, "x"), text) << frame;
            }
            const std::string was = content(*a_, "x");
            connect();
            ASSERT_TRUE(finish()) << frame;
            join();
            settle();
            expect_equal("frame " + std::to_string(frame));
            EXPECT_EQ(content(*b_, "x"), was) << frame;
            EXPECT_TRUE(tree_of(*a_).contains("x") && !tree_of(*b_).contains(".gemel/incoming"));
            if (HasFailure()) return;
            TearDown();
        }
    }
}

// The order of an editor: write, fsync, rename, and then the power of both fails.
TEST_F(ExcludeTest, WhatWasDurableUnderTheOldNameIsDurableOnBothUnderTheNew) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        begin_joined(kSeed + seed);
        const std::string text = text_of(300'000, 'a');
        make_file(kRootObject, "x", "old");
        sync(kNoObject);
        sync(make_file(kRootObject, "x.tmp", text));
        rename(kRootObject, "x.tmp", kRootObject, "x");
        for (Side* side : {a_.get(), b_.get()}) {
            side->node.power_cut();
            side->close();
            side->open(Uuid{});
            const std::string now = content(*side, "x");
            EXPECT_TRUE(now == text || now == "old") << side->node.name() << " " << now.size();
        }
        if (HasFailure()) return;
        TearDown();
    }
}

TEST_F(ExcludeTest, FsyncOfAPublishedFileMakesItDurableOnBoth) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        begin_joined(kSeed + seed);
        const std::string text = text_of(300'000, 'a');
        const ObjectId file = make_file(kRootObject, "x.tmp", text);
        rename(kRootObject, "x.tmp", kRootObject, "x");
        sync(file);
        for (Side* side : {a_.get(), b_.get()}) {
            side->node.power_cut();
            side->close();
            side->open(Uuid{});
            EXPECT_EQ(content(*side, "x"), text) << side->node.name();
        }
        if (HasFailure()) return;
        TearDown();
    }
}

// The node that published loses its power after the acknowledgement; its disk may have kept any
// part of what it did. The other goes on with the file, and both are equal in the end.
TEST_F(ExcludeTest, PublisherWithoutPowerTakesTheFileFromTheOther) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        begin_joined(kSeed + seed);
        const std::string text = text_of(300'000, 'a');
        make_file(kRootObject, "x.tmp", text);
        if (seed % 2 == 0) sync(kNoObject);
        if (seed % 3 == 0) world_->run_for(Duration::seconds(2));
        rename(kRootObject, "x.tmp", kRootObject, "x");
        if (seed % 5 == 0) rename(kRootObject, "x", kRootObject, "y.tmp");
        take_over(true);
        connect();
        ASSERT_TRUE(finish()) << seed;
        join();
        settle();
        expect_equal("seed " + std::to_string(seed));
        EXPECT_EQ(content(*a_, "x"), seed % 5 == 0 ? "missing" : text);
        if (HasFailure()) return;
        TearDown();
    }
}

TEST_F(ExcludeTest, DirectoryRemovedByItsOwnerGoesWithWhatTheOtherKeptInIt) {
    begin_joined();
    const ObjectId d = make_dir(kRootObject, "d");
    const ObjectId e = make_dir(kRootObject, "e");
    make_dir(kRootObject, "f");
    settle();
    plant(*b_, "d/b.tmp", "own");
    plant(*b_, "d/cache/deeper/file", "own");
    plant(*b_, "e/b.tmp", "own");
    make_file(d, "a.tmp", "own");
    TestOp early;
    early.op.kind = OpKind::remove_directory;
    early.op.parent = kRootObject;
    early.name = "d";
    EXPECT_TRUE(run(early).is_errno(ENOTEMPTY));
    unlink(d, "a.tmp");
    unlink(kRootObject, "d", true);
    // A directory may replace an empty one.
    rename(kRootObject, "f", kRootObject, "e");
    settle();
    world_->run_for(Duration::milliseconds(10));
    expect_equal();
    EXPECT_TRUE(local_names(*b_).empty());
    EXPECT_FALSE(b_->volume().exists(d) || b_->volume().exists(e));
}

TEST_F(ExcludeTest, AnExcludedDirectoryGivesWayToAMirroredFileOfItsName) {
    begin_joined();
    for (const char* path : {"cache/b", "d/cache/b", "e/cache/b", "f/cache/b"}) {
        plant(*b_, path, "own");
    }
    make_file(kRootObject, "cache", "by create");
    link(id_of(kRootObject, "cache"), make_dir(kRootObject, "g"), "cache");
    const auto made = [&](std::string_view name) { return make_dir(kRootObject, name); };
    // They have been planted past the volume: the other node can't take them for its own.
    go_alone();
    link(id_of(kRootObject, "cache"), made("d"), "cache");
    rename(id_of(kRootObject, "g"), "cache", made("e"), "cache");
    make_file(kRootObject, "x.tmp", "published");
    rename(kRootObject, "x.tmp", made("f"), "cache");
    connect();
    ASSERT_TRUE(finish());
    join();
    settle();
    expect_equal();
    EXPECT_TRUE(local_names(*b_).empty());
}

TEST_F(ExcludeTest, AResyncLeavesTheTargetsOwnAlone) {
    exclude_ = {"*.tmp", "cache/"};
    begin(kSeed, false);
    plant(*a_, "d/same", "content");
    plant(*a_, "d/a.tmp", "of a");
    plant(*a_, "cache/a", "of a");
    plant(*b_, "d/same", "content");
    plant(*b_, "d/b.tmp", "of b");
    plant(*b_, "d/superfluous", "x");
    plant(*b_, "cache/b", "of b");
    plant(*b_, "gone/b.tmp", "of b, in a directory that nobody has");
    connect(true);
    ASSERT_TRUE(finish());
    join();
    expect_equal();
    EXPECT_EQ(local_names(*a_), (Names{"cache", "cache/a", "d/a.tmp"}));
    EXPECT_EQ(local_names(*b_), (Names{"cache", "cache/b", "d/b.tmp"}));
    // A node shows its own objects whatever its role.
    const Result<Attributes> d = b_->volume().lookup(kRootObject, "d");
    ASSERT_TRUE(d.ok());
    const Result<Attributes> own = b_->volume().lookup(d->id, "b.tmp");
    ASSERT_TRUE(own.ok()) << own.status().to_string();
    EXPECT_TRUE(b_->volume().data_fd(own->id).ok());
    go_alone();
    make_file(id_of(kRootObject, "d"), "new", "x");
    make_file(id_of(kRootObject, "d"), "new.tmp", "x");
    connect();
    ASSERT_TRUE(finish());
    join();
    expect_equal();
    EXPECT_EQ(content(*b_, "d/b.tmp"), "of b");
    // Serving, the other node publishes what is its own, under an id that holds everywhere.
    take_over();
    const ObjectId published = id_of(id_of(kRootObject, "d"), "b.tmp");
    EXPECT_NE(published, own->id);
    rename(id_of(kRootObject, "d"), "b.tmp", kRootObject, "b");
    connect();
    ASSERT_TRUE(finish());
    join();
    expect_equal();
    EXPECT_EQ(content(*b_, "b"), "of b");
    EXPECT_EQ(content(*b_, "d/a.tmp"), "of a");
}

// Random ops on a tree in which many names are excluded; sessions that are lost at random,
// failovers and power cuts of the node that lost.
TEST_F(ExcludeTest, RandomOpsLeaveEqualMirroredTrees) {
    const char* seeds = std::getenv("GEMEL_SEEDS");
    const std::uint64_t last = seeds == nullptr ? 60 : std::strtoull(seeds, nullptr, 10);
    for (std::uint64_t seed = 1; seed <= last; ++seed) {
        exclude_ = {"a", "b/", "/c/d", "e/**/c"};
        begin(kSeed + seed, seed % 3 != 0);
        random_ops(60);
        for (int round = 0; round < 4; ++round) {
            connect();
            if (world_->prng().one_in(3)) wire_->cut_at = 1 + world_->prng().below(150);
            random_ops_meanwhile(40, Duration::milliseconds(2));
            world_->run_until([&] { return (a_->complete && ops_to_come_ == 0) || a_->lost; });
            if (!a_->lost) {
                wire_->cut_at = 0;
                ASSERT_TRUE(finish()) << seed;
                join();
                settle();
                expect_equal("seed " + std::to_string(seed) + " round " + std::to_string(round));
                if (HasFailure()) return;
                if (world_->prng().one_in(2)) {
                    wire_->cut_at = wire_->delivered + 1 + world_->prng().below(120);
                }
                random_ops_meanwhile(40, Duration::milliseconds(1));
                ASSERT_TRUE(world_->run_until([&] { return a_->lost || is_quiet(); }));
                if (!a_->lost) expect_equal("joined, seed " + std::to_string(seed));
                if (HasFailure()) return;
                if (world_->prng().one_in(2)) {
                    orphans_.clear();
                    ops_to_come_ = 0;
                    take_over(world_->prng().one_in(2));
                    random_ops(20);
                    continue;
                }
            }
            go_alone();
            ops_to_come_ = 0;
            ASSERT_TRUE(world_->run_until([&] { return ops_.back()->done; }));
            if (world_->prng().one_in(3)) {
                b_->node.power_cut();
                b_->close();
                b_->open(Uuid{});
            }
            random_ops(20);
        }
        orphans_.clear();
        memory_ = {};
        ops_to_come_ = 0;
        TearDown();
    }
}

}  // namespace gemel::resync_test
