// SPDX-License-Identifier: Apache-2.0
#include "engine/store/object_index.hpp"

#include "engine/io/uring/posix_vfs.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <random>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace gemel {
namespace {

class ObjectIndexTest : public testing::Test {
   protected:
    void SetUp() override {
        path_ = "/var/tmp/gemel-index-XXXXXX";
        ASSERT_NE(::mkdtemp(path_.data()), nullptr);
        const Result<Fd> fd = vfs_.open_directory(path_);
        ASSERT_TRUE(fd.ok());
        directory_ = ScopedFd(vfs_, fd.value());
    }
    void TearDown() override {
        const std::string command = "rm -rf '" + path_ + "'";
        EXPECT_EQ(std::system(command.c_str()), 0);
    }
    ScopedFd tag_file(const std::string& name) {
        const Result<Fd> fd = vfs_.open_directory(path_ + "/index/" + hex_name(volume_));
        EXPECT_TRUE(fd.ok());
        const ScopedFd directory(vfs_, fd.value());
        const Result<Fd> file = vfs_.open_at(directory.get(), name, O_RDWR, 0);
        EXPECT_TRUE(file.ok()) << file.status().to_string();
        return file.ok() ? ScopedFd(vfs_, file.value()) : ScopedFd();
    }
    bool has_tag_file(const std::string& name) {
        return ::access((path_ + "/index/" + hex_name(volume_) + '/' + name).c_str(), F_OK) == 0;
    }
    static ObjectIndex::Record record(std::uint8_t salt) {
        ObjectIndex::Record record;
        record.type = S_IFREG;
        record.handle.type = 1;
        record.handle.size = static_cast<std::uint8_t>(salt % (FileHandle::kSizeMax + 1));
        for (std::uint8_t i = 0; i < record.handle.size; ++i) record.handle.bytes[i] = salt;
        return record;
    }

    PosixVfs vfs_;
    std::string path_;
    ScopedFd directory_;
    const Uuid volume_{{1, 2}}, boot_{{3}}, other_boot_{{4}};
};

TEST_F(ObjectIndexTest, FindsWhatWasPutUnderEachTag) {
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    // More tags than files are kept open.
    for (std::uint32_t tag = 1; tag < 40; ++tag) {
        for (std::uint64_t sequence : {16U, 17U, 5000U}) {
            const auto salt = static_cast<std::uint8_t>(tag + sequence);
            ASSERT_TRUE(index.put(ObjectId::make(tag, sequence), record(salt)).ok());
        }
    }
    for (std::uint32_t tag = 1; tag < 40; ++tag) {
        for (std::uint64_t sequence : {16U, 17U, 5000U}) {
            const auto salt = static_cast<std::uint8_t>(tag + sequence);
            const Result<ObjectIndex::Record> found = index.find(ObjectId::make(tag, sequence));
            ASSERT_TRUE(found.ok()) << tag << " " << sequence;
            EXPECT_EQ(found.value(), record(salt));
        }
        EXPECT_EQ(index.find(ObjectId::make(tag, 18)).status().code(), Code::not_found);
        EXPECT_TRUE(index.lacks(ObjectId::make(tag, 18)));
        EXPECT_FALSE(index.lacks(ObjectId::make(tag, 17)));
        EXPECT_EQ(index.find(ObjectId::make(tag, 5001)).status().code(), Code::not_found);
    }
    EXPECT_EQ(index.find(ObjectId::make(99, 16)).status().code(), Code::not_found);
    EXPECT_TRUE(index.lacks(ObjectId::make(99, 16)));
    ASSERT_TRUE(index.erase(ObjectId::make(7, 17)).ok());
    EXPECT_EQ(index.find(ObjectId::make(7, 17)).status().code(), Code::not_found);
    EXPECT_TRUE(index.lacks(ObjectId::make(7, 17)));
    ASSERT_TRUE(index.erase(ObjectId::make(99, 17)).ok());
}

TEST_F(ObjectIndexTest, ARecordInAnotherSlotOrDamagedIsNone) {
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    ASSERT_TRUE(index.put(ObjectId::make(5, 16), record(20)).ok());
    ScopedFd file = tag_file("000005");
    std::array<std::byte, ObjectIndex::kRecordSize> bytes;
    ASSERT_TRUE(vfs_.pread(file.get(), bytes, 16 * ObjectIndex::kRecordSize).ok());
    ASSERT_TRUE(vfs_.pwrite(file.get(), bytes, 17 * ObjectIndex::kRecordSize).ok());
    // Who has read a block does not look again: only it writes there.
    const auto find_anew = [&](std::uint64_t sequence) {
        ObjectIndex other(vfs_);
        EXPECT_TRUE(other.open(directory_.get(), volume_, boot_).ok());
        EXPECT_FALSE(other.lacks(ObjectId::make(5, sequence)));  // a damaged one is there
        return other.find(ObjectId::make(5, sequence)).status();
    };
    EXPECT_EQ(find_anew(17).code(), Code::corrupt);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto bad = bytes;
        bad[i] ^= std::byte{0x40};
        ASSERT_TRUE(vfs_.pwrite(file.get(), bad, 16 * ObjectIndex::kRecordSize).ok());
        EXPECT_EQ(find_anew(16).code(), Code::corrupt) << "byte " << i;
    }
    ASSERT_TRUE(vfs_.pwrite(file.get(), bytes, 16 * ObjectIndex::kRecordSize).ok());
    EXPECT_TRUE(find_anew(16).ok());
}

// More blocks than are kept, several of which share a place, changed between lookups.
TEST_F(ObjectIndexTest, ALookupSeesTheLastChange) {
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    constexpr std::uint64_t kRecordsInBlock = ObjectIndex::kBlockSize / ObjectIndex::kRecordSize;
    std::map<std::uint64_t, std::uint8_t> expected;
    std::mt19937 random(7);
    for (unsigned step = 0; step < 20'000; ++step) {
        const std::uint64_t block = random() % (3 * ObjectIndex::kCachedBlocksMax);
        const std::uint64_t sequence = block * kRecordsInBlock + random() % 3 + 1;
        const ObjectId id = ObjectId::make(9, sequence);
        switch (random() % 4) {
            case 0:
                expected[sequence] = static_cast<std::uint8_t>(step);
                ASSERT_TRUE(index.put(id, record(expected[sequence])).ok());
                break;
            case 1:
                expected.erase(sequence);
                ASSERT_TRUE(index.erase(id).ok());
                break;
            default:
                const Result<ObjectIndex::Record> found = index.find(id);
                ASSERT_EQ(found.ok(), expected.contains(sequence)) << sequence;
                if (found.ok()) {
                    ASSERT_EQ(found.value(), record(expected[sequence]));
                }
        }
    }
}

TEST_F(ObjectIndexTest, LeftOpenByAnotherBootItMayLackRecords) {
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        EXPECT_TRUE(index.may_lack_records());
        ASSERT_TRUE(index.mark_complete().ok());
        EXPECT_FALSE(index.may_lack_records());
    }
    {
        // The program was killed, the machine went on: the page cache has everything.
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        EXPECT_FALSE(index.may_lack_records());
    }
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, other_boot_).ok());
        EXPECT_TRUE(index.may_lack_records());
        ASSERT_TRUE(index.mark_complete().ok());
        index.close();
    }
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        EXPECT_FALSE(index.may_lack_records());
        // Open again, in a third boot, it is suspect once more.
    }
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, other_boot_).ok());
    EXPECT_TRUE(index.may_lack_records());
}

TEST_F(ObjectIndexTest, BlocksAndFilesWithoutARecordAreGivenBack) {
    constexpr std::uint64_t kPerBlock = ObjectIndex::kBlockSize / ObjectIndex::kRecordSize;
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    const std::uint64_t kept = kPerBlock + 5;
    for (std::uint64_t sequence = 16; sequence < 3 * kPerBlock; ++sequence) {
        ASSERT_TRUE(index.put(ObjectId::make(5, sequence), record(20)).ok());
        // As soon as it is made, as temporary files are.
        if (sequence == kept) continue;
        ASSERT_TRUE(index.erase(ObjectId::make(5, sequence)).ok());
    }
    ASSERT_TRUE(index.put(ObjectId::make(6, 16), record(21)).ok());
    {
        const ScopedFd file = tag_file("000005");
        const Result<std::uint64_t> data = vfs_.seek(file.get(), 0, SEEK_DATA);
        ASSERT_TRUE(data.ok());
        EXPECT_EQ(data.value(), ObjectIndex::kBlockSize);
        const Result<std::uint64_t> hole = vfs_.seek(file.get(), data.value(), SEEK_HOLE);
        ASSERT_TRUE(hole.ok());
        EXPECT_EQ(hole.value(), 2 * ObjectIndex::kBlockSize);
    }
    EXPECT_TRUE(index.find(ObjectId::make(5, kept)).ok());
    ASSERT_TRUE(index.erase(ObjectId::make(5, kept)).ok());
    EXPECT_FALSE(has_tag_file("000005"));
    EXPECT_TRUE(index.find(ObjectId::make(6, 16)).ok());
    EXPECT_EQ(index.find(ObjectId::make(5, kept)).status().code(), Code::not_found);
    ASSERT_TRUE(index.put(ObjectId::make(5, kept), record(22)).ok());
    EXPECT_EQ(index.find(ObjectId::make(5, kept)).value(), record(22));
}

TEST_F(ObjectIndexTest, TheEndOfAFileIsGivenBackAtTheNextOpen) {
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        ASSERT_TRUE(index.mark_complete().ok());
        ASSERT_TRUE(index.put(ObjectId::make(4, 700), record(20)).ok());
        ASSERT_TRUE(index.put(ObjectId::make(5, 700), record(20)).ok());
        ASSERT_TRUE(index.erase(ObjectId::make(5, 700)).ok());
        EXPECT_TRUE(has_tag_file("000005"));
        // Not closed: the program was killed.
    }
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    EXPECT_FALSE(has_tag_file("000005"));
    EXPECT_TRUE(index.find(ObjectId::make(4, 700)).ok());
}

// Ids do not come in their order where a resync or a peer puts them.
TEST_F(ObjectIndexTest, AnyBlockThatWasLeftAloneIsGivenBackAtTheNextOpen) {
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        ASSERT_TRUE(index.mark_complete().ok());
        for (const std::uint64_t sequence : {700U, 16U}) {
            ASSERT_TRUE(index.put(ObjectId::make(5, sequence), record(20)).ok());
        }
        for (const std::uint64_t sequence : {700U, 16U}) {
            ASSERT_TRUE(index.erase(ObjectId::make(5, sequence)).ok());
        }
        EXPECT_TRUE(has_tag_file("000005"));
        // Not closed: the program was killed.
    }
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    EXPECT_FALSE(has_tag_file("000005"));
}

TEST_F(ObjectIndexTest, ClearedItHasNoRecord) {
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    for (std::uint32_t tag = 1; tag < 40; ++tag) {
        ASSERT_TRUE(index.put(ObjectId::make(tag, 16), record(20)).ok());
    }
    ASSERT_TRUE(index.clear().ok());
    for (std::uint32_t tag = 1; tag < 40; ++tag) {
        EXPECT_EQ(index.find(ObjectId::make(tag, 16)).status().code(), Code::not_found);
    }
    ASSERT_TRUE(index.mark_complete().ok());
}

TEST_F(ObjectIndexTest, DistrustedItMayLackRecordsUntilItIsRebuilt) {
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        ASSERT_TRUE(index.mark_complete().ok());
        ASSERT_TRUE(index.distrust().ok());
        EXPECT_TRUE(index.may_lack_records());
    }
    // The process has died in the middle, in the same boot.
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    EXPECT_TRUE(index.may_lack_records());
    ASSERT_TRUE(index.mark_complete().ok());
    ObjectIndex rebuilt(vfs_);
    ASSERT_TRUE(rebuilt.open(directory_.get(), volume_, boot_).ok());
    EXPECT_FALSE(rebuilt.may_lack_records());
}

TEST_F(ObjectIndexTest, ATornStateFileMeansThatRecordsMayLack) {
    {
        ObjectIndex index(vfs_);
        ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
        ASSERT_TRUE(index.mark_complete().ok());
        index.close();
    }
    ASSERT_TRUE(vfs_.truncate(tag_file("state").get(), 11).ok());
    ObjectIndex index(vfs_);
    ASSERT_TRUE(index.open(directory_.get(), volume_, boot_).ok());
    EXPECT_TRUE(index.may_lack_records());
}

}  // namespace
}  // namespace gemel
