// SPDX-License-Identifier: Apache-2.0
// The superblock file: what it says survives a crash at every sector of every write, and each kind
// of damage is told from the others.
#include "engine/store/superblock.hpp"

#include "engine/base/checksum.hpp"
#include "tests/unit/store/fake_disk.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

constexpr std::size_t kSlotSize = 64 * kKiB;
constexpr std::size_t kSecondCopy = 32 * kKiB;
constexpr Fd kDirectory = FakeVfs::kDirectory;

Superblock sample(std::uint64_t epoch) {
    Superblock superblock;
    superblock.cluster = "office";
    superblock.mirror = "home";
    superblock.node = "alpha";
    superblock.epoch = epoch;
    superblock.incarnation.boot.bytes.fill(1);
    superblock.incarnation.number.bytes.fill(2);
    superblock.histories.resize(Superblock::kHistoriesMax);
    for (std::size_t i = 0; i < superblock.histories.size(); ++i) {
        superblock.histories[i].bytes.fill(static_cast<std::uint8_t>(i + 3));
    }
    superblock.history_is_shared = false;
    superblock.served_alone_unrecorded = true;
    superblock.is_consistent = false;
    superblock.volumes.push_back({"/srv/" + std::string(300, 'x'), {}, true});
    superblock.volumes.push_back({"/srv/b", {}, false});
    superblock.volumes[1].volume_id.bytes.fill(9);
    return superblock;
}

struct SuperblockFileTest : testing::Test {
    void write(std::uint64_t epoch) {
        ASSERT_TRUE(SuperblockFile::write(disk, kDirectory, sample(epoch)).ok());
    }
    Result<Superblock> read() { return SuperblockFile::read(disk, kDirectory); }
    ByteBuffer& bytes() { return disk.files["superblock"]; }

    FakeVfs disk;
};

TEST_F(SuperblockFileTest, NoneYetIsNotFound) {
    EXPECT_EQ(read().status().code(), Code::not_found);
}

TEST_F(SuperblockFileTest, ReturnsWhatWasWrittenLast) {
    for (std::uint64_t epoch = 1; epoch < 8; ++epoch) {
        write(epoch);
        const auto result = read();
        ASSERT_TRUE(result.ok()) << result.status().to_string();
        EXPECT_EQ(result.value(), sample(epoch));
    }
    EXPECT_EQ(disk.open_count, 0) << "a descriptor leaked";
    EXPECT_FALSE(disk.files.contains("superblock.new"));
}

TEST_F(SuperblockFileTest, ShortWritesAreContinued) {
    disk.write_size_max = 100;
    write(1);
    write(2);
    EXPECT_EQ(read().value().epoch, 2U);
}

// Goal: a crash leaves the old or the new state, never neither. Method: cut the next write after
// every sector, and drop every single sector of it.
TEST_F(SuperblockFileTest, TornWriteLeavesThePreviousState) {
    write(1);
    write(2);
    for (std::uint64_t epoch = 3; epoch < 6; ++epoch) {
        const DiskImage before = disk.files;
        disk.events.clear();
        write(epoch);
        const DiskImage after = disk.files;
        ASSERT_EQ(disk.events.front().kind, DiskEvent::Kind::write);
        const auto [offset, data] = std::pair(disk.events[0].offset, disk.events[0].data);
        for (std::size_t cut = 0; cut <= data.size(); cut += 512) {
            for (const bool drop_one : {false, true}) {
                disk.files = before;
                const std::size_t size = drop_one ? data.size() : cut;
                std::memcpy(bytes().data() + offset, data.data(), size);
                if (drop_one && cut < size) std::memset(bytes().data() + offset + cut, 0xEE, 512);
                const auto result = read();
                ASSERT_TRUE(result.ok());
                EXPECT_TRUE(result->epoch == epoch || result->epoch == epoch - 1);
                // And the next write goes over the torn slot.
                write(99);
                ASSERT_EQ(read().value().epoch, 99U);
            }
        }
        disk.files = after;
    }
}

TEST_F(SuperblockFileTest, OneDamagedSlotFallsBackToTheOther) {
    write(1);
    write(2);
    bytes()[kSlotSize + 40] ^= std::byte{1};
    bytes()[kSlotSize + kSecondCopy + 50] ^= std::byte{1};
    EXPECT_EQ(read().value().epoch, 1U);
}

// The state before is that of a node which has not done what this one has.
TEST_F(SuperblockFileTest, OneDamagedCopyCostsNothing) {
    for (const std::size_t damaged : {kSlotSize + 40, kSlotSize + kSecondCopy + 40}) {
        disk.files.clear();
        write(1);
        write(2);
        bytes()[damaged] ^= std::byte{1};
        EXPECT_EQ(read().value().epoch, 2U);
        write(3);
        EXPECT_EQ(read().value().epoch, 3U);
        write(4);
        bytes()[damaged - kSlotSize] ^= std::byte{1};
        EXPECT_EQ(read().value().epoch, 4U);
    }
}

TEST_F(SuperblockFileTest, UnreadableSectorIsADamagedSlot) {
    write(1);
    write(2);
    disk.unreadable_begin = kSlotSize;
    disk.unreadable_end = kSlotSize + 512;
    EXPECT_EQ(read().value().epoch, 2U) << "there is another copy";
    disk.unreadable_end = kSlotSize + kSecondCopy + 512;
    EXPECT_EQ(read().value().epoch, 1U);
    disk.unreadable_begin = 0;
    EXPECT_EQ(read().status().code(), Code::corrupt);
    disk.unreadable_end = 0;
    disk.read_result = Status::from_errno(EACCES);
    EXPECT_TRUE(read().status().is_errno(EACCES));
}

TEST_F(SuperblockFileTest, TwoDamagedSlotsAreCorruptAndStaySo) {
    write(1);
    write(2);
    for (const std::size_t copy : {std::size_t{0}, kSecondCopy}) {
        bytes()[copy + 3] ^= std::byte{1};
        bytes()[copy + kSlotSize + 33] ^= std::byte{1};
    }
    EXPECT_EQ(read().status().code(), Code::corrupt);
    const Status status = SuperblockFile::write(disk, kDirectory, sample(3));
    EXPECT_EQ(status.code(), Code::corrupt) << "damage must not be papered over";
}

TEST_F(SuperblockFileTest, EmptyFileIsCorruptBecauseOurFirstOneIsRenamedWhenComplete) {
    disk.files["superblock"] = {};
    EXPECT_EQ(read().status().code(), Code::corrupt);
}

// Every bit of a copy counts: header, payload, nothing else.
TEST_F(SuperblockFileTest, EveryFlippedByteOfTheOnlyCopyIsSeen) {
    write(1);
    std::memset(bytes().data() + kSecondCopy, 0, kSecondCopy);
    std::uint32_t payload_size = 0;
    std::memcpy(&payload_size, bytes().data() + 12, sizeof payload_size);
    for (std::size_t i = 0; i < 32 + payload_size; ++i) {
        bytes()[i] ^= std::byte{0x10};
        ASSERT_EQ(read().status().code(), Code::corrupt) << "byte " << i;
        bytes()[i] ^= std::byte{0x10};
    }
    EXPECT_TRUE(read().ok());
}

TEST_F(SuperblockFileTest, SlotInTheWrongPlaceIsDamaged) {
    write(1);
    std::memcpy(bytes().data() + kSlotSize, bytes().data(), kSlotSize);
    std::memset(bytes().data(), 0, kSlotSize);
    EXPECT_EQ(read().status().code(), Code::corrupt);
}

// A superblock of version 2 says nothing of excluded names: there were none.
TEST_F(SuperblockFileTest, TheFormatBeforeIsReadAndReplaced) {
    Superblock first = sample(1);
    first.excluded = {7, 8};
    ASSERT_TRUE(SuperblockFile::write(disk, kDirectory, first).ok());
    ByteBuffer& raw = bytes();
    // Its volumes stand where the digest does now.
    const std::size_t digest_at = [&] {
        const std::uint64_t low = 7;
        ByteBuffer pattern(sizeof low);
        std::memcpy(pattern.data(), &low, sizeof low);
        const auto found = std::search(raw.begin() + 32, raw.end(), pattern.begin(), pattern.end());
        return static_cast<std::size_t>(found - raw.begin());
    }();
    std::uint32_t payload_size = 0;
    std::memcpy(&payload_size, raw.data() + 12, sizeof payload_size);
    ASSERT_LT(digest_at, 32U + payload_size);
    std::memmove(raw.data() + digest_at, raw.data() + digest_at + 16,
                 32 + payload_size - digest_at - 16);
    payload_size -= 16;
    const std::uint32_t version = 2;
    std::memcpy(raw.data() + 8, &version, sizeof version);
    std::memcpy(raw.data() + 12, &payload_size, sizeof payload_size);
    std::uint64_t magic = 0;
    std::memcpy(&magic, raw.data(), sizeof magic);
    const std::uint64_t seed = checksum64(Bytes(raw).first(24), magic);
    const std::uint64_t checksum = checksum64(Bytes(raw).subspan(32, payload_size), seed);
    std::memcpy(raw.data() + 24, &checksum, sizeof checksum);

    const Result<Superblock> old = read();
    ASSERT_TRUE(old.ok()) << old.status().to_string();
    first.excluded = {};
    EXPECT_EQ(old.value(), first);
    first.excluded = {9, 10};
    ASSERT_TRUE(SuperblockFile::write(disk, kDirectory, first).ok());
    EXPECT_EQ(read().value(), first);
}

// A newer format is foreign, and is not written over.
TEST_F(SuperblockFileTest, UnknownVersionIsForeign) {
    write(1);
    ByteBuffer& raw = bytes();
    const std::uint32_t version = Superblock::kVersion + 1;
    std::memcpy(raw.data() + 8, &version, sizeof version);
    std::uint32_t payload_size = 0;
    std::memcpy(&payload_size, raw.data() + 12, sizeof payload_size);
    std::uint64_t magic = 0;
    std::memcpy(&magic, raw.data(), sizeof magic);
    const std::uint64_t seed = checksum64(Bytes(raw).first(24), magic);
    const std::uint64_t checksum = checksum64(Bytes(raw).subspan(32, payload_size), seed);
    std::memcpy(raw.data() + 24, &checksum, sizeof checksum);

    EXPECT_EQ(read().status().code(), Code::foreign);
    EXPECT_EQ(SuperblockFile::write(disk, kDirectory, sample(2)).code(), Code::foreign);
}

// After a failed sync the cache shows bytes that the disk may not have: the next write must not
// take them for the newest state and overwrite the durable one.
TEST_F(SuperblockFileTest, FailedSyncDoesNotCostTheDurableState) {
    write(1);
    write(2);
    disk.sync_result = Status::from_errno(EIO);
    EXPECT_TRUE(SuperblockFile::write(disk, kDirectory, sample(3)).is_errno(EIO));
    disk.sync_result = {};
    EXPECT_EQ(read().value().epoch, 2U);
    disk.events.clear();
    write(4);
    EXPECT_EQ(disk.events.front().offset, 0U) << "slot 1 holds the last durable state";
    EXPECT_EQ(read().value().epoch, 4U);
}

TEST_F(SuperblockFileTest, RefusesWhatDoesNotFit) {
    Superblock large = sample(1);
    large.volumes.resize(20, {std::string(4000, 'p'), {}, false});
    EXPECT_EQ(SuperblockFile::write(disk, kDirectory, large).code(), Code::too_large);
    EXPECT_EQ(read().status().code(), Code::not_found);
    large = sample(1);
    large.node.assign(256, 'n');
    EXPECT_EQ(SuperblockFile::write(disk, kDirectory, large).code(), Code::too_large);
}

}  // namespace
}  // namespace gemel
