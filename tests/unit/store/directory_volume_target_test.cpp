// SPDX-License-Identifier: Apache-2.0
// What a resync's target does with its tree: skeletons, adoption, names taken away and put back.
#include "tests/unit/store/volume_fixture.hpp"

#include <algorithm>
#include <linux/fs.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace gemel::volume_test {
namespace {

class DirectoryVolumeTarget : public VolumeTest {
   protected:
    // Gives b() the object by way of a skeleton and its full attributes, as a resync does.
    void transfer(ObjectId id, ObjectId parent, std::string_view name) {
        const Result<DirectoryVolume::FullAttributes> attributes = a().full_attributes(id);
        ASSERT_TRUE(attributes.ok());
        ByteBuffer target;
        if (S_ISLNK(attributes->stat.mode)) target = std::move(a().read_link(id).value());
        ASSERT_TRUE(b().make_skeleton(id, attributes->stat.mode & S_IFMT,
                                      attributes->stat.special_device, target)
                        .ok());
        const Status placed = b().place(id, parent, name);
        ASSERT_TRUE(placed.ok()) << placed.to_string();
        const Status set = b().set_full_attributes(id, attributes.value());
        ASSERT_TRUE(set.ok()) << set.to_string();
    }
    ObjectId create_on_a(ObjectId parent, std::string_view name, std::uint32_t mode) {
        Op request = op(OpKind::create);
        request.parent = parent;
        request.name = name;
        request.mode = mode;
        request.uid = 55;
        request.gid = 66;
        request.data = S_ISLNK(mode) ? as_bytes("elsewhere") : Bytes();
        request.special_device = S_ISCHR(mode) ? 0x103 : 0;
        EXPECT_TRUE(only_a(request).ok());
        return request.object;
    }
    // detached/ is empty at once, and in the end nothing is left of what was in it.
    void discard_detached() {
        ASSERT_TRUE(b().discard_detached().ok());
        EXPECT_TRUE(private_names(1, "detached").empty());
        world_->pass(Duration::milliseconds(200));
        EXPECT_TRUE(private_names(1, "staging").empty());
    }
    void set_root_times() {
        const auto attributes = a().full_attributes(kRootObject);
        ASSERT_TRUE(attributes.ok());
        ASSERT_TRUE(b().set_full_attributes(kRootObject, attributes.value()).ok());
    }
};

TEST_P(DirectoryVolumeTarget, SkeletonsBecomeEqualObjectsOfEveryType) {
    const std::uint32_t modes[] = {S_IFREG | 06755, S_IFDIR | 03775, S_IFLNK | 0777,
                                   S_IFIFO | 0620,  S_IFSOCK | 0600, S_IFCHR | 0444};
    int number = 0;
    for (const std::uint32_t mode : modes) {
        const std::string name = std::to_string(number++);
        const ObjectId id = create_on_a(kRootObject, name, mode);
        if (S_ISREG(mode)) {
            Op request = op(OpKind::set_xattr);
            request.object = id;
            request.name = "user.x";
            request.data = as_bytes("value");
            ASSERT_TRUE(only_a(request).ok());
            request = op(OpKind::truncate);
            request.object = id;
            request.size = 12345;
            ASSERT_TRUE(only_a(request).ok());
        }
        transfer(id, kRootObject, name);
    }
    set_root_times();
    expect_equal_trees();
    EXPECT_TRUE(private_names(1, "detached").empty());
}

TEST_P(DirectoryVolumeTarget, FullAttributesTakeAwayWhatTheSourceDoesNotHave) {
    const ObjectId file = make_file(kRootObject, "file", std::string(5000, 'x'));
    Op request = op(OpKind::set_xattr);
    request.object = file;
    request.name = "user.only-b";
    request.data = as_bytes("1");
    ASSERT_TRUE(b().execute(request).ok());
    request = op(OpKind::truncate);
    request.object = file;
    request.size = 90'000;
    ASSERT_TRUE(b().execute(request).ok());
    const auto attributes = a().full_attributes(file);
    ASSERT_TRUE(b().set_full_attributes(file, attributes.value()).ok());
    expect_equal_trees();
    // Another type under this id can't be made equal by attributes.
    const auto wrong = a().full_attributes(kRootObject);
    EXPECT_EQ(b().set_full_attributes(file, wrong.value()).code(), Code::corrupt);
}

TEST_P(DirectoryVolumeTarget, DetachedObjectsComeBackUnderOtherNames) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    const ObjectId inner = make_file(dir, "inner", "i");
    const ObjectId file = make_file(kRootObject, "file", "f");
    ASSERT_TRUE(link(file, dir, "second").ok());
    ASSERT_TRUE(b().detach(kRootObject, "file").ok());
    EXPECT_TRUE(private_names(1, "detached").empty());  // it had another name
    ASSERT_TRUE(b().detach(kRootObject, "dir").ok());
    EXPECT_EQ(private_names(1, "detached").size(), 1U);
    EXPECT_TRUE(b().detach(kRootObject, "dir").is_errno(ENOENT));
    // From inside the detached tree, and the tree itself.
    ASSERT_TRUE(b().place(file, kRootObject, "moved-file").ok());
    ASSERT_TRUE(b().place(inner, kRootObject, "moved-inner").ok());
    ASSERT_TRUE(b().place(dir, kRootObject, "moved-dir").ok());
    EXPECT_TRUE(b().place(dir, kRootObject, "moved-dir").ok());
    EXPECT_TRUE(b().place(file, kRootObject, "moved-file").ok());
    EXPECT_TRUE(b().place(file, kRootObject, "moved-dir").is_errno(EEXIST));
    EXPECT_EQ(content(b(), inner), "i");
    EXPECT_EQ(content(b(), file), "f");
    EXPECT_TRUE(private_names(1, "detached").empty());
    const Tree after = tree(1);
    EXPECT_TRUE(after.contains("moved-dir/second") && after.contains("moved-inner"));
    EXPECT_EQ(b().parent_of(dir).value(), kRootObject);
}

TEST_P(DirectoryVolumeTarget, ADirectoryInItsOwnWayIsDetachedFirst) {
    const ObjectId outer = make_dir(kRootObject, "outer");
    const ObjectId inner = make_dir(outer, "inner");
    // The source has inner/outer now.
    EXPECT_TRUE(b().place(outer, inner, "outer").is_errno(EINVAL));
    ASSERT_TRUE(b().detach(outer, "inner").ok());
    ASSERT_TRUE(b().place(inner, kRootObject, "inner").ok());
    ASSERT_TRUE(b().place(outer, inner, "outer").ok());
    EXPECT_TRUE(tree(1).contains("inner/outer"));
}

TEST_P(DirectoryVolumeTarget, AnOlderCopyIsAdoptedByPath) {
    b().set_allotment(0, 0);
    make_file(kRootObject, "file", "same");
    ASSERT_TRUE(b().adopt_volume_id(Uuid{{1, 1}}).ok());
    const ObjectId id = ObjectId::make(3, 33);
    ASSERT_TRUE(b().adopt(kRootObject, "file", id).ok());
    ASSERT_TRUE(b().adopt(kRootObject, "file", id).ok());
    EXPECT_EQ(b().lookup(kRootObject, "file")->id, id);
    EXPECT_EQ(content(b(), id), "same");
    // An id is one inode's; an inode of two names is one object.
    ASSERT_TRUE(b().make_skeleton(ObjectId::make(3, 34), S_IFREG, 0, {}).ok());
    EXPECT_TRUE(b().adopt(kRootObject, "file", ObjectId::make(3, 34)).is_errno(EEXIST));
    ASSERT_TRUE(b().place(id, kRootObject, "second").ok());
    EXPECT_TRUE(b().adopt(kRootObject, "second", ObjectId::make(3, 35)).is_errno(EEXIST));
    EXPECT_TRUE(b().make_skeleton(id, S_IFREG, 0, {}).is_errno(EEXIST));
}

TEST_P(DirectoryVolumeTarget, AnIdGivenAnewLeavesNoWayBackByTheOldOne) {
    const ObjectId old_id = make_file(kRootObject, "file", "x");
    const ObjectId new_id = ObjectId::make(8, 80);
    ASSERT_TRUE(b().adopt(kRootObject, "file", new_id).ok());
    EXPECT_FALSE(b().exists(old_id));
    EXPECT_TRUE(b().exists(new_id));
    sides_[1].volume.reset();
    reopen(1);
    EXPECT_FALSE(b().exists(old_id));
    EXPECT_EQ(content(b(), new_id), "x");
}

TEST_P(DirectoryVolumeTarget, NamesWithoutAnIdAreDetachedToo) {
    Result<Fd> fd = vfs().open_directory(sides_[1].root);
    ASSERT_TRUE(fd.ok());
    const ScopedFd root(vfs(), fd.value());
    ASSERT_TRUE(vfs().make_directory(root.get(), "foreign", 0755).ok());
    vfs().close(vfs().open_at(root.get(), "file", O_CREAT | O_RDWR, 0644).value());
    ASSERT_TRUE(b().detach(kRootObject, "foreign").ok());
    ASSERT_TRUE(b().detach(kRootObject, "file").ok());
    EXPECT_EQ(private_names(1, "detached").size(), 2U);
    discard_detached();
    EXPECT_TRUE(b().is_empty().value());
}

TEST_P(DirectoryVolumeTarget, DiscardingRemovesTreesOfAnyDepthAndForgetsThem) {
    ObjectId dir = make_dir(kRootObject, "top");
    const ObjectId top = dir;
    for (int depth = 0; depth < 300; ++depth) {
        dir = make_dir(dir, "down");
        if (depth % 50 == 0) make_file(dir, "file", "x");
    }
    const ObjectId bottom = make_file(dir, "bottom", "x");
    ASSERT_TRUE(b().detach(kRootObject, "top").ok());
    discard_detached();
    EXPECT_FALSE(b().exists(top));
    EXPECT_FALSE(b().exists(bottom));
    const ObjectId orphan = make_file(kRootObject, "orphan", "x");
    ASSERT_TRUE(unlink(kRootObject, "orphan", true).ok());
    ASSERT_TRUE(b().empty_directory(kOrphanDirectory).ok());
    EXPECT_FALSE(b().exists(orphan));
}

TEST_P(DirectoryVolumeTarget, WhatIsDetachedWhileTheOldIsDiscardedStays) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    std::vector<ObjectId> inner;
    for (int i = 0; i < 500; ++i) inner.push_back(make_file(dir, std::to_string(i), "x"));
    const ObjectId other = make_file(kRootObject, "other", "o");
    ASSERT_TRUE(b().detach(kRootObject, "dir").ok());
    ASSERT_TRUE(b().discard_detached().ok());
    const auto left = [&] {
        return std::count_if(inner.begin(), inner.end(),
                             [&](ObjectId id) { return b().exists(id); });
    };
    EXPECT_EQ(left(), 500);  // removed turn by turn
    ASSERT_TRUE(b().detach(kRootObject, "other").ok());
    ASSERT_TRUE(b().make_skeleton(ObjectId::make(9, 1), S_IFREG, 0, {}).ok());
    EXPECT_EQ(private_names(1, "detached").size(), 2U);
    world_->pass(Duration::milliseconds(200));
    EXPECT_EQ(left(), 0);
    EXPECT_TRUE(private_names(1, "staging").empty());
    ASSERT_TRUE(b().place(other, kRootObject, "back").ok());
    EXPECT_EQ(content(b(), other), "o");
    discard_detached();
    EXPECT_TRUE(b().exists(other));
}

// The process ends at some moment; nothing of what was discarded is left after the next start.
TEST_P(DirectoryVolumeTarget, TheNextStartRemovesWhatWasBeingDiscarded) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    for (int i = 0; i < 300; ++i) make_file(dir, std::to_string(i), "x");
    ASSERT_TRUE(b().detach(kRootObject, "dir").ok());
    ASSERT_TRUE(b().discard_detached().ok());
    sides_[1].volume.reset();
    EXPECT_EQ(private_names(1, "staging").size(), 1U);
    reopen(1);
    EXPECT_TRUE(private_names(1, "staging").empty());
    EXPECT_FALSE(b().exists(dir));
}

class DirectoryVolumeTargetFlags : public DirectoryVolumeTarget {
   protected:
    // As chattr(1) does, beside the volume.
    void set_immutable(ObjectId file, bool immutable) {
        const Result<Fd> fd = b().data_fd(file);
        ASSERT_TRUE(fd.ok());
        int flags = 0;
        ASSERT_EQ(::ioctl(fd->value, FS_IOC_GETFLAGS, &flags), 0);
        flags = immutable ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
        ASSERT_EQ(::ioctl(fd->value, FS_IOC_SETFLAGS, &flags), 0);
    }
};

// Somebody has changed it on this node alone. Everything else goes, and the volume can be opened.
TEST_P(DirectoryVolumeTargetFlags, AnImmutableFileIsLeftAndStopsNothing) {
    const ObjectId top = make_dir(kRootObject, "top");
    const ObjectId dir = make_dir(top, "dir");
    const ObjectId file = make_file(dir, "file", "x");
    std::vector<ObjectId> others;
    for (int i = 0; i < 600; ++i) others.push_back(make_dir(top, std::to_string(i)));
    set_immutable(file, true);
    ASSERT_TRUE(b().detach(kRootObject, "top").ok());
    ASSERT_TRUE(b().discard_detached().ok());
    world_->pass(Duration::milliseconds(200));
    for (const ObjectId other : others) EXPECT_FALSE(b().exists(other));
    EXPECT_FALSE(b().exists(top));
    EXPECT_TRUE(b().exists(file));
    EXPECT_EQ(private_names(1, "staging").size(), 1U);
    ASSERT_FALSE(log_.lines.empty());
    EXPECT_NE(log_.lines.back().find("immutable"), std::string::npos);
    // What is discarded later goes all the same.
    const ObjectId next = make_dir(kRootObject, "next");
    ASSERT_TRUE(b().detach(kRootObject, "next").ok());
    ASSERT_TRUE(b().discard_detached().ok());
    world_->pass(Duration::milliseconds(200));
    EXPECT_FALSE(b().exists(next));
    sides_[1].volume.reset();
    reopen(1);
    EXPECT_EQ(private_names(1, "staging").size(), 1U);
    set_immutable(file, false);
    sides_[1].volume.reset();
    reopen(1);
    EXPECT_TRUE(private_names(1, "staging").empty());
}

INSTANTIATE_TEST_SUITE_P(Posix, DirectoryVolumeTargetFlags,
                         testing::Values(WorldKind{"posix", make_posix_world}), world_name);
INSTANTIATE_TEST_SUITE_P(Worlds, DirectoryVolumeTarget, testing::ValuesIn(all_worlds()),
                         world_name);

}  // namespace
}  // namespace gemel::volume_test
