// SPDX-License-Identifier: Apache-2.0
// Every kind of op executed on one volume and applied on another, then both trees compared whole:
// types, modes, owners, times, attributes, ACLs, content, holes, links, ids.
#include "engine/store/posix_acl.hpp"
#include "tests/unit/store/volume_fixture.hpp"

#include <algorithm>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string>
#include <sys/stat.h>

namespace gemel::volume_test {
namespace {

class DirectoryVolumeMirror : public VolumeTest {
   protected:
    Status truncate(ObjectId object, std::uint64_t size) {
        Op request = op(OpKind::truncate);
        request.object = object;
        request.size = size;
        request.modified = {1'700'000'200, 7};
        return both(request);
    }
    Status allocate(ObjectId object, std::uint32_t mode, std::uint64_t offset, std::uint64_t size) {
        Op request = op(OpKind::allocate);
        request.object = object;
        request.flags = mode;
        request.offset = offset;
        request.size = size;
        request.modified = {1'700'000'300, 8};
        return both(request);
    }
    Status set_attributes(ObjectId object, unsigned mask) {
        Op request = op(OpKind::set_attributes);
        request.object = object;
        request.mask = static_cast<std::uint8_t>(mask);
        request.mode = 06751;
        request.uid = 4321;
        request.gid = 1234;
        request.accessed = {1'500'000'000, 999'999'999};
        request.modified = {-5, 1};
        return both(request);
    }
    FileStat stat(ObjectId object) {
        const Result<Attributes> attributes = a().attributes(object);
        EXPECT_TRUE(attributes.ok());
        return attributes.ok() ? attributes->stat : FileStat{};
    }
};

TEST_P(DirectoryVolumeMirror, CreatesOfEveryType) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    make_file(dir, "file", "content");
    create(dir, "link", S_IFLNK | 0777, as_bytes("../somewhere/else"));
    create(dir, "fifo", S_IFIFO | 0640);
    create(dir, "socket", S_IFSOCK | 0600);
    create(dir, "block", S_IFBLK | 0660);
    create(dir, "char", S_IFCHR | 0666);
    create(dir, "set-id", S_IFREG | 06755);
    create(dir, "sticky", S_IFDIR | 01777);
    expect_equal_trees();
    EXPECT_EQ(tree(0).size(), 10U);
    EXPECT_EQ(tree(0)["dir/sticky"].stat.mode, static_cast<std::uint32_t>(S_IFDIR | 01755));
    EXPECT_EQ(tree(0)["dir/set-id"].stat.mode, static_cast<std::uint32_t>(S_IFREG | 06755));
    EXPECT_EQ(tree(0)["dir/char"].stat.special_device, 0x103U);
    EXPECT_TRUE(private_names(0, "staging").empty());
    EXPECT_TRUE(private_names(1, "staging").empty());
}

TEST_P(DirectoryVolumeMirror, WritesHolesAndSizes) {
    const ObjectId file = make_file(kRootObject, "file", std::string(300'000, 'x'));
    ASSERT_TRUE(write(file, 1'000'000, "far away").ok());
    ASSERT_TRUE(write(file, 5, std::string(10'000, 'y')).ok());
    expect_equal_trees();
    ASSERT_TRUE(truncate(file, 2'000'000).ok());
    ASSERT_TRUE(truncate(file, 900'000).ok());
    ASSERT_TRUE(allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536).ok());
    ASSERT_TRUE(allocate(file, FALLOC_FL_ZERO_RANGE, 1000, 100).ok());
    ASSERT_TRUE(allocate(file, 0, 800'000, 300'000).ok());
    ASSERT_TRUE(allocate(file, FALLOC_FL_KEEP_SIZE, 2'000'000, 4096).ok());
    expect_equal_trees();
    EXPECT_EQ(stat(file).size, 1'100'000U);
    EXPECT_EQ(stat(file).modified, (WallTime{1'700'000'300, 8}));
    EXPECT_TRUE(allocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096).is_errno(EOPNOTSUPP));
    EXPECT_TRUE(allocate(file, FALLOC_FL_INSERT_RANGE, 0, 4096).is_errno(EOPNOTSUPP));
}

TEST_P(DirectoryVolumeMirror, CopiesOfRangesEndWhereTheSourceEnds) {
    const ObjectId source = make_file(kRootObject, "source", std::string(100'000, 's'));
    const ObjectId target = make_file(kRootObject, "target", "t");
    Op request = op(OpKind::copy_range);
    request.object = target;
    request.source = source;
    request.source_offset = 90'000;
    request.offset = 10;
    request.size = 50'000;
    request.modified = {1'700'000'400, 1};
    ASSERT_TRUE(both(request).ok());
    EXPECT_EQ(request.size, 10'000U);
    EXPECT_EQ(stat(target).size, 10'010U);
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, AttributesOfEveryType) {
    const ObjectId ids[] = {make_dir(kRootObject, "dir"), make_file(kRootObject, "file", "x"),
                            create(kRootObject, "fifo", S_IFIFO | 0640)};
    for (const ObjectId id : ids) {
        ASSERT_TRUE(set_attributes(id, kSetMode).ok());
        ASSERT_TRUE(set_attributes(id, kSetOwner).ok());
        ASSERT_TRUE(set_attributes(id, kSetAccessed).ok());
        ASSERT_TRUE(set_attributes(id, kSetModified).ok());
        expect_equal_trees();
    }
    // A change of owner takes the set-id bits of a file away, on both.
    EXPECT_EQ(tree(1)["file"].stat.mode & 07777U, 0751U);
    ASSERT_TRUE(set_attributes(ids[1], kSetMode | kSetOwner).ok());
    EXPECT_EQ(tree(1)["file"].stat.mode & 07777U, 06751U);
    EXPECT_EQ(tree(1)["file"].stat.modified, (WallTime{-5, 1}));
    const ObjectId symlink = create(kRootObject, "symlink", S_IFLNK | 0777, as_bytes("x"));
    ASSERT_TRUE(set_attributes(symlink, kSetOwner | kSetAccessed | kSetModified).ok());
    ASSERT_TRUE(set_attributes(kRootObject, kSetMode | kSetOwner | kSetModified).ok());
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, ChangesOfAttributesToWhatTheyAreLeaveNothingToShip) {
    const ObjectId file = make_file(kRootObject, "file", "x");
    const auto changes_nothing = [&](unsigned mask, std::uint32_t mode, std::uint32_t uid) {
        Op request = op(OpKind::set_attributes);
        request.object = file;
        request.mask = static_cast<std::uint8_t>(mask);
        request.mode = mode;
        request.uid = uid;
        request.gid = 7;
        request.accessed = request.modified = {1'500'000'000, 1};
        EXPECT_TRUE(both(request).ok());
        return request.resolved.nothing_changed;
    };
    EXPECT_FALSE(changes_nothing(kSetOwner, 0, 7));
    EXPECT_TRUE(changes_nothing(kSetOwner, 0, 7));
    EXPECT_FALSE(changes_nothing(kSetMode, 04711, 0));
    EXPECT_TRUE(changes_nothing(kSetMode, 04711, 0));
    EXPECT_FALSE(changes_nothing(kSetOwner, 0, 7)) << "it takes the set-id bit away";
    EXPECT_FALSE(changes_nothing(kSetAccessed, 0, 0));
    EXPECT_FALSE(changes_nothing(kSetModified, 0, 0));
    EXPECT_TRUE(changes_nothing(kSetOwner | kSetMode | kSetAccessed | kSetModified, 0711, 7));
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, ExtendedAttributes) {
    const ObjectId file = make_file(kRootObject, "file", "x");
    ASSERT_TRUE(set_xattr(file, "user.one", "1").ok());
    ASSERT_TRUE(set_xattr(file, "user.two", std::string(1000, '2')).ok());
    ASSERT_TRUE(set_xattr(file, "trusted.other", "3").ok());
    ASSERT_TRUE(set_xattr(file, "user.one", "changed").ok());
    Op request = op(OpKind::remove_xattr);
    request.object = file;
    request.name = "user.two";
    ASSERT_TRUE(both(request).ok());
    expect_equal_trees();
    EXPECT_EQ(tree(1)["file"].xattrs.at("user.one"), "changed");
    EXPECT_FALSE(tree(1)["file"].xattrs.contains("user.two"));
    request = op(OpKind::set_xattr);
    request.object = file;
    request.name = "user.one";
    request.flags = 1;  // XATTR_CREATE
    EXPECT_TRUE(only_a(request).is_errno(EEXIST));
}

TEST_P(DirectoryVolumeMirror, LinksUnlinksAndRenames) {
    const ObjectId one = make_dir(kRootObject, "one");
    const ObjectId two = make_dir(kRootObject, "two");
    const ObjectId file = make_file(one, "file", "content");
    ASSERT_TRUE(link(file, two, "second").ok());
    ASSERT_TRUE(link(file, two, "third").ok());
    ASSERT_TRUE(unlink(one, "file").ok());
    expect_equal_trees();
    EXPECT_EQ(stat(file).link_count, 2U);
    make_file(one, "victim", "v");
    ASSERT_TRUE(rename(two, "second", one, "victim").ok());
    ASSERT_TRUE(rename(kRootObject, "two", one, "below").ok());
    expect_equal_trees();
    make_file(one, "left", "l");
    ASSERT_TRUE(rename(one, "left", one, "below", RENAME_EXCHANGE).ok());
    expect_equal_trees();
    EXPECT_TRUE(rename(one, "left", one, "below", RENAME_NOREPLACE).is_errno(EEXIST));
    ASSERT_TRUE(rename(one, "left", kRootObject, "free", RENAME_NOREPLACE).ok());
    make_dir(kRootObject, "empty");
    make_dir(kRootObject, "moved");
    ASSERT_TRUE(rename(kRootObject, "moved", kRootObject, "empty").ok());
    ASSERT_TRUE(remove_directory(kRootObject, "empty").ok());
    expect_equal_trees();
    // Two names of one object: nothing happens, nothing is lost.
    ASSERT_TRUE(link(file, one, "same").ok());
    ASSERT_TRUE(rename(one, "same", one, "victim", 0, true).ok());
    EXPECT_TRUE(tree(0).contains("one/same"));
    EXPECT_TRUE(private_names(0, "orphans").empty());
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, ObjectsInUseBecomeOrphansUntilReleased) {
    const ObjectId file = make_file(kRootObject, "file", "content");
    ASSERT_TRUE(unlink(kRootObject, "file", true).ok());
    EXPECT_EQ(private_names(0, "orphans").size(), 1U);
    EXPECT_EQ(private_names(1, "orphans"), private_names(0, "orphans"));
    EXPECT_EQ(stat(file).link_count, 0U);
    ASSERT_TRUE(write(file, 7, " more").ok());
    EXPECT_EQ(content(b(), file), "content more");
    const ObjectId replaced = make_file(kRootObject, "replaced", "r");
    make_file(kRootObject, "new", "n");
    ASSERT_TRUE(rename(kRootObject, "new", kRootObject, "replaced", 0, true).ok());
    EXPECT_EQ(private_names(1, "orphans").size(), 2U);
    EXPECT_EQ(content(b(), replaced), "r");
    for (const ObjectId id : {file, replaced}) {
        Op request = op(OpKind::release_orphan);
        request.object = id;
        ASSERT_TRUE(both(request).ok());
        EXPECT_FALSE(a().exists(id));
        EXPECT_FALSE(b().exists(id));
    }
    EXPECT_TRUE(private_names(0, "orphans").empty());
    EXPECT_TRUE(private_names(1, "orphans").empty());
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, NamelessFilesGetANameLater) {
    const ObjectId file = create(kRootObject, "", S_IFREG | 0640);
    ASSERT_TRUE(write(file, 0, "before").ok());
    EXPECT_EQ(stat(file).link_count, 0U);
    expect_equal_trees();
    ASSERT_TRUE(link(file, kRootObject, "named").ok());
    EXPECT_EQ(stat(file).link_count, 1U);
    EXPECT_TRUE(private_names(0, "orphans").empty());
    EXPECT_TRUE(private_names(1, "orphans").empty());
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, SetIdBitsGoWithAWriteOnBoth) {
    const ObjectId file = create(kRootObject, "file", S_IFREG | 06755);
    const ObjectId locking = create(kRootObject, "locking", S_IFREG | 06745);
    for (const ObjectId id : {file, locking}) {
        Op request = op(OpKind::write);
        request.object = id;
        request.data = as_bytes("x");
        request.clear_set_id = true;
        ASSERT_TRUE(both(request).ok());
    }
    EXPECT_EQ(tree(0)["file"].stat.mode & 07777U, 0755U);
    EXPECT_EQ(tree(0)["locking"].stat.mode & 07777U, 02745U);
    expect_equal_trees();
}

TEST_P(DirectoryVolumeMirror, LongAndStrangeNames) {
    const std::string longest(255, '\xE4');
    const std::string strange = "\xFF\xFE new\nline \"'*";
    const ObjectId dir = make_dir(kRootObject, longest);
    const ObjectId file = make_file(dir, strange, "x");
    ASSERT_TRUE(link(file, dir, longest).ok());
    ASSERT_TRUE(rename(dir, strange, kRootObject, strange).ok());
    expect_equal_trees();
    Op request = op(OpKind::create);
    request.parent = dir;
    request.mode = S_IFREG | 0644;
    const std::string too_long(256, 'x');
    request.name = too_long;
    EXPECT_TRUE(only_a(request).is_errno(ENAMETOOLONG));
    for (const std::string_view bad : {std::string_view("."), std::string_view(".."),
                                       std::string_view("a/b"), std::string_view("a\0b", 3)}) {
        request.name = bad;
        EXPECT_TRUE(only_a(request).is_errno(EINVAL)) << bad;
    }
}

// A directory chain deeper than PATH_MAX, moved and reached by id only.
TEST_P(DirectoryVolumeMirror, TreesDeeperThanAnyPath) {
    const std::string name(200, 'd');
    ObjectId dir = make_dir(kRootObject, name);
    for (int depth = 0; depth < 40; ++depth) dir = make_dir(dir, name);
    const ObjectId file = make_file(dir, "file", "deep");
    ASSERT_TRUE(rename(dir, "file", kRootObject, "up").ok());
    ASSERT_TRUE(rename(kRootObject, "up", dir, "down").ok());
    expect_equal_trees();
    EXPECT_EQ(content(b(), file), "deep");
}

TEST_P(DirectoryVolumeMirror, AnOpOnAnotherObjectThanMeantIsNotApplied) {
    make_file(kRootObject, "file", "x");
    Op request = op(OpKind::unlink);
    request.parent = kRootObject;
    request.name = "file";
    request.object = ObjectId::make(kTag, 999);
    request.resolved.object_gone = true;
    EXPECT_EQ(b().apply(request).code(), Code::corrupt);
    request.name = "absent";
    EXPECT_EQ(b().apply(request).code(), Code::corrupt);
    request.kind = OpKind::rename;
    request.name = "file";
    request.new_parent = kRootObject;
    request.new_name = "other";
    EXPECT_EQ(b().apply(request).code(), Code::corrupt);
    expect_equal_trees();
}

// The serving node has another name for it: here it is the last, and must not be destroyed.
TEST_P(DirectoryVolumeMirror, WhatTheServingNodeStillHasIsNeverDestroyed) {
    const ObjectId file = make_file(kRootObject, "file", "kept");
    const ObjectId other = make_file(kRootObject, "other", "also kept");
    make_file(kRootObject, "new", "n");
    for (const auto& [id, name] : {std::pair{file, "x"}, std::pair{other, "y"}}) {
        Op request = op(OpKind::link);
        request.object = id;
        request.parent = kRootObject;
        request.name = name;
        ASSERT_TRUE(only_a(request).ok());
    }
    ASSERT_TRUE(unlink(kRootObject, "file").ok());
    ASSERT_TRUE(rename(kRootObject, "new", kRootObject, "other").ok());
    EXPECT_EQ(content(b(), file), "kept");
    EXPECT_EQ(content(b(), other), "also kept");
    EXPECT_EQ(private_names(1, "detached").size(), 2U);
    ASSERT_TRUE(b().place(file, kRootObject, "x").ok());
    ASSERT_TRUE(b().place(other, kRootObject, "y").ok());
    EXPECT_TRUE(private_names(1, "detached").empty());
    EXPECT_EQ(tree(1)["x"].content, "kept");
}

TEST_P(DirectoryVolumeMirror, FailedOpsLeaveTheTreeAsItWas) {
    const ObjectId dir = make_dir(kRootObject, "dir");
    const ObjectId file = make_file(dir, "file", "x");
    make_file(kRootObject, "target", "t");
    const Tree before = tree(0);
    EXPECT_TRUE(unlink(kRootObject, "dir").is_errno(EISDIR));
    EXPECT_TRUE(remove_directory(kRootObject, "dir").is_errno(ENOTEMPTY));
    EXPECT_TRUE(remove_directory(dir, "file").is_errno(ENOTDIR));
    EXPECT_TRUE(unlink(dir, "absent").is_errno(ENOENT));
    EXPECT_TRUE(link(file, kRootObject, "target").is_errno(EEXIST));
    EXPECT_TRUE(link(dir, kRootObject, "second").is_errno(EPERM));
    EXPECT_TRUE(rename(kRootObject, "dir", dir, "inside").is_errno(EINVAL));
    EXPECT_TRUE(rename(kRootObject, "target", kRootObject, "dir", 0, true).is_errno(EISDIR));
    EXPECT_TRUE(rename(kRootObject, "dir", kRootObject, "target", 0, true).is_errno(ENOTDIR));
    EXPECT_TRUE(rename(dir, "file", dir, "new", RENAME_WHITEOUT).is_errno(EINVAL));
    EXPECT_TRUE(rename(dir, "file", dir, "new", RENAME_EXCHANGE).is_errno(ENOENT));
    EXPECT_TRUE(write(dir, 0, "x").is_errno(EISDIR));
    EXPECT_TRUE(write(ObjectId::make(kTag, 12345), 0, "x").is_errno(ESTALE));
    Op request = op(OpKind::create);
    request.parent = kRootObject;
    request.name = "target";
    for (const int mode : {S_IFREG | 0644, S_IFDIR | 0755, S_IFIFO | 0600}) {
        request.mode = static_cast<std::uint32_t>(mode);
        EXPECT_TRUE(only_a(request).is_errno(EEXIST)) << mode;
    }
    EXPECT_EQ(tree(0), before);
    EXPECT_TRUE(private_names(0, "staging").empty());
    EXPECT_TRUE(private_names(0, "orphans").empty());
}

// Each of them fits only where the one before is gone: what it held comes back in the background.
TEST_P(DirectoryVolumeMirror, SpaceOfARemovedFileIsThereForTheNextOp) {
    const Result<FileSystemStat> disk = a().stat_file_system();
    ASSERT_TRUE(disk.ok());
    for (int i = 0; i < 4; ++i) {
        const ObjectId file = make_file(kRootObject, "large");
        Op request = op(OpKind::allocate);
        request.object = file;
        // Both sides lie on one disk. The real one of this machine is not to be filled.
        request.size = std::min(disk->blocks * disk->block_size * 3 / 8, 600 * kMiB);
        const Status allocated = both(request);
        EXPECT_TRUE(allocated.ok()) << i << ": " << allocated.to_string();
        ASSERT_TRUE(unlink(kRootObject, "large", i % 2 == 1).ok());
        if (i % 2 == 0) continue;
        Op release = op(OpKind::release_orphan);
        release.object = file;
        ASSERT_TRUE(both(release).ok());
    }
}

INSTANTIATE_TEST_SUITE_P(Worlds, DirectoryVolumeMirror, testing::ValuesIn(all_worlds()),
                         world_name);

}  // namespace
}  // namespace gemel::volume_test
