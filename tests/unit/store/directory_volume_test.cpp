// SPDX-License-Identifier: Apache-2.0
// Opening, identity and reading.
#include "engine/store/identity.hpp"
#include "engine/store/object_index.hpp"
#include "tests/unit/store/volume_fixture.hpp"

#include <set>
#include <string>
#include <sys/stat.h>

namespace gemel::volume_test {
namespace {

class DirectoryVolumeTest : public VolumeTest {
   protected:
    // Descriptor of something in side 0's tree, beside the volume; `path` is a chain of names.
    ScopedFd foreign(std::initializer_list<std::string_view> path, int flags = O_PATH) {
        Result<Fd> fd = vfs().open_directory(sides_[0].root);
        EXPECT_TRUE(fd.ok());
        ScopedFd current(vfs(), fd.value());
        for (const std::string_view name : path) {
            fd = vfs().open_at(current.get(), name, flags, 0644);
            EXPECT_TRUE(fd.ok()) << name << ": " << fd.status().to_string();
            if (!fd.ok()) return {};
            current = ScopedFd(vfs(), fd.value());
        }
        return current;
    }
    std::set<std::string> listing(DirectoryVolume& volume, ObjectId directory, std::size_t batch) {
        std::set<std::string> names;
        std::uint64_t position = 0;
        for (;;) {
            std::vector<ListedEntry> entries;
            const Status status = volume.list(directory, position, batch, entries);
            EXPECT_TRUE(status.ok()) << status.to_string();
            if (entries.empty()) return names;
            EXPECT_LE(entries.size(), batch);
            for (const ListedEntry& entry : entries) {
                EXPECT_TRUE(names.insert(entry.name).second) << entry.name << " listed twice";
            }
            position = entries.back().next;
        }
    }
};

TEST_P(DirectoryVolumeTest, ARootOfAnotherVolumeIsForeign) {
    sides_[0].volume.reset();
    EXPECT_EQ(open(sides_[0], Uuid{{1}}).status().code(), Code::foreign);
    const ScopedFd root = foreign({});
    const Result<Uuid> id = DirectoryVolume::volume_id_of(vfs(), root.get());
    ASSERT_TRUE(id.ok());
    EXPECT_EQ(id.value(), id_);
    // Without an id asked for, the root's is taken over.
    Result<std::unique_ptr<DirectoryVolume>> opened = open(sides_[0], {});
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(opened.value()->id(), id_);
    EXPECT_FALSE(opened.value()->was_restored());
}

TEST_P(DirectoryVolumeTest, AnUnmarkedRootIsRefusedWithoutAnIdAndMarkedWithOne) {
    const ScopedFd base(vfs(), vfs().open_directory(world_->directory()).value());
    ASSERT_TRUE(vfs().make_directory(base.get(), "fresh", 0755).ok());
    Side side{world_->directory() + "/fresh", sides_[0].state, nullptr};
    EXPECT_EQ(open(side, {}).status().code(), Code::refused);
    const ScopedFd root(vfs(), vfs().open_directory(side.root).value());
    EXPECT_TRUE(DirectoryVolume::volume_id_of(vfs(), root.get()).value().is_none());
    EXPECT_TRUE(open(side, Uuid{{7}}).ok());
    EXPECT_EQ(DirectoryVolume::volume_id_of(vfs(), root.get()).value(), (Uuid{{7}}));
}

TEST_P(DirectoryVolumeTest, ACopiedRootIsNoVolumeAndARestoredOneSaysSo) {
    const ScopedFd base(vfs(), vfs().open_directory(world_->directory()).value());
    ASSERT_TRUE(vfs().make_directory(base.get(), "copy", 0755).ok());
    Side side{world_->directory() + "/copy", sides_[0].state, nullptr};
    const ScopedFd root(vfs(), vfs().open_directory(side.root).value());
    const Result<Identity> original = read_identity(vfs(), foreign({}).get());
    ASSERT_TRUE(original.ok());
    ASSERT_TRUE(write_identity(vfs(), root.get(), original.value()).ok());
    EXPECT_TRUE(DirectoryVolume::volume_id_of(vfs(), root.get()).value().is_none());
    sides_[0].volume.reset();
    const Result<std::unique_ptr<DirectoryVolume>> opened = open(side, id_);
    ASSERT_TRUE(opened.ok());
    EXPECT_TRUE(opened.value()->was_restored());
}

TEST_P(DirectoryVolumeTest, IdsOutliveRenamesAndRestarts) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    const ObjectId file = make_file(dir, "file", "content");
    ASSERT_TRUE(rename(dir, "file", kRootObject, "moved").ok());
    reopen(0);
    EXPECT_EQ(a().lookup(kRootObject, "moved")->id, file);
    EXPECT_EQ(a().lookup(kRootObject, "dir")->id, dir);
    EXPECT_EQ(content(a(), file), "content");
    EXPECT_TRUE(a().exists(dir));
    EXPECT_FALSE(a().exists(ObjectId::make(kTag, 4711)));
}

TEST_P(DirectoryVolumeTest, ACopyOfAnObjectWithItsAttributesIsANewObject) {
    const ObjectId file = make_file(kRootObject, "file", "x");
    const ScopedFd root = foreign({});
    const ScopedFd copy(vfs(), vfs().open_at(root.get(), "copy", O_CREAT | O_RDWR, 0644).value());
    const Result<Identity> stolen = read_identity(vfs(), foreign({"file"}).get());
    ASSERT_TRUE(stolen.ok());
    ASSERT_TRUE(write_identity(vfs(), copy.get(), stolen.value()).ok());
    EXPECT_TRUE(a().lookup_raw(kRootObject, "copy")->id.is_none());
    const ObjectId copied = a().lookup(kRootObject, "copy")->id;
    EXPECT_NE(copied, file);
    EXPECT_FALSE(copied.is_none());
    EXPECT_EQ(a().lookup(kRootObject, "file")->id, file);
    EXPECT_EQ(a().lookup(kRootObject, "copy")->id, copied);
}

TEST_P(DirectoryVolumeTest, ForeignNamesGetIdsOnlyWhileServing) {
    const ScopedFd root = foreign({});
    for (const char* name : {"one", "two"}) {
        vfs().close(vfs().open_at(root.get(), name, O_CREAT | O_RDWR, 0644).value());
    }
    a().set_allotment(0, 0);
    EXPECT_EQ(a().lookup(kRootObject, "one").status().code(), Code::corrupt);
    std::vector<ListedEntry> entries;
    ASSERT_TRUE(a().list(kRootObject, 0, 10, entries).ok());
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_TRUE(entries[0].id.is_none() && entries[1].id.is_none());
    a().set_allotment(kTag, 100);
    entries.clear();
    ASSERT_TRUE(a().list(kRootObject, 0, 10, entries).ok());
    EXPECT_FALSE(entries[0].id.is_none() || entries[1].id.is_none());
    EXPECT_NE(entries[0].id, entries[1].id);
    EXPECT_EQ(a().lookup(kRootObject, entries[0].name)->id, entries[0].id);
    EXPECT_EQ(a().next_id(), ObjectId::make(kTag, 102));
}

TEST_P(DirectoryVolumeTest, AnotherVolumesIdMakesEveryOldOneVoid) {
    const ObjectId file = make_file(kRootObject, "file", "x");
    ASSERT_TRUE(a().adopt_volume_id(Uuid{{5, 5}}).ok());
    EXPECT_EQ(a().id(), (Uuid{{5, 5}}));
    EXPECT_FALSE(a().exists(file));
    EXPECT_TRUE(a().lookup_raw(kRootObject, "file")->id.is_none());
    a().set_allotment(0, 0);
    EXPECT_EQ(a().lookup(kRootObject, "file").status().code(), Code::corrupt);
    ASSERT_TRUE(a().adopt(kRootObject, "file", ObjectId::make(9, 99)).ok());
    EXPECT_EQ(a().lookup(kRootObject, "file")->id, ObjectId::make(9, 99));
    id_ = Uuid{{5, 5}};
    reopen(0);
    EXPECT_EQ(content(a(), ObjectId::make(9, 99)), "x");
}

TEST_P(DirectoryVolumeTest, TheIndexIsRebuiltAfterACrashOfTheMachine) {
    ObjectId dir = make_dir(kRootObject, "dir");
    const ObjectId top = dir;
    for (int i = 0; i < 30; ++i) dir = make_dir(dir, "deeper");
    const ObjectId file = make_file(dir, "file", "deep");
    const ObjectId orphan = make_file(kRootObject, "orphan", "open");
    ASSERT_TRUE(unlink(kRootObject, "orphan", true).ok());
    sides_[0].volume.reset();
    // The index is gone, and so is the note that it was complete.
    const ScopedFd state(vfs(), vfs().open_directory(sides_[0].state).value());
    ASSERT_TRUE(vfs().rename(state.get(), "index", state.get(), "lost", 0).ok());
    reopen(0);
    EXPECT_EQ(content(a(), file), "deep");
    EXPECT_TRUE(a().exists(top));
    EXPECT_EQ(content(a(), orphan), "open");
    EXPECT_EQ(a().attributes(orphan)->stat.link_count, 0U);
}

TEST_P(DirectoryVolumeTest, ALookupRepairsTheIndex) {
    const ObjectId file = make_file(kRootObject, "file", "x");
    sides_[0].volume.reset();
    const ScopedFd index(
        vfs(),
        vfs().open_directory(sides_[0].state + "/index/09080706000000000000000000000000").value());
    ASSERT_TRUE(vfs().unlink(index.get(), "000005", false).ok());
    reopen(0);
    EXPECT_TRUE(a().attributes(file).status().is_errno(ESTALE));
    EXPECT_EQ(a().lookup(kRootObject, "file")->id, file);
    EXPECT_TRUE(a().attributes(file).ok());
}

TEST_P(DirectoryVolumeTest, ADamagedRecordHasTheIndexRebuilt) {
    const ObjectId file = make_file(kRootObject, "file", "x");
    const ObjectId other = make_file(kRootObject, "other", "y");
    const ObjectId orphan = make_file(kRootObject, "orphan", "open");
    ASSERT_TRUE(unlink(kRootObject, "orphan", true).ok());
    sides_[0].volume.reset();
    const ScopedFd index(
        vfs(),
        vfs().open_directory(sides_[0].state + "/index/09080706000000000000000000000000").value());
    {
        const ScopedFd records(vfs(), vfs().open_at(index.get(), "000005", O_RDWR, 0).value());
        for (const ObjectId id : {file, other, orphan}) {
            const std::byte flipped{0x55};
            const std::uint64_t at = id.sequence() * ObjectIndex::kRecordSize + 20;
            ASSERT_TRUE(vfs().pwrite(records.get(), {&flipped, 1}, at).ok());
        }
    }
    reopen(0);
    EXPECT_TRUE(a().exists(file));
    EXPECT_EQ(content(a(), other), "y");
    EXPECT_EQ(content(a(), orphan), "open");
    EXPECT_TRUE(a().attributes(ObjectId::make(5, 4000)).status().is_errno(ESTALE));
}

TEST_P(DirectoryVolumeTest, WhatACrashLeftInStagingIsRemovedAtOpen) {
    sides_[0].volume.reset();
    {
        const ScopedFd staging = foreign({".gemel", "staging"}, O_RDONLY | O_DIRECTORY);
        ASSERT_TRUE(vfs().make_directory(staging.get(), "0000050000000010", 0700).ok());
        const ScopedFd inner(vfs(),
                             vfs().open_at(staging.get(), "0000050000000010", O_RDONLY, 0).value());
        ASSERT_TRUE(vfs().make_directory(inner.get(), "x", 0700).ok());
        ASSERT_TRUE(vfs().make_symlink(staging.get(), "link", as_bytes("x")).ok());
    }
    reopen(0);
    EXPECT_TRUE(private_names(0, "staging").empty());
}

TEST_P(DirectoryVolumeTest, OpeningLeavesTheRootsTimesAndShowsAnEmptyVolume) {
    EXPECT_EQ(a().attributes(kRootObject)->stat.modified, (WallTime{1'600'000'000, 5}));
    EXPECT_TRUE(a().is_empty().value());
    EXPECT_TRUE(listing(a(), kRootObject, 10).empty());
    EXPECT_EQ(a().attributes(kRootObject)->stat.link_count, 2U);
    make_dir(kRootObject, "dir");
    EXPECT_FALSE(a().is_empty().value());
    EXPECT_EQ(a().attributes(kRootObject)->stat.link_count, 3U);
}

TEST_P(DirectoryVolumeTest, ListingsOfEveryBatchSizeAreWhole) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    std::set<std::string> expected;
    for (int i = 0; i < 57; ++i) {
        const std::string name = "name-" + std::to_string(i);
        make_file(dir, name);
        expected.insert(name);
    }
    for (const std::size_t batch : {1U, 2U, 7U, 56U, 57U, 1000U}) {
        EXPECT_EQ(listing(a(), dir, batch), expected) << batch;
    }
    const ObjectId file = make_file(kRootObject, "file");
    std::vector<ListedEntry> entries;
    EXPECT_TRUE(a().list(file, 0, 10, entries).is_errno(ENOTDIR));
    EXPECT_TRUE(a().lookup(file, "x").status().is_errno(ENOTDIR));
}

TEST_P(DirectoryVolumeTest, PrivateAttributesAreNeitherListedReadNorSet) {
    const ObjectId file = make_file(kRootObject, "file");
    ASSERT_TRUE(set_xattr(file, "user.visible", "1").ok());
    EXPECT_EQ(a().list_xattrs(file).value(), std::vector<std::string>{"user.visible"});
    std::array<std::byte, 100> buffer;
    EXPECT_TRUE(a().get_xattr(file, kIdentityAttribute, buffer).status().is_errno(ENODATA));
    Op request = op(OpKind::set_xattr);
    request.object = file;
    request.name = kIdentityAttribute;
    request.data = as_bytes("x");
    EXPECT_TRUE(only_a(request).is_errno(EPERM));
    request.kind = OpKind::remove_xattr;
    EXPECT_TRUE(only_a(request).is_errno(EPERM));
    EXPECT_EQ(a().full_attributes(file)->xattrs.size(), 1U);
}

// Objects are reached by id while their descriptors are thrown out all the time.
TEST_P(DirectoryVolumeTest, FewDescriptorsSufficeForManyObjects) {
    sides_[0].volume.reset();
    sides_[0].volume = std::move(open(sides_[0], id_, 4).value());
    a().set_allotment(kTag, kFirstObject.value);
    bool failed = false;
    a().set_writeback_failure_handler([&](Status) { failed = true; });
    std::vector<ObjectId> files;
    for (int i = 0; i < 30; ++i) {
        files.push_back(make_file(kRootObject, std::to_string(i), "content " + std::to_string(i)));
    }
    EXPECT_TRUE(a().wants_sync());
    const Result<Fd> pinned = a().pin(files[3]);
    ASSERT_TRUE(pinned.ok());
    for (std::size_t i = 0; i < files.size(); ++i) {
        EXPECT_EQ(content(a(), files[i]), "content " + std::to_string(i));
    }
    EXPECT_EQ(a().pin(files[3]).value(), pinned.value());
    a().unpin(files[3]);
    a().unpin(files[3]);
    EXPECT_FALSE(failed);
    a().names_synced(a().sync_mark());
    EXPECT_FALSE(a().wants_sync());
    expect_equal_trees();
}

TEST_P(DirectoryVolumeTest, ReadingWhatIsNotAFile) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    const ObjectId fifo = create(kRootObject, "fifo", S_IFIFO | 0600);
    const ObjectId link = create(kRootObject, "link", S_IFLNK | 0777, as_bytes("to/here"));
    EXPECT_TRUE(a().data_fd(dir).status().is_errno(EISDIR));
    EXPECT_TRUE(a().data_fd(fifo).status().is_errno(EINVAL));
    EXPECT_TRUE(a().data_fd(link).status().is_errno(EINVAL));
    EXPECT_TRUE(a().data_fd(kRootObject).status().is_errno(EISDIR));
    EXPECT_EQ(as_text(a().read_link(link).value()), "to/here");
    EXPECT_TRUE(a().attributes(kNoObject).status().is_errno(ENOENT));
}

TEST_P(DirectoryVolumeTest, ASyncPlanFollowsNewNamesUpwardsUntilTheyAreSynced) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    const ObjectId sub = make_dir(dir, "sub");
    const ObjectId other = make_dir(kRootObject, "other");
    const ObjectId file = make_file(sub, "file", "x");
    ASSERT_TRUE(link(file, other, "second").ok());
    Result<DirectoryVolume::SyncPlan> plan = a().plan_sync(file);
    ASSERT_TRUE(plan.ok());
    // The file, sub, dir, other and the root.
    EXPECT_EQ(plan->files.size(), 5U);
    EXPECT_EQ(plan->pinned.size(), 4U);
    for (const Fd fd : plan->files) EXPECT_TRUE(vfs().sync(fd, false).ok());
    ASSERT_TRUE(link(file, dir, "third").ok());  // while the sync was under way
    a().finish_sync(plan.value(), Status());
    plan = a().plan_sync(file);
    EXPECT_EQ(plan->files.size(), 2U);  // the file and dir
    a().finish_sync(plan.value(), Status::from_errno(EIO));
    plan = a().plan_sync(file);
    EXPECT_EQ(plan->files.size(), 2U);
    a().finish_sync(plan.value(), Status());
    plan = a().plan_sync(file);
    EXPECT_EQ(plan->files.size(), 1U);
    a().finish_sync(plan.value(), Status());

    const std::uint64_t mark = a().sync_mark();
    const ObjectId late = make_file(other, "late");
    a().names_synced(mark);
    plan = a().plan_sync(late);
    EXPECT_EQ(plan->files.size(), 2U);
    a().finish_sync(plan.value(), Status());
    ASSERT_TRUE(rename(other, "late", sub, "later").ok());
    ASSERT_TRUE(remove_directory(kRootObject, "other").is_errno(ENOTEMPTY));
    plan = a().plan_sync(late);
    EXPECT_EQ(plan->files.size(), 2U);
    a().finish_sync(plan.value(), Status());
}

INSTANTIATE_TEST_SUITE_P(Worlds, DirectoryVolumeTest, testing::ValuesIn(all_worlds()), world_name);

}  // namespace
}  // namespace gemel::volume_test
