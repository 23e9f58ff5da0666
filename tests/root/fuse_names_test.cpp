// SPDX-License-Identifier: Apache-2.0
// Names through a real mount: making, finding, linking, moving, removing, listing.
#include "tests/root/fuse_volume.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <set>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace gemel {
namespace {

class FuseNames : public FuseTest {};

TEST_F(FuseNames, FileIsMadeWithTheCallersOwnerAndUmask) {
    const std::string open = path("open");
    ASSERT_EQ(::mkdir(open.c_str(), 0777), 0);
    ASSERT_EQ(::chmod(open.c_str(), 0777), 0);
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] {
                         ::umask(027);
                         const int fd = ::open((open + "/f").c_str(), O_CREAT | O_WRONLY, 0666);
                         return fd >= 0 ? 0 : errno;
                     }),
              0);
    const struct stat shown = stat_of(path("open/f")), kept = stat_of(bare("open/f"));
    EXPECT_EQ(shown.st_uid, kUser);
    EXPECT_EQ(shown.st_gid, kGroup);
    EXPECT_EQ(shown.st_mode, S_IFREG | 0640U);
    EXPECT_EQ(kept.st_uid, kUser);
    EXPECT_EQ(kept.st_gid, kGroup);
    EXPECT_EQ(kept.st_mode, S_IFREG | 0640U);
}

TEST_F(FuseNames, GroupIsInheritedFromASetGroupIdDirectory) {
    const std::string shared = path("shared");
    ASSERT_EQ(::mkdir(shared.c_str(), 0777), 0);
    ASSERT_EQ(::chown(shared.c_str(), 0, 4321), 0);
    ASSERT_EQ(::chmod(shared.c_str(), 02777), 0);
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] {
                         if (::mkdir((shared + "/d").c_str(), 0755) != 0) return errno;
                         return ::mknod((shared + "/f").c_str(), S_IFREG | 0644, 0) == 0 ? 0
                                                                                         : errno;
                     }),
              0);
    EXPECT_EQ(stat_of(path("shared/d")).st_gid, 4321U);
    EXPECT_EQ(stat_of(path("shared/d")).st_mode, S_IFDIR | 02755U);
    EXPECT_EQ(stat_of(path("shared/f")).st_gid, 4321U);
}

TEST_F(FuseNames, EveryKindOfObjectIsMade) {
    ASSERT_EQ(::mkdir(path("d").c_str(), 0750), 0);
    ASSERT_EQ(::symlink("some/where", path("s").c_str()), 0);
    ASSERT_EQ(::mkfifo(path("p").c_str(), 0600), 0);
    ASSERT_EQ(::mknod(path("u").c_str(), S_IFSOCK | 0600, 0), 0);
    ASSERT_EQ(::mknod(path("c").c_str(), S_IFCHR | 0640, makedev(1, 3)), 0);
    ASSERT_EQ(::mknod(path("b").c_str(), S_IFBLK | 0600, makedev(259, 70000)), 0);
    for (const char* name : {"d", "s", "p", "u", "c", "b"}) {
        const struct stat shown = stat_of(path(name)), kept = stat_of(bare(name));
        EXPECT_EQ(shown.st_mode, kept.st_mode) << name;
        EXPECT_EQ(shown.st_rdev, kept.st_rdev) << name;
    }
    EXPECT_EQ(stat_of(path("b")).st_rdev, makedev(259, 70000));
    char target[64] = {};
    EXPECT_EQ(::readlink(path("s").c_str(), target, sizeof target), 10);
    EXPECT_STREQ(target, "some/where");
}

TEST_F(FuseNames, NamesAreBytesOfUpTo255) {
    std::string name;
    for (int i = 0; i < 255; ++i) {
        const int byte = 1 + i % 254;
        name.push_back(byte == '/' ? 'x' : static_cast<char>(byte));
    }
    ASSERT_EQ(::mkdir(path("dir").c_str(), 0755), 0);
    const std::string whole = "dir/" + name;
    write_file(path(whole), "content");
    EXPECT_EQ(read_file(bare(whole)), "content");
    EXPECT_EQ(list(path("dir")), (std::set<std::string>{".", "..", name}));
    ASSERT_EQ(::rename(path(whole).c_str(), path("dir/short").c_str()), 0);
    ASSERT_EQ(::link(path("dir/short").c_str(), path(whole).c_str()), 0);
    EXPECT_EQ(stat_of(path(whole)).st_nlink, 2U);
    EXPECT_EQ(::mkdir(path("dir/" + name + "y").c_str(), 0755), -1);
    EXPECT_EQ(errno, ENAMETOOLONG);
}

TEST_F(FuseNames, HardLinksAreOneObject) {
    write_file(path("one"), "data");
    ASSERT_EQ(::link(path("one").c_str(), path("two").c_str()), 0);
    EXPECT_EQ(stat_of(path("one")).st_ino, stat_of(path("two")).st_ino);
    EXPECT_EQ(stat_of(path("one")).st_nlink, 2U);
    ASSERT_EQ(::unlink(path("one").c_str()), 0);
    EXPECT_EQ(stat_of(path("two")).st_nlink, 1U);
    EXPECT_EQ(read_file(bare("two")), "data");
}

TEST_F(FuseNames, RenameReplacesExchangesAndRefuses) {
    write_file(path("a"), "A");
    write_file(path("b"), "B");
    EXPECT_EQ(
        ::renameat2(AT_FDCWD, path("a").c_str(), AT_FDCWD, path("b").c_str(), RENAME_NOREPLACE),
        -1);
    EXPECT_EQ(errno, EEXIST);
    ASSERT_EQ(
        ::renameat2(AT_FDCWD, path("a").c_str(), AT_FDCWD, path("b").c_str(), RENAME_EXCHANGE), 0);
    EXPECT_EQ(read_file(path("a")), "B");
    EXPECT_EQ(read_file(bare("b")), "A");
    ASSERT_EQ(::rename(path("a").c_str(), path("b").c_str()), 0);
    EXPECT_EQ(read_file(path("b")), "B");
    EXPECT_EQ(list(bare()), (std::set<std::string>{".", "..", "b"}));
    EXPECT_EQ(
        ::renameat2(AT_FDCWD, path("b").c_str(), AT_FDCWD, path("w").c_str(), RENAME_WHITEOUT), -1);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(FuseNames, DirectoryMovesWithWhatIsInIt) {
    ASSERT_EQ(::mkdir(path("x").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(path("x/in").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(path("y").c_str(), 0755), 0);
    write_file(path("x/in/f"), "deep");
    ASSERT_EQ(::rename(path("x").c_str(), path("y/x").c_str()), 0);
    EXPECT_EQ(read_file(path("y/x/in/f")), "deep");
    EXPECT_EQ(::rename(path("y").c_str(), path("y/x/y").c_str()), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(::rmdir(path("y").c_str()), -1);
    EXPECT_EQ(errno, ENOTEMPTY);
}

TEST_F(FuseNames, UnlinkedOpenFileLivesUntilItsLastClose) {
    write_file(path("f"), "before");
    const int fd = ::open(path("f").c_str(), O_RDWR);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::unlink(path("f").c_str()), 0);
    struct stat info {};
    ASSERT_EQ(::fstat(fd, &info), 0);
    EXPECT_EQ(info.st_nlink, 0U);
    ASSERT_EQ(::pwrite(fd, "AFTER", 5, 6), 5);
    char text[16] = {};
    EXPECT_EQ(::pread(fd, text, sizeof text, 0), 11);
    EXPECT_STREQ(text, "beforeAFTER");
    EXPECT_EQ(count_orphans(), 1U);
    ASSERT_EQ(::fsync(fd), 0);
    ::close(fd);
    wait_for_closes();
    EXPECT_EQ(count_orphans(), 0U);
}

TEST_F(FuseNames, ReplacedOpenFileLivesUntilItsLastClose) {
    write_file(path("old"), "old");
    write_file(path("new"), "new");
    const int fd = ::open(path("old").c_str(), O_RDONLY);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::rename(path("new").c_str(), path("old").c_str()), 0);
    EXPECT_EQ(read_file(path("old")), "new");
    char text[16] = {};
    EXPECT_EQ(::pread(fd, text, sizeof text, 0), 3);
    EXPECT_STREQ(text, "old");
    EXPECT_EQ(count_orphans(), 1U);
    ::close(fd);
    wait_for_closes();
    EXPECT_EQ(count_orphans(), 0U);
}

TEST_F(FuseNames, TemporaryFileGetsANameOrGoes) {
    ASSERT_EQ(::mkdir(path("t").c_str(), 0755), 0);
    const int fd = ::open(path("t").c_str(), O_TMPFILE | O_RDWR, 0640);
    ASSERT_GE(fd, 0) << errno;
    ASSERT_EQ(::write(fd, "named", 5), 5);
    struct stat info {};
    ASSERT_EQ(::fstat(fd, &info), 0);
    EXPECT_EQ(info.st_nlink, 0U);
    const std::string self = "/proc/self/fd/" + std::to_string(fd);
    ASSERT_EQ(::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path("t/name").c_str(), AT_SYMLINK_FOLLOW),
              0)
        << errno;
    EXPECT_EQ(stat_of(path("t/name")).st_nlink, 1U);
    ::close(fd);
    wait_for_closes();
    EXPECT_EQ(read_file(bare("t/name")), "named");
    const int gone = ::open(path("t").c_str(), O_TMPFILE | O_RDWR, 0640);
    ASSERT_GE(gone, 0);
    EXPECT_EQ(count_orphans(), 1U);
    ::close(gone);
    wait_for_closes();
    EXPECT_EQ(count_orphans(), 0U);
}

TEST_F(FuseNames, LargeDirectoryIsListedOnceEach) {
    ASSERT_EQ(::mkdir(path("many").c_str(), 0755), 0);
    std::set<std::string> names{".", ".."};
    for (int i = 0; i < 3000; ++i) {
        const std::string name = "file-number-" + std::to_string(i);
        write_file(path("many/" + name), "");
        names.insert(name);
    }
    std::size_t count = 0;
    EXPECT_EQ(list(path("many"), &count), names);
    EXPECT_EQ(count, names.size());
    for (int i = 0; i < 3000; i += 2) {
        ASSERT_EQ(::unlink(path("many/file-number-" + std::to_string(i)).c_str()), 0);
        names.erase("file-number-" + std::to_string(i));
    }
    EXPECT_EQ(list(path("many")), names);
    EXPECT_EQ(list(bare("many")), names);
}

TEST_F(FuseNames, ListingGoesOnFromAToldPosition) {
    ASSERT_EQ(::mkdir(path("many").c_str(), 0755), 0);
    for (int i = 0; i < 500; ++i) write_file(path("many/" + std::to_string(i)), "");
    DIR* directory = ::opendir(path("many").c_str());
    ASSERT_NE(directory, nullptr);
    std::vector<std::pair<long, std::string>> seen;
    for (;;) {
        const long position = ::telldir(directory);
        const dirent* entry = ::readdir(directory);
        if (entry == nullptr) break;
        seen.emplace_back(position, entry->d_name);
    }
    EXPECT_EQ(seen.size(), 502U);
    for (std::size_t i = 0; i < seen.size(); i += 37) {
        ::seekdir(directory, seen[i].first);
        const dirent* entry = ::readdir(directory);
        ASSERT_NE(entry, nullptr);
        EXPECT_EQ(entry->d_name, seen[i].second);
    }
    ::closedir(directory);
}

TEST_F(FuseNames, HiddenDirectoryIsNotThere) {
    EXPECT_EQ(::access(FuseTest::volume().bare_path(".gemel").c_str(), F_OK), 0);
    EXPECT_EQ(::access(FuseTest::volume().path(".gemel").c_str(), F_OK), -1);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(list(FuseTest::volume().path()).count(".gemel"), 0U);
    EXPECT_NE(::mkdir(FuseTest::volume().path(".gemel").c_str(), 0755), 0);
}

TEST_F(FuseNames, StickyDirectoryKeepsOthersFiles) {
    ASSERT_EQ(::mkdir(path("tmp").c_str(), 0755), 0);
    ASSERT_EQ(::chmod(path("tmp").c_str(), 01777), 0);
    write_file(path("tmp/of_root"), "x");
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] { return ::unlink(path("tmp/of_root").c_str()) == 0 ? 0 : errno; }),
              EPERM);
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] {
                         const std::string own = path("tmp/own");
                         if (::mknod(own.c_str(), S_IFREG | 0600, 0) != 0) return errno;
                         return ::unlink(own.c_str()) == 0 ? 0 : errno;
                     }),
              0);
}

TEST_F(FuseNames, PermissionsAreCheckedAsTheKernelDoes) {
    ASSERT_EQ(::mkdir(path("closed").c_str(), 0700), 0);
    write_file(path("closed/f"), "secret");
    write_file(path("readable"), "open");
    ASSERT_EQ(::chmod(path("readable").c_str(), 0644), 0);
    const auto try_open = [](const std::string& file, int flags) {
        return run_as(kUser, kGroup, [&] { return ::open(file.c_str(), flags) >= 0 ? 0 : errno; });
    };
    EXPECT_EQ(try_open(path("closed/f"), O_RDONLY), EACCES);
    EXPECT_EQ(try_open(path("readable"), O_RDONLY), 0);
    EXPECT_EQ(try_open(path("readable"), O_WRONLY), EACCES);
    EXPECT_EQ(run_as(kUser, kGroup,
                     [&] { return ::chmod(path("readable").c_str(), 0666) == 0 ? 0 : errno; }),
              EPERM);
}

TEST_F(FuseNames, WorkingDirectoryIsFoundByGetcwd) {
    ASSERT_EQ(::mkdir(path("w").c_str(), 0755), 0);
    EXPECT_EQ(run_in_child([&] {
                  if (::chdir(path("w").c_str()) != 0) return errno;
                  char text[4096];
                  return ::getcwd(text, sizeof text) != nullptr && path("w") == text ? 0 : 99;
              }),
              0);
}

TEST_F(FuseNames, DescriptorOfARemovedDirectoryStillWorks) {
    ASSERT_EQ(::mkdir(path("gone").c_str(), 0755), 0);
    const int fd = ::open(path("gone").c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::rmdir(path("gone").c_str()), 0);
    struct stat info {};
    EXPECT_EQ(::fstat(fd, &info), 0) << errno;
    EXPECT_EQ(::openat(fd, "f", O_CREAT | O_WRONLY, 0644), -1);
    EXPECT_EQ(errno, ENOENT);
    ::close(fd);
}

}  // namespace
}  // namespace gemel
