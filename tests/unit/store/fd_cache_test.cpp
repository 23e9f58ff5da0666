// SPDX-License-Identifier: Apache-2.0
#include "engine/store/fd_cache.hpp"

#include "engine/io/uring/posix_vfs.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>

namespace gemel {
namespace {

using Kind = FdCache::Kind;

class FdCacheTest : public testing::Test {
   protected:
    static ObjectId id(std::uint64_t n) { return ObjectId::make(1, 16 + n); }
    Fd open() {
        const Result<Fd> directory = vfs_.open_directory("/");
        EXPECT_TRUE(directory.ok());
        return directory.value();
    }
    static bool is_open(Fd fd) { return ::fcntl(fd.value, F_GETFD) != -1; }
    // A sync through it succeeds, and fails through a closed one.
    const Fd good_{open()};
    const Fd bad_{-1};

    PosixVfs vfs_;
};

TEST_F(FdCacheTest, LeastRecentlyUsedAreClosedFirst) {
    FdCache cache(vfs_, 3);
    Fd fds[5];
    for (std::uint64_t i = 0; i < 5; ++i) {
        fds[i] = open();
        cache.insert(id(i), fds[i], Kind::data);
    }
    EXPECT_EQ(cache.count(), 5U);  // nothing is closed before trim()
    EXPECT_EQ(cache.find(id(0), Kind::data), fds[0]);
    EXPECT_TRUE(cache.trim(bad_).ok());
    EXPECT_TRUE(is_open(fds[0]));
    EXPECT_FALSE(is_open(fds[1]));
    EXPECT_FALSE(is_open(fds[2]));
    EXPECT_TRUE(cache.find(id(4), Kind::path).is_open());
    EXPECT_FALSE(cache.find(id(1), Kind::path).is_open());
}

TEST_F(FdCacheTest, WrittenDescriptorsAreNotClosedBeforeASync) {
    FdCache cache(vfs_, 2);
    Fd fds[4];
    for (std::uint64_t i = 0; i < 4; ++i) {
        fds[i] = open();
        cache.insert(id(i), fds[i], Kind::data);
        if (i < 2) cache.note_write(id(i), 10 + i);
    }
    // Clean ones go first, though they were used later: no sync is needed.
    EXPECT_TRUE(cache.trim(bad_).ok());
    EXPECT_TRUE(is_open(fds[0]) && is_open(fds[1]));
    EXPECT_FALSE(is_open(fds[2]) || is_open(fds[3]));
    EXPECT_EQ(cache.unsynced_count(), 2U);
    cache.insert(id(9), open(), Kind::data);
    cache.note_write(id(9), 20);
    EXPECT_TRUE(cache.trim(good_).ok());
    EXPECT_EQ(cache.unsynced_count(), 0U);
    EXPECT_FALSE(is_open(fds[0]));
}

TEST_F(FdCacheTest, AFailedSyncIsReportedOnceAndDescriptorsGo) {
    FdCache cache(vfs_, 1);
    for (std::uint64_t i = 0; i < 3; ++i) {
        cache.insert(id(i), open(), Kind::data);
        cache.note_write(id(i), 5);
    }
    EXPECT_FALSE(cache.trim(bad_).ok());
    EXPECT_EQ(cache.count(), 1U);
    EXPECT_TRUE(cache.trim(bad_).ok());
}

TEST_F(FdCacheTest, AWriteAfterTheSyncBeganStaysUnsynced) {
    FdCache cache(vfs_, 1);
    cache.insert(id(0), open(), Kind::data);
    cache.insert(id(1), open(), Kind::data);
    cache.note_write(id(0), 5);
    cache.note_write(id(1), 6);
    cache.pin(id(1));
    cache.note_synced(id(1), 5);
    EXPECT_EQ(cache.unsynced_count(), 2U);
    cache.note_all_synced(5);
    EXPECT_EQ(cache.unsynced_count(), 1U);
    cache.note_all_synced(6);
    EXPECT_EQ(cache.unsynced_count(), 0U);
    cache.unpin(id(1));
}

TEST_F(FdCacheTest, PinnedDescriptorsStayUntilTheLastUnpin) {
    FdCache cache(vfs_, 1);
    const Fd fd = open();
    cache.insert(id(0), fd, Kind::data);
    cache.pin(id(0));
    cache.pin(id(0));
    cache.insert(id(1), open(), Kind::data);
    cache.pin(id(1));
    EXPECT_TRUE(cache.trim(bad_).ok());
    EXPECT_EQ(cache.count(), 2U);
    cache.forget(id(0));
    EXPECT_TRUE(is_open(fd));
    cache.unpin(id(0));
    EXPECT_TRUE(is_open(fd));
    cache.unpin(id(0));
    EXPECT_FALSE(is_open(fd));
    cache.unpin(id(1));
}

TEST_F(FdCacheTest, AnIdMayComeBackWhileItsOldDescriptorIsPinned) {
    FdCache cache(vfs_, 8);
    const Fd old_fd = open();
    cache.insert(id(0), old_fd, Kind::data);
    cache.pin(id(0));
    cache.forget(id(0));
    const Fd new_fd = open();
    cache.insert(id(0), new_fd, Kind::data);
    EXPECT_EQ(cache.find(id(0), Kind::data), new_fd);
    EXPECT_TRUE(is_open(old_fd));
    cache.unpin(id(0));
    EXPECT_TRUE(is_open(old_fd) && is_open(new_fd));
}

TEST_F(FdCacheTest, ABetterDescriptorTakesThePlaceOfAPathOne) {
    FdCache cache(vfs_, 8);
    const Fd path = open();
    cache.insert(id(0), path, Kind::path);
    EXPECT_FALSE(cache.find(id(0), Kind::data).is_open());
    const Fd data = open();
    cache.insert(id(0), data, Kind::data);
    EXPECT_FALSE(is_open(path));
    EXPECT_EQ(cache.find(id(0), Kind::path), data);
}

}  // namespace
}  // namespace gemel
