// SPDX-License-Identifier: Apache-2.0
// Conformance of Vfs: names, directories, handles.
#include "tests/unit/io/world.hpp"

#include <algorithm>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <set>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace gemel::test {
namespace {

class VfsNamesTest : public WorldTest {
   protected:
    ScopedFd open(Fd parent, std::string_view name, int flags = O_PATH) {
        auto file = vfs().open_at(parent, name, flags, 0);
        EXPECT_TRUE(file.ok()) << name << ": " << file.status().to_string();
        return {vfs(), file.ok() ? file.value() : Fd{}};
    }
    ScopedFd make_directory(Fd parent, std::string_view name) {
        EXPECT_TRUE(vfs().make_directory(parent, name, 0755).ok()) << name;
        return open(parent, name, O_RDONLY | O_DIRECTORY);
    }
    Status error_of_open(std::string_view name, int flags) {
        const auto file = vfs().open_at(directory(), name, flags, 0644);
        if (!file.ok()) return file.status();
        vfs().close(file.value());
        return Status();
    }
    std::uint64_t inode(Fd parent, std::string_view name) {
        const auto stat = vfs().stat_at(parent, name);
        EXPECT_TRUE(stat.ok()) << name << ": " << stat.status().to_string();
        return stat.ok() ? stat.value().inode : 0;
    }
    bool exists(Fd parent, std::string_view name) { return vfs().stat_at(parent, name).ok(); }
    // Every name, read in portions of `count_max`.
    std::vector<std::string> names(Fd parent, std::size_t count_max = 100) {
        std::vector<std::string> all;
        std::vector<DirectoryEntry> entries;
        std::uint64_t position = 0;
        for (;;) {
            entries.clear();
            const Status status = vfs().read_directory(parent, position, count_max, entries);
            EXPECT_TRUE(status.ok()) << status.to_string();
            EXPECT_LE(entries.size(), count_max);
            if (!status.ok() || entries.empty()) break;
            for (auto& entry : entries) all.push_back(entry.name);
            position = entries.back().next;
        }
        std::sort(all.begin(), all.end());
        return all;
    }
};
GEMEL_IN_EVERY(file_worlds, VfsNamesTest);

using Names = std::vector<std::string>;

// ---- opening --------------------------------------------------------------------------------

TEST_P(VfsNamesTest, OpenFindsMakesAndRefuses) {
    EXPECT_TRUE(error_of_open("f", O_RDONLY).is_errno(ENOENT));
    EXPECT_TRUE(error_of_open("f", O_RDWR | O_CREAT | O_EXCL).ok());
    EXPECT_TRUE(error_of_open("f", O_RDWR | O_CREAT | O_EXCL).is_errno(EEXIST));
    EXPECT_TRUE(error_of_open("f", O_RDWR | O_CREAT).ok());
    EXPECT_TRUE(error_of_open("f", O_RDONLY | O_DIRECTORY).is_errno(ENOTDIR));
    const ScopedFd sub = make_directory(directory(), "d");
    EXPECT_TRUE(error_of_open("d", O_RDWR).is_errno(EISDIR));
    const ScopedFd file = open_file("f");
    EXPECT_TRUE(vfs().open_at(file.get(), "x", O_RDONLY, 0).status().is_errno(ENOTDIR));
}

TEST_P(VfsNamesTest, OpenNeverFollowsASymbolicLink) {
    open_file("target");
    ASSERT_TRUE(vfs().make_symlink(directory(), "link", as_bytes("target")).ok());
    EXPECT_TRUE(error_of_open("link", O_RDONLY).is_errno(ELOOP));
    const ScopedFd link = open(directory(), "link");
    EXPECT_EQ(vfs().stat(link.get()).value().mode & S_IFMT, unsigned{S_IFLNK});
    const auto target = vfs().read_link(link.get());
    ASSERT_TRUE(target.ok());
    EXPECT_EQ(as_text(target.value()), "target");
}

TEST_P(VfsNamesTest, DotIsTheDirectoryItself) {
    const auto self = vfs().stat(directory());
    const ScopedFd again = open(directory(), ".", O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(vfs().stat(again.get()).value().inode, self.value().inode);
    EXPECT_EQ(inode(directory(), "."), self.value().inode);
}

TEST_P(VfsNamesTest, ModesAreExactlyThoseGiven) {
    const auto made = vfs().open_at(directory(), "f", O_RDWR | O_CREAT, 0666);
    ASSERT_TRUE(made.ok());
    const ScopedFd file(vfs(), made.value());
    EXPECT_EQ(vfs().stat(file.get()).value().mode, S_IFREG | 0666U);
    ASSERT_TRUE(vfs().make_directory(directory(), "d", 0777).ok());
    EXPECT_EQ(vfs().stat_at(directory(), "d").value().mode, S_IFDIR | 0777U);
}

TEST_P(VfsNamesTest, NamesHaveUpTo255BytesOfAnyKind) {
    std::string odd = "\x01\x02 \xff\xfe\n*?\\\"'\x80";
    const std::string longest(255, 'n');
    open_file(odd);
    open_file(longest);
    EXPECT_EQ(names(directory()), (Names{odd, longest}));
    EXPECT_TRUE(error_of_open(longest + "n", O_RDWR | O_CREAT).is_errno(ENAMETOOLONG));
    EXPECT_TRUE(vfs().make_directory(directory(), longest + "n", 0755).is_errno(ENAMETOOLONG));
}

// ---- making and removing --------------------------------------------------------------------

TEST_P(VfsNamesTest, MakingAnExistingNameIsRefused) {
    const ScopedFd file = open_file("x");
    EXPECT_TRUE(vfs().make_directory(directory(), "x", 0755).is_errno(EEXIST));
    EXPECT_TRUE(vfs().make_node(directory(), "x", S_IFIFO | 0644, 0).is_errno(EEXIST));
    EXPECT_TRUE(vfs().make_symlink(directory(), "x", as_bytes("t")).is_errno(EEXIST));
    EXPECT_TRUE(vfs().link(file.get(), directory(), "x").is_errno(EEXIST));
}

TEST_P(VfsNamesTest, NodesHaveTheirType) {
    ASSERT_TRUE(vfs().make_node(directory(), "file", S_IFREG | 0600, 0).ok());
    ASSERT_TRUE(vfs().make_node(directory(), "fifo", S_IFIFO | 0610, 0).ok());
    ASSERT_TRUE(vfs().make_node(directory(), "socket", S_IFSOCK | 0620, 0).ok());
    EXPECT_EQ(vfs().stat_at(directory(), "file").value().mode, S_IFREG | 0600U);
    EXPECT_EQ(vfs().stat_at(directory(), "fifo").value().mode, S_IFIFO | 0610U);
    EXPECT_EQ(vfs().stat_at(directory(), "socket").value().mode, S_IFSOCK | 0620U);
    if (!world().is_privileged()) GTEST_SKIP() << "device nodes need root";
    const std::uint64_t device = makedev(300, 70'000);
    ASSERT_TRUE(vfs().make_node(directory(), "char", S_IFCHR | 0640, device).ok());
    ASSERT_TRUE(vfs().make_node(directory(), "block", S_IFBLK | 0640, device).ok());
    EXPECT_EQ(vfs().stat_at(directory(), "char").value().special_device, device);
    EXPECT_EQ(vfs().stat_at(directory(), "block").value().mode, S_IFBLK | 0640U);
}

TEST_P(VfsNamesTest, UnlinkRemovesTheRightKind) {
    open_file("f");
    ScopedFd sub = make_directory(directory(), "d");
    ASSERT_TRUE(vfs().make_directory(sub.get(), "inner", 0755).ok());
    EXPECT_TRUE(vfs().unlink(directory(), "none", false).is_errno(ENOENT));
    EXPECT_TRUE(vfs().unlink(directory(), "f", true).is_errno(ENOTDIR));
    EXPECT_TRUE(vfs().unlink(directory(), "d", false).is_errno(EISDIR));
    EXPECT_TRUE(vfs().unlink(directory(), "d", true).is_errno(ENOTEMPTY));
    EXPECT_TRUE(vfs().unlink(sub.get(), "inner", true).ok());
    EXPECT_TRUE(vfs().unlink(directory(), "d", true).ok());
    EXPECT_TRUE(vfs().unlink(directory(), "f", false).ok());
    EXPECT_EQ(names(directory()), Names{});
    // Nothing can be made in a directory that is gone.
    EXPECT_TRUE(vfs().make_directory(sub.get(), "x", 0755).is_errno(ENOENT));
}

TEST_P(VfsNamesTest, LinksCountAndShareTheFile) {
    const ScopedFd file = open_file("a");
    write_all(file.get(), "one file");
    ASSERT_TRUE(vfs().link(file.get(), directory(), "b").ok());
    EXPECT_EQ(vfs().stat(file.get()).value().link_count, 2U);
    EXPECT_EQ(inode(directory(), "a"), inode(directory(), "b"));
    ASSERT_TRUE(vfs().unlink(directory(), "a", false).ok());
    EXPECT_EQ(content(open_file("b").get()), "one file");
    EXPECT_EQ(vfs().stat(file.get()).value().link_count, 1U);
}

TEST_P(VfsNamesTest, LinkTakesPathDescriptorsOfAnyKind) {
    ASSERT_TRUE(vfs().make_symlink(directory(), "link", as_bytes("nowhere")).ok());
    ASSERT_TRUE(vfs().make_node(directory(), "fifo", S_IFIFO | 0644, 0).ok());
    EXPECT_TRUE(vfs().link(open(directory(), "link").get(), directory(), "link2").ok());
    EXPECT_TRUE(vfs().link(open(directory(), "fifo").get(), directory(), "fifo2").ok());
    EXPECT_EQ(inode(directory(), "link"), inode(directory(), "link2"));
    EXPECT_EQ(inode(directory(), "fifo"), inode(directory(), "fifo2"));
    const ScopedFd sub = make_directory(directory(), "d");
    EXPECT_TRUE(vfs().link(sub.get(), directory(), "d2").is_errno(EPERM));
}

TEST_P(VfsNamesTest, DirectoriesCountTheirSubdirectories) {
    const ScopedFd sub = make_directory(directory(), "d");
    EXPECT_EQ(vfs().stat(sub.get()).value().link_count, 2U);
    make_directory(sub.get(), "inner");
    EXPECT_EQ(vfs().stat(sub.get()).value().link_count, 3U);
    ASSERT_TRUE(vfs().unlink(sub.get(), "inner", true).ok());
    EXPECT_EQ(vfs().stat(sub.get()).value().link_count, 2U);
}

// ---- rename ---------------------------------------------------------------------------------

TEST_P(VfsNamesTest, RenameReplacesAFile) {
    write_all(open_file("a").get(), "a");
    write_all(open_file("b").get(), "b");
    ASSERT_TRUE(vfs().rename(directory(), "a", directory(), "b", 0).ok());
    EXPECT_EQ(names(directory()), Names{"b"});
    EXPECT_EQ(content(open_file("b").get()), "a");
    EXPECT_TRUE(vfs().rename(directory(), "a", directory(), "c", 0).is_errno(ENOENT));
}

TEST_P(VfsNamesTest, RenameRespectsKinds) {
    open_file("f");
    const ScopedFd d = make_directory(directory(), "d"), full = make_directory(directory(), "full");
    make_directory(full.get(), "inner");
    EXPECT_TRUE(vfs().rename(directory(), "f", directory(), "d", 0).is_errno(EISDIR));
    EXPECT_TRUE(vfs().rename(directory(), "d", directory(), "f", 0).is_errno(ENOTDIR));
    EXPECT_TRUE(vfs().rename(directory(), "d", directory(), "full", 0).is_errno(ENOTEMPTY));
    EXPECT_TRUE(vfs().rename(directory(), "full", directory(), "d", 0).ok());
    EXPECT_TRUE(exists(directory(), "d"));
    EXPECT_FALSE(exists(directory(), "full"));
}

TEST_P(VfsNamesTest, DirectoryCannotMoveIntoItself) {
    const ScopedFd a = make_directory(directory(), "a");
    const ScopedFd b = make_directory(a.get(), "b");
    EXPECT_TRUE(vfs().rename(directory(), "a", b.get(), "c", 0).is_errno(EINVAL));
    EXPECT_TRUE(vfs().rename(directory(), "a", a.get(), "c", 0).is_errno(EINVAL));
}

TEST_P(VfsNamesTest, RenameWithoutReplacing) {
    open_file("a");
    open_file("b");
    const unsigned flags = RENAME_NOREPLACE;
    EXPECT_TRUE(vfs().rename(directory(), "a", directory(), "b", flags).is_errno(EEXIST));
    EXPECT_TRUE(vfs().rename(directory(), "a", directory(), "c", flags).ok());
    EXPECT_EQ(names(directory()), (Names{"b", "c"}));
}

TEST_P(VfsNamesTest, ExchangeSwapsObjectsOfAnyKind) {
    open_file("f");
    const ScopedFd d = make_directory(directory(), "d");
    make_directory(d.get(), "inner");
    const auto file = inode(directory(), "f"), sub = inode(directory(), "d");
    ASSERT_TRUE(vfs().rename(directory(), "f", directory(), "d", RENAME_EXCHANGE).ok());
    EXPECT_EQ(inode(directory(), "d"), file);
    EXPECT_EQ(inode(directory(), "f"), sub);
    EXPECT_TRUE(vfs().rename(directory(), "f", directory(), "x", RENAME_EXCHANGE).is_errno(ENOENT));
    EXPECT_TRUE(vfs()
                    .rename(directory(), "f", directory(), "d", RENAME_EXCHANGE | RENAME_NOREPLACE)
                    .is_errno(EINVAL));
}

TEST_P(VfsNamesTest, RenamingOneFileOntoItselfLeavesBothNames) {
    const ScopedFd file = open_file("a");
    ASSERT_TRUE(vfs().link(file.get(), directory(), "b").ok());
    EXPECT_TRUE(vfs().rename(directory(), "a", directory(), "b", 0).ok());
    EXPECT_EQ(names(directory()), (Names{"a", "b"}));
}

TEST_P(VfsNamesTest, RenameBetweenDirectoriesMovesTheParentsCounts) {
    const ScopedFd a = make_directory(directory(), "a"), b = make_directory(directory(), "b");
    make_directory(a.get(), "moved");
    ASSERT_TRUE(vfs().rename(a.get(), "moved", b.get(), "here", 0).ok());
    EXPECT_EQ(vfs().stat(a.get()).value().link_count, 2U);
    EXPECT_EQ(vfs().stat(b.get()).value().link_count, 3U);
    EXPECT_EQ(names(b.get()), Names{"here"});
}

// ---- reading directories --------------------------------------------------------------------

TEST_P(VfsNamesTest, ListingTellsTypesAndInodes) {
    open_file("file");
    make_directory(directory(), "directory");
    ASSERT_TRUE(vfs().make_symlink(directory(), "symlink", as_bytes("t")).ok());
    ASSERT_TRUE(vfs().make_node(directory(), "fifo", S_IFIFO | 0644, 0).ok());
    std::vector<DirectoryEntry> entries;
    ASSERT_TRUE(vfs().read_directory(directory(), 0, 100, entries).ok());
    ASSERT_EQ(entries.size(), 4U);
    for (const auto& entry : entries) {
        const auto stat = vfs().stat_at(directory(), entry.name);
        ASSERT_TRUE(stat.ok()) << entry.name;
        EXPECT_EQ(entry.inode, stat.value().inode) << entry.name;
        if (entry.type == DT_UNKNOWN) continue;
        EXPECT_EQ(entry.type, stat.value().mode >> 12) << entry.name;
    }
}

TEST_P(VfsNamesTest, EmptyDirectoryListsNothing) {
    std::vector<DirectoryEntry> entries;
    EXPECT_TRUE(vfs().read_directory(directory(), 0, 10, entries).ok());
    EXPECT_TRUE(entries.empty());
    const ScopedFd file = open_file("f");
    EXPECT_TRUE(vfs().read_directory(file.get(), 0, 10, entries).is_errno(ENOTDIR));
}

TEST_P(VfsNamesTest, LargeDirectoryIsReadInPortions) {
    Names expected;
    for (int i = 0; i < 1500; ++i) {
        expected.push_back("name-" + std::to_string(i) + std::string(40, 'x'));
        open_file(expected.back());
    }
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(names(directory(), 1000), expected);
    EXPECT_EQ(names(directory(), 7), expected);
}

TEST_P(VfsNamesTest, ListingReachesTheRestWhileNamesAreRemoved) {
    constexpr int kCount = 600;
    for (int i = 0; i < kCount; ++i) open_file("name-" + std::to_string(i));
    std::set<std::string> seen;
    std::vector<DirectoryEntry> entries;
    std::uint64_t position = 0;
    for (;;) {
        entries.clear();
        ASSERT_TRUE(vfs().read_directory(directory(), position, 50, entries).ok());
        if (entries.empty()) break;
        for (const auto& entry : entries) {
            EXPECT_TRUE(seen.insert(entry.name).second) << entry.name << " came twice";
            EXPECT_TRUE(vfs().unlink(directory(), entry.name, false).ok());
        }
        position = entries.back().next;
    }
    EXPECT_EQ(seen.size(), std::size_t{kCount});
    EXPECT_EQ(names(directory()), Names{});
}

// ---- where a directory is -------------------------------------------------------------------

TEST_P(VfsNamesTest, LocateFollowsRenames) {
    const ScopedFd a = make_directory(directory(), "a"), b = make_directory(directory(), "b");
    const ScopedFd moving = make_directory(a.get(), "first");
    const auto expect_at = [&](Fd parent, std::string_view name) {
        auto location = vfs().locate(moving.get());
        ASSERT_TRUE(location.ok()) << location.status().to_string();
        const ScopedFd found(vfs(), location->parent);
        EXPECT_EQ(location->name, name);
        EXPECT_EQ(vfs().stat(found.get()).value().inode, vfs().stat(parent).value().inode);
    };
    expect_at(a.get(), "first");
    ASSERT_TRUE(vfs().rename(a.get(), "first", b.get(), "second (deleted)", 0).ok());
    expect_at(b.get(), "second (deleted)");
}

TEST_P(VfsNamesTest, RemovedDirectoryIsNowhere) {
    const ScopedFd gone = make_directory(directory(), "d");
    ASSERT_TRUE(vfs().unlink(directory(), "d", true).ok());
    EXPECT_TRUE(vfs().locate(gone.get()).status().is_errno(ENOENT));
    // Neither is another directory of its old name taken for it.
    make_directory(directory(), "d");
    make_directory(directory(), "d (deleted)");
    EXPECT_TRUE(vfs().locate(gone.get()).status().is_errno(ENOENT));
}

// The path is longer than any system call takes (PATH_MAX is 4096).
TEST_P(VfsNamesTest, DirectoriesMayBeDeeperThanAnyPath) {
    const std::string name(250, 'p');
    ScopedFd at = open(directory(), ".", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 20; ++i) at = make_directory(at.get(), name);
    make_directory(at.get(), "other");
    const ScopedFd deepest = make_directory(at.get(), "deepest");
    auto location = vfs().locate(deepest.get());
    ASSERT_TRUE(location.ok()) << location.status().to_string();
    const ScopedFd parent(vfs(), location->parent);
    EXPECT_EQ(location->name, "deepest");
    EXPECT_EQ(vfs().stat(parent.get()).value().inode, vfs().stat(at.get()).value().inode);
}

// ---- handles --------------------------------------------------------------------------------

class VfsHandleTest : public VfsNamesTest {
   protected:
    void SetUp() override {
        if (!world().is_privileged()) GTEST_SKIP() << "handles need CAP_DAC_READ_SEARCH";
    }
    FileHandle handle_of(Fd file) {
        const auto handle = vfs().handle_of(file);
        EXPECT_TRUE(handle.ok()) << handle.status().to_string();
        return handle.ok() ? handle.value() : FileHandle{};
    }
};
GEMEL_IN_EVERY(file_worlds, VfsHandleTest);

TEST_P(VfsHandleTest, HandleOutlivesRenames) {
    FileHandle handle;
    {
        const ScopedFd file = open_file("a");
        write_all(file.get(), "found");
        handle = handle_of(file.get());
        EXPECT_EQ(handle, handle_of(file.get()));
    }
    const ScopedFd d = make_directory(directory(), "d");
    ASSERT_TRUE(vfs().rename(directory(), "a", d.get(), "b", 0).ok());
    const auto opened = vfs().open_by_handle(directory(), handle, O_RDWR);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    const ScopedFd file(vfs(), opened.value());
    EXPECT_EQ(content(file.get()), "found");
}

TEST_P(VfsHandleTest, HandleOfARemovedFileIsStale) {
    ScopedFd file = open_file("a");
    const FileHandle handle = handle_of(file.get());
    ASSERT_TRUE(vfs().unlink(directory(), "a", false).ok());
    file.reset();
    EXPECT_TRUE(vfs().open_by_handle(directory(), handle, O_RDWR).status().is_errno(ESTALE));
    // Nor is a new file taken for it, should it get the same inode number.
    for (int i = 0; i < 20; ++i) open_file("new" + std::to_string(i));
    EXPECT_TRUE(vfs().open_by_handle(directory(), handle, O_RDWR).status().is_errno(ESTALE));
}

TEST_P(VfsHandleTest, WhatIsClosedLaterIsClosedWhenClosingHasFinished) {
    EXPECT_FALSE(vfs().finish_closing());
    std::vector<FileHandle> handles;
    // More than wait at once.
    for (int i = 0; i < 200; ++i) {
        const std::string name = "file" + std::to_string(i);
        ScopedFd file = open_file(name);
        handles.push_back(handle_of(file.get()));
        ASSERT_TRUE(vfs().unlink(directory(), name, false).ok());
        vfs().close_later(file.release());
    }
    vfs().finish_closing();
    EXPECT_FALSE(vfs().finish_closing());
    for (const FileHandle& handle : handles) {
        EXPECT_TRUE(vfs().open_by_handle(directory(), handle, O_RDWR).status().is_errno(ESTALE));
    }
}

TEST_P(VfsHandleTest, HandlesNameEveryKindAndDiffer) {
    make_directory(directory(), "directory");
    ASSERT_TRUE(vfs().make_symlink(directory(), "symlink", as_bytes("t")).ok());
    ASSERT_TRUE(vfs().make_node(directory(), "fifo", S_IFIFO | 0644, 0).ok());
    open_file("file");
    std::vector<FileHandle> seen;
    for (const char* name : {"directory", "symlink", "fifo", "file"}) {
        const FileHandle handle = handle_of(open(directory(), name).get());
        EXPECT_EQ(std::count(seen.begin(), seen.end(), handle), 0) << name;
        seen.push_back(handle);
        const auto opened = vfs().open_by_handle(directory(), handle, O_PATH);
        ASSERT_TRUE(opened.ok()) << name << ": " << opened.status().to_string();
        const ScopedFd file(vfs(), opened.value());
        EXPECT_EQ(vfs().stat(file.get()).value().inode, inode(directory(), name));
    }
    EXPECT_TRUE(vfs().open_by_handle(directory(), seen[1], O_RDONLY).status().is_errno(ELOOP));
}

TEST_P(VfsHandleTest, InventedHandleIsStale) {
    FileHandle handle = handle_of(open_file("a").get());
    handle.bytes[0] ^= 0x55;
    handle.bytes[1] ^= 0x55;
    EXPECT_TRUE(vfs().open_by_handle(directory(), handle, O_RDONLY).status().is_errno(ESTALE));
}

}  // namespace
}  // namespace gemel::test
