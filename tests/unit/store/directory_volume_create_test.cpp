// SPDX-License-Identifier: Apache-2.0
// What a new object inherits, compared with what the kernel gives to the same creation made by
// plain system calls in a directory with the same default ACL, mode and group.
#include "engine/base/probe.hpp"
#include "engine/store/posix_acl.hpp"
#include "tests/unit/store/volume_fixture.hpp"

#include <fstream>
#include <string>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel::volume_test {
namespace {

class DirectoryVolumeCreate : public VolumeTest {
   protected:
    // In the parent directory `path`, by root with umask 027 and group 0 as in the ops below.
    static void create_by_kernel(const std::string& path, const char* name, std::uint32_t mode) {
        const std::string full = path + "/" + name;
        const mode_t before = ::umask(027);
        if (S_ISDIR(mode)) {
            ASSERT_EQ(::mkdir(full.c_str(), mode & 07777), 0);
        } else if (S_ISLNK(mode)) {
            ASSERT_EQ(::symlink("target", full.c_str()), 0);
        } else {
            ASSERT_EQ(::mknod(full.c_str(), mode, 0x103), 0);
        }
        ::umask(before);
    }
    static std::string xattr(const std::string& path, std::string_view name) {
        char buffer[512];
        const ssize_t size =
            ::lgetxattr(path.c_str(), std::string(name).c_str(), buffer, sizeof buffer);
        return size < 0 ? "" : std::string(buffer, static_cast<std::size_t>(size));
    }
    void create_by_volume(ObjectId parent, const char* name, std::uint32_t mode) {
        Op request = op(OpKind::create);
        request.parent = parent;
        request.name = name;
        request.mode = mode;
        request.umask = 027;
        request.special_device = S_ISCHR(mode) ? 0x103 : 0;
        request.data = S_ISLNK(mode) ? as_bytes("target") : Bytes();
        const Status status = both(request);
        ASSERT_TRUE(status.ok()) << name << ": " << status.to_string();
    }
    static std::uint64_t made_ahead() {
        const Probe* probe = Probe::first();
        while (probe != nullptr && std::string_view(probe->name()) != kMadeAhead) {
            probe = probe->next();
        }
        return probe == nullptr ? ~std::uint64_t{0} : probe->hits();
    }
    static constexpr std::string_view kMadeAhead =
        "volume: a file was there before it was asked for";
    static std::string default_acl(std::uint16_t group, std::uint16_t mask, std::uint16_t other) {
        ByteBuffer value;
        ByteWriter writer(value);
        writer.put(std::uint32_t{2});
        const auto entry = [&](std::uint16_t tag, std::uint16_t permissions, std::uint32_t id) {
            writer.put(tag);
            writer.put(permissions);
            writer.put(id);
        };
        entry(1, 7, ~0U);
        if (mask != 0) entry(2, 6, 1000);
        entry(4, group, ~0U);
        if (mask != 0) entry(8, 5, 2000);
        if (mask != 0) entry(0x10, mask, ~0U);
        entry(0x20, other, ~0U);
        return std::string(as_text(value));
    }
};

// All types in a plain directory, a set-group-id one, and under four default ACLs.
TEST_P(DirectoryVolumeCreate, InheritsExactlyWhatTheKernelWouldGive) {
    const std::string root = world_->directory() + "/a";
    const std::pair<const char*, std::string> parents[] = {{"plain", ""},
                                                           {"setgid", ""},
                                                           {"mask-all", default_acl(7, 7, 7)},
                                                           {"mask-read", default_acl(5, 4, 0)},
                                                           {"minimal", default_acl(5, 0, 1)},
                                                           {"setgid-acl", default_acl(6, 6, 4)}};
    const std::uint32_t modes[] = {S_IFREG | 0666,  S_IFREG | 0777,  S_IFREG | 06751,
                                   S_IFDIR | 0777,  S_IFDIR | 01770, S_IFIFO | 0666,
                                   S_IFSOCK | 0640, S_IFCHR | 0600,  S_IFLNK | 0777};
    for (const auto& [name, acl] : parents) {
        const std::string kernel = world_->directory() + "/kernel-" + name;
        ASSERT_EQ(::mkdir(kernel.c_str(), 0755), 0);
        const ObjectId parent = make_dir(kRootObject, name);
        const bool setgid = std::string_view(name).starts_with("setgid");
        if (setgid) {
            ASSERT_EQ(::chown(kernel.c_str(), 0, 4242), 0);
            ASSERT_EQ(::chmod(kernel.c_str(), 02775), 0);
            Op request = op(OpKind::set_attributes);
            request.object = parent;
            request.mask = kSetOwner | kSetMode;
            request.gid = 4242;
            request.mode = 02775;
            ASSERT_TRUE(both(request).ok());
        }
        if (!acl.empty()) {
            ASSERT_EQ(
                ::setxattr(kernel.c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0),
                0);
            ASSERT_TRUE(set_xattr(parent, kDefaultAclAttribute, acl).ok());
        }
        int number = 0;
        for (const std::uint32_t mode : modes) {
            const std::string child = "child-" + std::to_string(number++);
            create_by_kernel(kernel, child.c_str(), mode);
            create_by_volume(parent, child.c_str(), mode);
            world_->pass(Duration{});
            const std::string theirs = kernel + "/" + child;
            const std::string ours = root + "/" + name + "/" + child;
            struct stat expected;
            struct stat got;
            ASSERT_EQ(::lstat(theirs.c_str(), &expected), 0);
            ASSERT_EQ(::lstat(ours.c_str(), &got), 0);
            EXPECT_EQ(got.st_mode, expected.st_mode) << std::oct << ours << " of " << mode;
            EXPECT_EQ(got.st_gid, expected.st_gid) << ours;
            EXPECT_EQ(got.st_rdev, expected.st_rdev) << ours;
            EXPECT_EQ(xattr(ours, kAccessAclAttribute), xattr(theirs, kAccessAclAttribute)) << ours;
            EXPECT_EQ(xattr(ours, kDefaultAclAttribute), xattr(theirs, kDefaultAclAttribute))
                << ours;
        }
    }
    expect_equal_trees();
}

// Where a directory is being filled, the next file is there before it is asked for.
TEST_P(DirectoryVolumeCreate, FilesMadeAheadAreLikeOthers) {
    const std::string path = world_->directory() + "/a/dir/";
    const ObjectId dir = make_dir(kRootObject, "dir");
    const auto create = [&](const std::string& name) {
        const std::uint64_t before = made_ahead();
        create_by_volume(dir, name.c_str(), S_IFREG | 0666);
        world_->pass(Duration{});
        return made_ahead() - before;
    };
    EXPECT_EQ(create("one"), 0);
    EXPECT_EQ(create("two"), 0);
    EXPECT_EQ(create("three"), 2);  // on both sides
    EXPECT_EQ(create("four"), 2);
    struct stat status;
    ASSERT_EQ(::stat((path + "four").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode, S_IFREG | 0640U);
    EXPECT_EQ(status.st_mtim.tv_sec, world_->loop().wall_time().seconds);

    // The directory's default ACL came after the file.
    const std::string acl = default_acl(7, 6, 4);
    ASSERT_TRUE(set_xattr(dir, kDefaultAclAttribute, acl).ok());
    EXPECT_EQ(create("with-acl"), 2);
    EXPECT_EQ(create("like-it"), 0);  // none is made ahead now
    EXPECT_NE(xattr(path + "with-acl", kAccessAclAttribute), "");
    EXPECT_EQ(xattr(path + "with-acl", kAccessAclAttribute),
              xattr(path + "like-it", kAccessAclAttribute));
    Op request = op(OpKind::remove_xattr);
    request.object = dir;
    request.name = kDefaultAclAttribute;
    ASSERT_TRUE(both(request).ok());
    EXPECT_EQ(create("without"), 0);
    EXPECT_EQ(xattr(path + "without", kAccessAclAttribute), "");

    // Not in another directory, and not after a while: its birth time would show.
    const std::uint64_t before = made_ahead();
    make_file(kRootObject, "elsewhere");
    EXPECT_EQ(made_ahead(), before);
    EXPECT_EQ(create("five"), 0);
    EXPECT_EQ(create("six"), 0);
    world_->pass(Duration::seconds(2));
    EXPECT_EQ(create("seven"), 0);
    expect_equal_trees();
}

TEST_P(DirectoryVolumeCreate, IdsAreThoseAnnouncedAndNeverGivenTwice) {
    a().set_allotment(77, 1000);
    const ObjectId first = a().next_id();
    EXPECT_EQ(first, ObjectId::make(77, 1000));
    EXPECT_EQ(make_file(kRootObject, "one"), first);
    Op request = op(OpKind::create);
    request.parent = kRootObject;
    request.name = "one";
    request.mode = S_IFREG | 0600;
    EXPECT_TRUE(only_a(request).is_errno(EEXIST));
    EXPECT_EQ(a().next_id(), ObjectId::make(77, 1001));
    EXPECT_EQ(make_file(kRootObject, "two"), ObjectId::make(77, 1001));
}

TEST_P(DirectoryVolumeCreate, HiddenNamesAreRefused) {
    for (const char* name : {".gemel", "lost+found"}) {
        Op request = op(OpKind::create);
        request.parent = kRootObject;
        request.name = name;
        request.mode = S_IFDIR | 0700;
        EXPECT_TRUE(only_a(request).is_errno(EPERM));
        const std::string temporary = std::string("to-") + name;
        const ObjectId file = make_file(kRootObject, temporary);
        EXPECT_TRUE(rename(kRootObject, temporary, kRootObject, name).is_errno(EPERM));
        EXPECT_TRUE(link(file, kRootObject, name).is_errno(EPERM));
        EXPECT_TRUE(a().lookup(kRootObject, name).status().is_errno(ENOENT));
        EXPECT_TRUE(unlink(kRootObject, name).is_errno(ENOENT));
        // Elsewhere they are names like others.
        const ObjectId dir = make_dir(kRootObject, std::string("in-") + name);
        make_dir(dir, name);
        EXPECT_TRUE(a().lookup(dir, name).ok());
    }
}

INSTANTIATE_TEST_SUITE_P(Posix, DirectoryVolumeCreate,
                         testing::Values(WorldKind{"posix", make_posix_world}), world_name);

}  // namespace
}  // namespace gemel::volume_test
