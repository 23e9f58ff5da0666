// SPDX-License-Identifier: Apache-2.0
// Conformance of Vfs: data of files.
#include "tests/unit/io/world.hpp"

#include <fcntl.h>
#include <linux/falloc.h>

namespace gemel::test {
namespace {

constexpr std::uint64_t kBlock = 64 * kKiB;  // a multiple of every usual block size

class VfsDataTest : public WorldTest {
   protected:
    std::uint64_t size_of(Fd file) {
        const auto stat = vfs().stat(file);
        EXPECT_TRUE(stat.ok());
        return stat.ok() ? stat.value().size : ~std::uint64_t{0};
    }
    // SEEK_DATA or SEEK_HOLE; the end of the file as ~0 when there is none.
    std::uint64_t seek(Fd file, std::uint64_t offset, int whence) {
        const auto found = vfs().seek(file, offset, whence);
        if (!found.ok()) {
            EXPECT_TRUE(found.status().is_errno(ENXIO)) << found.status().to_string();
            return ~std::uint64_t{0};
        }
        return found.value();
    }
};
GEMEL_IN_EVERY(file_worlds, VfsDataTest);

constexpr std::uint64_t kNone = ~std::uint64_t{0};

TEST_P(VfsDataTest, ReadsWhatWasWritten) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "hello");
    write_all(file.get(), "HE");
    EXPECT_EQ(content(file.get()), "HEllo");
    std::byte buffer[3];
    const auto count = vfs().pread(file.get(), buffer, 3);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(as_text({buffer, count.value()}), "lo");
    EXPECT_EQ(vfs().pread(file.get(), buffer, 5).value(), 0U);
    EXPECT_EQ(vfs().pread(file.get(), buffer, 500).value(), 0U);
}

TEST_P(VfsDataTest, WritingBeyondTheEndReadsZerosBetween) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "a");
    write_all(file.get(), "b", 5);
    EXPECT_EQ(content(file.get()), (std::string{'a', 0, 0, 0, 0, 'b'}));
}

TEST_P(VfsDataTest, TruncateCutsAndGrowsWithZeros) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "abcdef");
    ASSERT_TRUE(vfs().truncate(file.get(), 3).ok());
    EXPECT_EQ(content(file.get()), "abc");
    ASSERT_TRUE(vfs().truncate(file.get(), 6).ok());
    EXPECT_EQ(content(file.get()), (std::string{'a', 'b', 'c', 0, 0, 0}));
}

TEST_P(VfsDataTest, DescriptorsOfOneFileShareItsData) {
    const ScopedFd a = open_file("f"), b = open_file("f");
    write_all(a.get(), "shared");
    EXPECT_EQ(content(b.get()), "shared");
}

TEST_P(VfsDataTest, WrongModeOfDescriptorIsRefused) {
    open_file("f");
    const auto reader = vfs().open_at(directory(), "f", O_RDONLY, 0);
    const auto writer = vfs().open_at(directory(), "f", O_WRONLY, 0);
    const auto path = vfs().open_at(directory(), "f", O_PATH, 0);
    ASSERT_TRUE(reader.ok() && writer.ok() && path.ok());
    const ScopedFd a(vfs(), reader.value()), b(vfs(), writer.value()), c(vfs(), path.value());
    std::byte buffer[4];
    EXPECT_TRUE(vfs().pwrite(a.get(), as_bytes("x"), 0).status().is_errno(EBADF));
    EXPECT_TRUE(vfs().pread(b.get(), buffer, 0).status().is_errno(EBADF));
    EXPECT_TRUE(vfs().pread(c.get(), buffer, 0).status().is_errno(EBADF));
    EXPECT_TRUE(vfs().truncate(a.get(), 0).is_errno(EINVAL));
}

TEST_P(VfsDataTest, OpenWithTruncateEmptiesTheFile) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "old");
    open_file("f", O_TRUNC);
    EXPECT_EQ(size_of(file.get()), 0U);
}

TEST_P(VfsDataTest, SyncsSucceed) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "x");
    EXPECT_TRUE(vfs().sync(file.get(), true).ok());
    EXPECT_TRUE(vfs().sync(file.get(), false).ok());
    EXPECT_TRUE(vfs().sync(directory(), false).ok());
    EXPECT_TRUE(vfs().sync_file_system(directory()).ok());
}

TEST_P(VfsDataTest, DroppingTheCacheLosesNothing) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "kept");
    EXPECT_TRUE(vfs().drop_cache(file.get()).ok());
    EXPECT_TRUE(vfs().sync(file.get(), false).ok());
    EXPECT_TRUE(vfs().drop_cache(file.get()).ok());
    std::byte buffer[4];
    EXPECT_EQ(vfs().pread(file.get(), buffer, 0).value(), 4U);
    EXPECT_EQ(as_text(buffer), "kept");
}

// ---- holes ----------------------------------------------------------------------------------

TEST_P(VfsDataTest, SeekFindsDataAndHoles) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), std::string(kBlock, 'd'), 2 * kBlock);
    ASSERT_TRUE(vfs().truncate(file.get(), 5 * kBlock).ok());
    EXPECT_EQ(seek(file.get(), 0, SEEK_DATA), 2 * kBlock);
    EXPECT_EQ(seek(file.get(), 0, SEEK_HOLE), 0U);
    EXPECT_EQ(seek(file.get(), 2 * kBlock + 5, SEEK_DATA), 2 * kBlock + 5);
    EXPECT_EQ(seek(file.get(), 2 * kBlock, SEEK_HOLE), 3 * kBlock);
    EXPECT_EQ(seek(file.get(), 3 * kBlock, SEEK_DATA), kNone);
    EXPECT_EQ(seek(file.get(), 4 * kBlock, SEEK_HOLE), 4 * kBlock);
    EXPECT_EQ(seek(file.get(), 5 * kBlock, SEEK_HOLE), kNone);
    EXPECT_EQ(seek(file.get(), 6 * kBlock, SEEK_DATA), kNone);
}

TEST_P(VfsDataTest, EndOfTheFileIsAHole) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "abc");
    EXPECT_EQ(seek(file.get(), 1, SEEK_HOLE), 3U);
    EXPECT_EQ(seek(file.get(), 2, SEEK_DATA), 2U);
}

TEST_P(VfsDataTest, PunchedHoleReadsZerosAndKeepsTheSize) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), std::string(3 * kBlock, 'd'));
    ASSERT_TRUE(
        vfs()
            .allocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock, kBlock)
            .ok());
    EXPECT_EQ(seek(file.get(), 0, SEEK_HOLE), kBlock);
    EXPECT_EQ(seek(file.get(), kBlock, SEEK_DATA), 2 * kBlock);
    EXPECT_EQ(content(file.get()),
              std::string(kBlock, 'd') + std::string(kBlock, '\0') + std::string(kBlock, 'd'));
}

TEST_P(VfsDataTest, PunchingWithinABlockZeroesExactlyThat) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "abcdef");
    ASSERT_TRUE(vfs().allocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3).ok());
    EXPECT_EQ(content(file.get()), (std::string{'a', 'b', 0, 0, 0, 'f'}));
}

TEST_P(VfsDataTest, AllocateGrowsUnlessAskedToKeepTheSize) {
    const ScopedFd file = open_file("f");
    ASSERT_TRUE(vfs().allocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, kBlock).ok());
    EXPECT_EQ(size_of(file.get()), 0U);
    ASSERT_TRUE(vfs().allocate(file.get(), 0, 0, kBlock).ok());
    EXPECT_EQ(size_of(file.get()), kBlock);
    EXPECT_EQ(content(file.get()), std::string(kBlock, '\0'));
    const auto stat = vfs().stat(file.get());
    EXPECT_GE(stat.value().blocks_512, kBlock / 512);
}

TEST_P(VfsDataTest, ZeroRangeOverwritesAndMayGrow) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "abcdef");
    ASSERT_TRUE(vfs().allocate(file.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 4, 10).ok());
    EXPECT_EQ(content(file.get()), (std::string{'a', 'b', 'c', 'd', 0, 0}));
    ASSERT_TRUE(vfs().allocate(file.get(), FALLOC_FL_ZERO_RANGE, 4, 10).ok());
    EXPECT_EQ(size_of(file.get()), 14U);
}

TEST_P(VfsDataTest, AllocateRefusesNothingAndNonsense) {
    const ScopedFd file = open_file("f");
    EXPECT_TRUE(vfs().allocate(file.get(), 0, 0, 0).is_errno(EINVAL));
    EXPECT_TRUE(vfs().allocate(file.get(), FALLOC_FL_PUNCH_HOLE, 0, 1).is_errno(EOPNOTSUPP));
}

TEST_P(VfsDataTest, CollapseAndInsertShiftWhatFollows) {
    const ScopedFd file = open_file("f");
    write_all(file.get(),
              std::string(kBlock, 'a') + std::string(kBlock, 'b') + std::string(kBlock, 'c'));
    ASSERT_TRUE(vfs().allocate(file.get(), FALLOC_FL_COLLAPSE_RANGE, kBlock, kBlock).ok());
    EXPECT_EQ(content(file.get()), std::string(kBlock, 'a') + std::string(kBlock, 'c'));
    ASSERT_TRUE(vfs().allocate(file.get(), FALLOC_FL_INSERT_RANGE, kBlock, kBlock).ok());
    EXPECT_EQ(content(file.get()),
              std::string(kBlock, 'a') + std::string(kBlock, '\0') + std::string(kBlock, 'c'));
}

TEST_P(VfsDataTest, CopyRangeCopiesUpToTheEnd) {
    const ScopedFd source = open_file("source"), target = open_file("target");
    write_all(source.get(), "0123456789");
    write_all(target.get(), "abcdefgh");
    const auto copied = vfs().copy_range(source.get(), 6, target.get(), 2, 100);
    ASSERT_TRUE(copied.ok()) << copied.status().to_string();
    EXPECT_EQ(copied.value(), 4U);
    EXPECT_EQ(content(target.get()), "ab6789gh");
    EXPECT_EQ(vfs().copy_range(source.get(), 10, target.get(), 0, 5).value(), 0U);
}

TEST_P(VfsDataTest, CloneIsApartFromWhatItWasMadeOf) {
    const ScopedFd source = open_file("source"), target = open_file("target");
    write_all(source.get(), std::string(3 * kBlock, 's') + "end");
    write_all(target.get(), std::string(5 * kBlock, 't'));
    const Status cloned = vfs().clone(source.get(), target.get());
    if (cloned.is_errno(EOPNOTSUPP)) GTEST_SKIP() << "no clones on this file system";
    ASSERT_TRUE(cloned.ok()) << cloned.to_string();
    write_all(source.get(), "changed");
    EXPECT_EQ(content(target.get()), std::string(3 * kBlock, 's') + "end");
}

// ---- files without a name -------------------------------------------------------------------

TEST_P(VfsDataTest, UnlinkedOpenFileKeepsItsData) {
    const ScopedFd file = open_file("f");
    write_all(file.get(), "still here");
    ASSERT_TRUE(vfs().unlink(directory(), "f", false).ok());
    EXPECT_EQ(content(file.get()), "still here");
    EXPECT_EQ(vfs().stat(file.get()).value().link_count, 0U);
    EXPECT_TRUE(vfs().stat_at(directory(), "f").status().is_errno(ENOENT));
}

TEST_P(VfsDataTest, TemporaryFileGetsItsFirstNameByLink) {
    const auto made = vfs().open_at(directory(), ".", O_TMPFILE | O_RDWR, 0640);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    const ScopedFd file(vfs(), made.value());
    write_all(file.get(), "complete");
    EXPECT_EQ(vfs().stat(file.get()).value().link_count, 0U);
    EXPECT_EQ(vfs().stat(file.get()).value().mode, S_IFREG | 0640U);
    ASSERT_TRUE(vfs().link(file.get(), directory(), "f").ok());
    EXPECT_EQ(vfs().stat(file.get()).value().link_count, 1U);
    EXPECT_EQ(content(open_file("f").get()), "complete");
}

TEST_P(VfsDataTest, ExclusiveTemporaryFileGetsNoName) {
    const auto made = vfs().open_at(directory(), ".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    const ScopedFd file(vfs(), made.value());
    EXPECT_TRUE(vfs().link(file.get(), directory(), "f").is_errno(ENOENT));
}

}  // namespace
}  // namespace gemel::test
