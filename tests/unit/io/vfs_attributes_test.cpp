// SPDX-License-Identifier: Apache-2.0
// Conformance of Vfs: modes, owners, times, extended attributes, on every kind of object.
#include "tests/unit/io/world.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

namespace gemel::test {
namespace {

class VfsAttributesTest : public WorldTest {
   protected:
    ScopedFd open_path(std::string_view name) {
        auto file = vfs().open_at(directory(), name, O_PATH, 0);
        EXPECT_TRUE(file.ok()) << name << ": " << file.status().to_string();
        return {vfs(), file.ok() ? file.value() : Fd{}};
    }
    FileStat stat(Fd file) {
        const auto result = vfs().stat(file);
        EXPECT_TRUE(result.ok()) << result.status().to_string();
        return result.ok() ? result.value() : FileStat{};
    }
    // O_PATH descriptors of a symbolic link, a fifo, a directory and a file.
    std::vector<ScopedFd> every_kind() {
        EXPECT_TRUE(vfs().make_symlink(directory(), "symlink", as_bytes("nowhere")).ok());
        EXPECT_TRUE(vfs().make_node(directory(), "fifo", S_IFIFO | 0644, 0).ok());
        EXPECT_TRUE(vfs().make_directory(directory(), "directory", 0755).ok());
        open_file("file");
        std::vector<ScopedFd> all;
        for (const char* name : {"symlink", "fifo", "directory", "file"}) {
            all.push_back(open_path(name));
        }
        return all;
    }
    Status set(Fd file, std::string_view name, std::string_view value, int flags = 0) {
        return vfs().set_xattr(file, name, as_bytes(value), flags);
    }
    std::string get(Fd file, std::string_view name) {
        std::byte buffer[256];
        const auto size = vfs().get_xattr(file, name, buffer);
        if (!size.ok()) return size.status().to_string();
        return std::string(as_text({buffer, size.value()}));
    }
    void need_privilege() {
        if (!world().is_privileged()) GTEST_SKIP() << "needs root";
    }
};
GEMEL_IN_EVERY(file_worlds, VfsAttributesTest);

constexpr WallTime kPast{1'000'000'000, 123'456'789};
constexpr WallTime kFuture{5'000'000'000, 999'999'999};
constexpr WallTime kBefore1970{-1'000, 5};

// ---- mode and owner -------------------------------------------------------------------------

TEST_P(VfsAttributesTest, ModeIsSetOnDescriptorsAndPaths) {
    const ScopedFd file = open_file("f");
    ASSERT_TRUE(vfs().set_mode(file.get(), 0604).ok());
    EXPECT_EQ(stat(file.get()).mode, S_IFREG | 0604U);
    ASSERT_TRUE(vfs().set_mode(open_path("f").get(), 02755).ok());
    EXPECT_EQ(stat(file.get()).mode, S_IFREG | 02755U);
    ASSERT_TRUE(vfs().make_node(directory(), "fifo", S_IFIFO | 0644, 0).ok());
    ASSERT_TRUE(vfs().set_mode(open_path("fifo").get(), 0600).ok());
    EXPECT_EQ(stat(open_path("fifo").get()).mode, S_IFIFO | 0600U);
}

TEST_P(VfsAttributesTest, SymbolicLinkHasNoModeToSet) {
    ASSERT_TRUE(vfs().make_symlink(directory(), "link", as_bytes("nowhere")).ok());
    const ScopedFd link = open_path("link");
    EXPECT_TRUE(vfs().set_mode(link.get(), 0600).is_errno(EOPNOTSUPP));
    EXPECT_EQ(stat(link.get()).mode, S_IFLNK | 0777U);
}

TEST_P(VfsAttributesTest, OwnerIsSetOnEveryKind) {
    need_privilege();
    if (IsSkipped()) return;
    std::uint32_t id = 3000;
    for (const ScopedFd& file : every_kind()) {
        ++id;
        ASSERT_TRUE(vfs().set_owner(file.get(), id, id + 1000).ok());
        EXPECT_EQ(stat(file.get()).uid, id);
        EXPECT_EQ(stat(file.get()).gid, id + 1000);
    }
}

TEST_P(VfsAttributesTest, ChangingTheOwnerClearsSetIdBitsOfFilesOnly) {
    need_privilege();
    if (IsSkipped()) return;
    const ScopedFd file = open_file("f");
    ASSERT_TRUE(vfs().set_mode(file.get(), 06755).ok());
    ASSERT_TRUE(vfs().set_owner(file.get(), 3001, 3001).ok());
    EXPECT_EQ(stat(file.get()).mode, S_IFREG | 0755U);
    ASSERT_TRUE(vfs().make_directory(directory(), "d", 0755).ok());
    const ScopedFd sub = open_path("d");
    ASSERT_TRUE(vfs().set_mode(sub.get(), 06755).ok());
    ASSERT_TRUE(vfs().set_owner(sub.get(), 3001, 3001).ok());
    EXPECT_EQ(stat(sub.get()).mode, S_IFDIR | 06755U);
}

// ---- times ----------------------------------------------------------------------------------

TEST_P(VfsAttributesTest, TimesAreSetOnEveryKindToTheNanosecond) {
    for (const ScopedFd& file : every_kind()) {
        ASSERT_TRUE(vfs().set_times(file.get(), {true, kPast}, {true, kFuture}).ok());
        EXPECT_EQ(stat(file.get()).accessed, kPast);
        EXPECT_EQ(stat(file.get()).modified, kFuture);
        ASSERT_TRUE(vfs().set_times(file.get(), {true, kBefore1970}, {}).ok());
        EXPECT_EQ(stat(file.get()).accessed, kBefore1970);
        EXPECT_EQ(stat(file.get()).modified, kFuture);
        ASSERT_TRUE(vfs().set_times(file.get(), {}, {true, kPast}).ok());
        EXPECT_EQ(stat(file.get()).accessed, kBefore1970);
        EXPECT_EQ(stat(file.get()).modified, kPast);
    }
}

TEST_P(VfsAttributesTest, WritingMovesTheModificationTime) {
    const ScopedFd file = open_file("f");
    ASSERT_TRUE(vfs().set_times(file.get(), {}, {true, kPast}).ok());
    write_all(file.get(), "x");
    EXPECT_GT(stat(file.get()).modified, kPast);
    ASSERT_TRUE(vfs().set_times(directory(), {}, {true, kPast}).ok());
    open_file("another");
    EXPECT_GT(stat(directory()).modified, kPast);
}

TEST_P(VfsAttributesTest, StatTellsSizesAndKinds) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), std::string(10'000, 'x'));
    const FileStat by_fd = stat(file.get());
    const auto by_name = vfs().stat_at(directory(), "f");
    ASSERT_TRUE(by_name.ok());
    EXPECT_EQ(by_fd.size, 10'000U);
    EXPECT_EQ(by_fd.inode, by_name.value().inode);
    EXPECT_EQ(by_fd.device, stat(directory()).device);
    EXPECT_EQ(by_fd.link_count, 1U);
    EXPECT_GT(by_fd.block_size, 0U);
    EXPECT_TRUE(vfs().stat_at(directory(), "none").status().is_errno(ENOENT));
    const auto system = vfs().stat_file_system(directory());
    ASSERT_TRUE(system.ok());
    EXPECT_GT(system.value().blocks, 0U);
    EXPECT_EQ(system.value().name_size_max, 255U);
    EXPECT_NE(system.value().magic, 0U);
}

// ---- extended attributes --------------------------------------------------------------------

TEST_P(VfsAttributesTest, XattrsAreKeptAndListed) {
    const ScopedFd file = open_file("f");
    ASSERT_TRUE(set(file.get(), "user.a", "value").ok());
    ASSERT_TRUE(set(file.get(), "user.empty", "").ok());
    EXPECT_EQ(get(file.get(), "user.a"), "value");
    EXPECT_EQ(get(file.get(), "user.empty"), "");
    ASSERT_TRUE(set(file.get(), "user.a", "other").ok());
    EXPECT_EQ(get(file.get(), "user.a"), "other");
    auto names = vfs().list_xattrs(file.get());
    ASSERT_TRUE(names.ok());
    std::sort(names->begin(), names->end());
    EXPECT_EQ(names.value(), (std::vector<std::string>{"user.a", "user.empty"}));
    ASSERT_TRUE(vfs().remove_xattr(file.get(), "user.a").ok());
    EXPECT_EQ(vfs().list_xattrs(file.get()).value(), std::vector<std::string>{"user.empty"});
}

TEST_P(VfsAttributesTest, XattrErrorsSayWhatIsWrong) {
    const ScopedFd file = open_file("f");
    std::byte buffer[3];
    EXPECT_TRUE(vfs().get_xattr(file.get(), "user.a", buffer).status().is_errno(ENODATA));
    EXPECT_TRUE(vfs().remove_xattr(file.get(), "user.a").is_errno(ENODATA));
    EXPECT_TRUE(set(file.get(), "user.a", "x", XATTR_REPLACE).is_errno(ENODATA));
    ASSERT_TRUE(set(file.get(), "user.a", "four", XATTR_CREATE).ok());
    EXPECT_TRUE(set(file.get(), "user.a", "x", XATTR_CREATE).is_errno(EEXIST));
    EXPECT_TRUE(vfs().get_xattr(file.get(), "user.a", buffer).status().is_errno(ERANGE));
    EXPECT_EQ(vfs().get_xattr(file.get(), "user.a", {}).value(), 4U);
    EXPECT_TRUE(set(file.get(), "user." + std::string(251, 'n'), "x").is_errno(ERANGE));
    EXPECT_TRUE(set(file.get(), "user." + std::string(250, 'n'), "x").ok());
}

TEST_P(VfsAttributesTest, TrustedXattrsWorkOnEveryKindByPath) {
    need_privilege();
    if (IsSkipped()) return;
    for (const ScopedFd& file : every_kind()) {
        ASSERT_TRUE(set(file.get(), "trusted.gemel.id", "12345678").ok());
        EXPECT_EQ(get(file.get(), "trusted.gemel.id"), "12345678");
        EXPECT_EQ(vfs().list_xattrs(file.get()).value(),
                  std::vector<std::string>{"trusted.gemel.id"});
        ASSERT_TRUE(vfs().remove_xattr(file.get(), "trusted.gemel.id").ok());
        EXPECT_TRUE(vfs().list_xattrs(file.get()).value().empty());
    }
    // It was the link itself, not what it names.
    const ScopedFd link = open_path("symlink");
    EXPECT_TRUE(set(link.get(), "user.a", "x").is_errno(EPERM));
}

TEST_P(VfsAttributesTest, XattrsStayWithTheFileAcrossRename) {
    const ScopedFd file = open_file("f");
    ASSERT_TRUE(set(file.get(), "user.a", "value").ok());
    ASSERT_TRUE(vfs().rename(directory(), "f", directory(), "g", 0).ok());
    EXPECT_EQ(get(open_path("g").get(), "user.a"), "value");
}

TEST_P(VfsAttributesTest, ManyXattrNamesAreListedWhole) {
    const ScopedFd file = open_file("f");
    std::vector<std::string> expected;
    for (char c = 'a'; c < 'i'; ++c) {
        expected.push_back("user." + std::string(200, c));
        ASSERT_TRUE(set(file.get(), expected.back(), "").ok());
    }
    auto names = vfs().list_xattrs(file.get());
    ASSERT_TRUE(names.ok());
    std::sort(names->begin(), names->end());
    EXPECT_EQ(names.value(), expected);
}

}  // namespace
}  // namespace gemel::test
