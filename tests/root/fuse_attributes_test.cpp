// SPDX-License-Identifier: Apache-2.0
// Attributes through a real mount: mode, owner, times, set-id bits, extended attributes, ACLs.
#include "tests/root/fuse_volume.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel {
namespace {

struct AclEntry {
    std::uint16_t tag, permissions;
    std::uint32_t id;
};
// system.posix_acl_*: version 2 (linux/posix_acl_xattr.h).
constexpr std::uint16_t kUserObj = 1, kNamedUser = 2, kGroupObj = 4, kMask = 0x10, kOther = 0x20;
constexpr std::uint32_t kNoId = 0xffffffff;

std::string acl(const std::vector<AclEntry>& entries) {
    std::string value("\x02\0\0\0", 4);
    for (const AclEntry& entry : entries) {
        value.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    }
    return value;
}

std::string named_user_acl(unsigned uid, std::uint16_t permissions) {
    return acl({{kUserObj, 6, kNoId},
                {kNamedUser, permissions, uid},
                {kGroupObj, 0, kNoId},
                {kMask, 7, kNoId},
                {kOther, 0, kNoId}});
}

class FuseAttributes : public FuseTest {
   protected:
    static int set(const std::string& path, const char* name, std::string_view value,
                   int flags = 0) {
        const int result = ::lsetxattr(path.c_str(), name, value.data(), value.size(), flags);
        return result == 0 ? 0 : errno;
    }
    static std::string get(const std::string& path, const char* name) {
        char value[65536];
        const ssize_t size = ::lgetxattr(path.c_str(), name, value, sizeof value);
        return size < 0 ? "errno " + std::to_string(errno)
                        : std::string(value, static_cast<std::size_t>(size));
    }
    void make(const char* name, mode_t mode, unsigned uid = 0, unsigned gid = 0) {
        write_file(path(name), "content");
        ASSERT_EQ(::chown(path(name).c_str(), uid, gid), 0);
        ASSERT_EQ(::chmod(path(name).c_str(), mode), 0);
    }
};

TEST_F(FuseAttributes, ModeAndOwnerChangeBothSides) {
    make("f", 0604, 11, 22);
    for (const std::string& where : {path("f"), bare("f")}) {
        EXPECT_EQ(stat_of(where).st_mode, S_IFREG | 0604U);
        EXPECT_EQ(stat_of(where).st_uid, 11U);
        EXPECT_EQ(stat_of(where).st_gid, 22U);
    }
    ASSERT_EQ(::chown(path("f").c_str(), 33, static_cast<gid_t>(-1)), 0);
    EXPECT_EQ(stat_of(bare("f")).st_uid, 33U);
    EXPECT_EQ(stat_of(bare("f")).st_gid, 22U);
    ASSERT_EQ(::symlink("nowhere", path("s").c_str()), 0);
    ASSERT_EQ(::lchown(path("s").c_str(), 44, 55), 0);
    EXPECT_EQ(stat_of(bare("s")).st_uid, 44U);
}

TEST_F(FuseAttributes, TimesAreSetToTheNanosecond) {
    make("f", 0644);
    const timespec times[] = {{1234567890, 123456789}, {987654321, 1}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path("f").c_str(), times, 0), 0);
    for (const std::string& where : {path("f"), bare("f")}) {
        EXPECT_EQ(stat_of(where).st_atim.tv_sec, 1234567890);
        EXPECT_EQ(stat_of(where).st_atim.tv_nsec, 123456789);
        EXPECT_EQ(stat_of(where).st_mtim.tv_sec, 987654321);
        EXPECT_EQ(stat_of(where).st_mtim.tv_nsec, 1);
    }
    const timespec partly[] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path("f").c_str(), partly, 0), 0);
    EXPECT_EQ(stat_of(path("f")).st_atim.tv_sec, 1234567890);
    EXPECT_GT(stat_of(path("f")).st_mtim.tv_sec, 1234567890);
    const timespec early[] = {{-5, 0}, {-6, 7}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path("f").c_str(), early, 0), 0);
    EXPECT_EQ(stat_of(path("f")).st_mtim.tv_sec, -6);
    EXPECT_EQ(stat_of(bare("f")).st_mtim.tv_sec, -6);
}

TEST_F(FuseAttributes, WritesMoveTheTimesOfFileAndDirectory) {
    make("f", 0644);
    const timespec old[] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path("f").c_str(), old, 0), 0);
    ASSERT_EQ(::utimensat(AT_FDCWD, path().c_str(), old, 0), 0);
    write_file(path("f"), "longer than before");
    EXPECT_GT(stat_of(path("f")).st_mtim.tv_sec, 1000);
    EXPECT_EQ(stat_of(path()).st_mtim.tv_sec, 1000);
    write_file(path("g"), "");
    EXPECT_GT(stat_of(path()).st_mtim.tv_sec, 1000);
    const struct stat shown = stat_of(path("f")), kept = stat_of(bare("f"));
    EXPECT_EQ(shown.st_mtim.tv_nsec, kept.st_mtim.tv_nsec);
    EXPECT_EQ(shown.st_size, 18);
}

TEST_F(FuseAttributes, BirthTimeIsShown) {
    make("f", 0644);
    struct statx shown {
    }, kept{};
    ASSERT_EQ(::statx(AT_FDCWD, path("f").c_str(), AT_STATX_SYNC_AS_STAT,
                      STATX_BASIC_STATS | STATX_BTIME, &shown),
              0);
    ASSERT_EQ(::statx(AT_FDCWD, bare("f").c_str(), AT_STATX_SYNC_AS_STAT,
                      STATX_BASIC_STATS | STATX_BTIME, &kept),
              0);
    ASSERT_NE(kept.stx_mask & STATX_BTIME, 0U);
    ASSERT_NE(shown.stx_mask & STATX_BTIME, 0U);
    EXPECT_EQ(shown.stx_btime.tv_sec, kept.stx_btime.tv_sec);
    EXPECT_EQ(shown.stx_btime.tv_nsec, kept.stx_btime.tv_nsec);
    EXPECT_EQ(shown.stx_size, 7U);
    EXPECT_EQ(shown.stx_mode, S_IFREG | 0644);
}

TEST_F(FuseAttributes, WriteByAnotherClearsSetIdBits) {
    make("f", 06777);
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] {
                         const int fd = ::open(path("f").c_str(), O_WRONLY);
                         return fd >= 0 && ::write(fd, "x", 1) == 1 ? 0 : errno;
                     }),
              0);
    EXPECT_EQ(stat_of(bare("f")).st_mode, S_IFREG | 0777U);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 0777U) << "the kernel shows the old mode";
}

TEST_F(FuseAttributes, TruncationByAnotherClearsSetIdBits) {
    make("f", 06777);
    EXPECT_EQ(
        run_as(kUser, kGroup, [&] { return ::truncate(path("f").c_str(), 3) == 0 ? 0 : errno; }),
        0);
    EXPECT_EQ(stat_of(bare("f")).st_mode, S_IFREG | 0777U);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 0777U);
}

TEST_F(FuseAttributes, AllocationByAnotherClearsSetIdBits) {
    make("f", 04777);
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] {
                         const int fd = ::open(path("f").c_str(), O_WRONLY);
                         return fd >= 0 && ::fallocate(fd, 0, 0, 100) == 0 ? 0 : errno;
                     }),
              0);
    EXPECT_EQ(stat_of(bare("f")).st_mode, S_IFREG | 0777U);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 0777U);
}

TEST_F(FuseAttributes, WriteByRootKeepsSetIdBits) {
    make("f", 06755);
    const int fd = ::open(path("f").c_str(), O_WRONLY);
    ASSERT_EQ(::write(fd, "x", 1), 1);
    ASSERT_EQ(::ftruncate(fd, 1), 0);
    ::close(fd);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 06755U);
    EXPECT_EQ(stat_of(bare("f")).st_mode, S_IFREG | 06755U);
}

TEST_F(FuseAttributes, ChangeOfOwnerClearsSetIdBits) {
    make("f", 06755);
    ASSERT_EQ(::chown(path("f").c_str(), kUser, kGroup), 0);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 0755U);
    EXPECT_EQ(stat_of(bare("f")).st_mode, S_IFREG | 0755U);
    make("g", 02644);
    ASSERT_EQ(::chown(path("g").c_str(), kUser, kGroup), 0);
    EXPECT_EQ(stat_of(path("g")).st_mode, S_IFREG | 02644U);
    ASSERT_EQ(::mkdir(path("d").c_str(), 0755), 0);
    ASSERT_EQ(::chmod(path("d").c_str(), 06755), 0);
    ASSERT_EQ(::chown(path("d").c_str(), kUser, kGroup), 0);
    EXPECT_EQ(stat_of(path("d")).st_mode, S_IFDIR | 06755U);
}

TEST_F(FuseAttributes, CapabilitiesGoWithAWrite) {
    make("f", 0777);
    // VFS_CAP_REVISION_2, cap_net_raw permitted (linux/capability.h).
    const std::string capability("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    ASSERT_EQ(set(path("f"), "security.capability", capability), 0);
    EXPECT_EQ(get(bare("f"), "security.capability"), capability);
    const int fd = ::open(path("f").c_str(), O_WRONLY);
    ASSERT_EQ(::write(fd, "x", 1), 1);
    ::close(fd);
    EXPECT_EQ(get(path("f"), "security.capability"), "errno " + std::to_string(ENODATA));
    EXPECT_EQ(get(bare("f"), "security.capability"), "errno " + std::to_string(ENODATA));
}

TEST_F(FuseAttributes, ExtendedAttributesAreSetReadListedRemoved) {
    make("f", 0644);
    EXPECT_EQ(set(path("f"), "user.one", "first"), 0);
    EXPECT_EQ(set(path("f"), "user.two", std::string(2000, 'v')), 0);
    EXPECT_EQ(set(path("f"), "user.empty", ""), 0);
    EXPECT_EQ(get(path("f"), "user.one"), "first");
    EXPECT_EQ(get(bare("f"), "user.two"), std::string(2000, 'v'));
    EXPECT_EQ(get(path("f"), "user.empty"), "");
    EXPECT_EQ(set(path("f"), "user.one", "x", XATTR_CREATE), EEXIST);
    EXPECT_EQ(set(path("f"), "user.none", "x", XATTR_REPLACE), ENODATA);
    EXPECT_EQ(::lgetxattr(path("f").c_str(), "user.two", nullptr, 0), 2000);
    char small[10];
    EXPECT_EQ(::lgetxattr(path("f").c_str(), "user.two", small, sizeof small), -1);
    EXPECT_EQ(errno, ERANGE);
    EXPECT_EQ(::llistxattr(path("f").c_str(), small, sizeof small), -1);
    EXPECT_EQ(errno, ERANGE);
    char names[1024];
    const ssize_t size = ::llistxattr(path("f").c_str(), names, sizeof names);
    EXPECT_EQ(::llistxattr(path("f").c_str(), nullptr, 0), size);
    std::set<std::string> listed;
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
        listed.insert(names + at);
    }
    EXPECT_EQ(listed, (std::set<std::string>{"user.one", "user.two", "user.empty"}));
    ASSERT_EQ(::lremovexattr(path("f").c_str(), "user.one"), 0);
    EXPECT_EQ(get(path("f"), "user.one"), "errno " + std::to_string(ENODATA));
}

TEST_F(FuseAttributes, OwnAttributesAreOutOfReach) {
    make("f", 0644);
    EXPECT_NE(get(bare("f"), "trusted.gemel.id"), "errno " + std::to_string(ENODATA));
    EXPECT_EQ(get(path("f"), "trusted.gemel.id"), "errno " + std::to_string(ENODATA));
    EXPECT_EQ(set(path("f"), "trusted.gemel.id", "x"), EPERM);
    EXPECT_EQ(set(path("f"), "trusted.other", "x"), 0);
    EXPECT_EQ(::llistxattr(path("f").c_str(), nullptr, 0), ssize_t{14});
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] { return static_cast<int>(::llistxattr(path("f").c_str(), nullptr, 0)); }),
              0);
}

TEST_F(FuseAttributes, AccessAclDecides) {
    make("f", 0600);
    const auto readable = [&] {
        return run_as(kUser, kGroup,
                      [&] { return ::open(path("f").c_str(), O_RDONLY) >= 0 ? 0 : errno; });
    };
    EXPECT_EQ(readable(), EACCES);
    ASSERT_EQ(set(path("f"), "system.posix_acl_access", named_user_acl(kUser, 4)), 0);
    EXPECT_EQ(readable(), 0);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 0670U);
    EXPECT_EQ(get(bare("f"), "system.posix_acl_access"), named_user_acl(kUser, 4));
    ASSERT_EQ(::chmod(path("f").c_str(), 0600), 0);
    EXPECT_EQ(readable(), EACCES);
    ASSERT_EQ(::lremovexattr(path("f").c_str(), "system.posix_acl_access"), 0);
    EXPECT_EQ(get(bare("f"), "system.posix_acl_access"), "errno " + std::to_string(ENODATA));
}

TEST_F(FuseAttributes, DefaultAclIsInheritedAndStopsTheUmask) {
    ASSERT_EQ(::mkdir(path("d").c_str(), 0755), 0);
    ASSERT_EQ(set(path("d"), "system.posix_acl_default", named_user_acl(kUser, 6)), 0);
    ::umask(077);
    const int fd = ::open(path("d/f").c_str(), O_CREAT | O_WRONLY, 0666);
    ::umask(022);
    ASSERT_GE(fd, 0);
    ::close(fd);
    EXPECT_EQ(stat_of(path("d/f")).st_mode, S_IFREG | 0660U);
    EXPECT_EQ(
        run_as(kUser, kGroup, [&] { return ::open(path("d/f").c_str(), O_RDWR) >= 0 ? 0 : errno; }),
        0);
    ASSERT_EQ(::mkdir(path("d/sub").c_str(), 0777), 0);
    EXPECT_EQ(get(path("d/sub"), "system.posix_acl_default"), named_user_acl(kUser, 6));
    EXPECT_EQ(get(bare("d/sub"), "system.posix_acl_default"), named_user_acl(kUser, 6));
}

TEST_F(FuseAttributes, AclSetFromOutsideTheGroupTakesSetGroupId) {
    make("f", 02770, kUser, 9999);
    EXPECT_EQ(
        run_as(kUser, kGroup,
               [&] { return set(path("f"), "system.posix_acl_access", named_user_acl(4444, 4)); }),
        0);
    EXPECT_EQ(stat_of(path("f")).st_mode, S_IFREG | 0670U);
    EXPECT_EQ(stat_of(bare("f")).st_mode, S_IFREG | 0670U);
}

TEST_F(FuseAttributes, NumbersOfObjectsAreTheirIds) {
    make("f", 0644);
    EXPECT_NE(stat_of(path("f")).st_ino, stat_of(bare("f")).st_ino);
    EXPECT_EQ(stat_of(volume().path()).st_ino, 1U);
    const struct stat shown = stat_of(path("f"));
    ASSERT_EQ(::rename(path("f").c_str(), path("g").c_str()), 0);
    EXPECT_EQ(stat_of(path("g")).st_ino, shown.st_ino);
    EXPECT_EQ(stat_of(path("g")).st_blksize, shown.st_blksize);
}

}  // namespace
}  // namespace gemel
