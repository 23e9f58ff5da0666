// SPDX-License-Identifier: Apache-2.0
// Block volumes on block devices, with blocks of 512 and of 4096 bytes, the kernel's (loop) and the
// simulated one: transfers fit, the end may lie inside a block of ours, nobody else has it; and by
// what a device is known again.
#include "engine/store/block_record.hpp"
#include "engine/store/block_volume.hpp"
#include "tests/unit/io/sim_world.hpp"
#include "tests/unit/io/world.hpp"
#include "tests/unit/store/loop_device.hpp"

#include <deque>
#include <linux/falloc.h>
#include <string>
#include <unistd.h>

namespace gemel::test {
namespace {

const Uuid kId{{7, 7}};
constexpr std::uint64_t kBlocks = 16;

struct Kind {
    WorldKind world;
    std::uint32_t block;
};

class Change final : public BlockChange {
   public:
    void on_done(Status status) noexcept override {
        outcome = status;
        done = true;
    }
    Status outcome;
    bool done = false;
};

class BlockDeviceTest : public testing::TestWithParam<Kind> {
   protected:
    BlockDeviceTest() : world_(GetParam().world.make()) {}

    void SetUp() override {
        if (is_simulated()) {
            sim::Node& node = static_cast<SimWorld&>(*world_).node();
            name_ = "disk0";
            node.attach_device({"/dev", name_, size(), GetParam().block, ""});
        } else {
            loop_device_ = std::make_unique<LoopDevice>(size(), GetParam().block);
            name_ = loop_device_->name();
            if (name_.empty()) GTEST_SKIP() << "no loop devices here";
        }
        dev_ = {loop().vfs(), loop().vfs().open_directory("/dev").value()};
    }
    [[nodiscard]] bool is_simulated() const { return GetParam().world.name == std::string("sim"); }
    // No multiple of our own block where the device's is smaller.
    [[nodiscard]] static std::uint64_t size() {
        return kBlocks * kBlockUnit + GetParam().block % kBlockUnit;
    }
    Loop& loop() { return world_->loop(); }
    Result<std::unique_ptr<BlockVolume>> open(const Uuid& id, std::uint64_t size) {
        return BlockVolume::open(loop(), dev_.get(), name_, {id, size, record()});
    }
    [[nodiscard]] BlockVolume::RecordPlace record() { return {world_->directory(), 3}; }
    void submit(BlockVolume& volume, OpKind kind, std::uint64_t offset, const std::string& text,
                std::uint64_t size, std::uint32_t flags = 0) {
        Op op;
        op.kind = kind;
        op.object = kBlockObject;
        op.offset = offset;
        op.size = size;
        op.flags = flags;
        op.data = as_bytes(text);
        ASSERT_TRUE(volume.is_valid(op));
        changes_.emplace_back();
        volume.submit(changes_.back(), op);
    }
    void settle(BlockVolume& volume) {
        world_->run_until([&] { return !volume.is_busy(); });
        for (const Change& change : changes_) {
            EXPECT_TRUE(change.done && change.outcome.ok()) << change.outcome.to_string();
        }
    }
    std::string read(BlockVolume& volume, std::uint64_t offset, std::size_t size) {
        class Read final : public BlockRead {
           public:
            void on_done(Status status) noexcept override {
                EXPECT_TRUE(status.ok()) << status.to_string();
                done = true;
            }
            bool done = false;
        } read;
        ByteBuffer bytes(size);
        volume.read(read, offset, bytes);
        world_->run_until([&] { return read.done; });
        return std::string(as_text(bytes));
    }

    std::unique_ptr<LoopDevice> loop_device_;
    std::unique_ptr<World> world_;
    ScopedFd dev_;
    std::string name_;
    std::deque<Change> changes_;
};
INSTANTIATE_TEST_SUITE_P(Worlds, BlockDeviceTest,
                         testing::Values(Kind{file_worlds()[0], 512}, Kind{file_worlds()[0], 4096},
                                         Kind{file_worlds()[1], 512}, Kind{file_worlds()[1], 4096}),
                         [](const auto& test) {
                             return test.param.world.name + std::string("_") +
                                    std::to_string(test.param.block);
                         });

// Against a string; the end lies inside a block of ours.
TEST_P(BlockDeviceTest, ChangesOfAnyAlignmentTakeEffectUpToItsVeryEnd) {
    auto volume = open(kId, size()).value();
    EXPECT_TRUE(volume->is_device());
    EXPECT_TRUE(volume->is_empty().value());
    Prng prng(5);
    std::string model(size(), '\0');
    constexpr std::uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    constexpr std::uint32_t kZero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    for (int i = 0; i < 150; ++i) {
        const std::uint64_t length = prng.between(1, 2 * kBlockUnit);
        // Every other one ends at the end.
        const std::uint64_t offset = prng.one_in(2) ? size() - length : prng.below(size() - length);
        if (prng.one_in(5)) {
            const std::uint64_t begin = offset / kBlockUnit * kBlockUnit;
            submit(*volume, OpKind::allocate, begin, "", size() - begin,
                   prng.one_in(2) ? kPunch : kZero);
            model.replace(begin, size() - begin, size() - begin, '\0');
        } else {
            const std::string text(length, static_cast<char>('!' + prng.below(90)));
            submit(*volume, OpKind::write, offset, text, length);
            model.replace(offset, length, text);
        }
        if (prng.one_in(10)) settle(*volume);
    }
    settle(*volume);
    EXPECT_EQ(read(*volume, 0, model.size()), model);
    EXPECT_FALSE(volume->is_empty().value() && model.find_first_not_of('\0') != model.npos);
}

// As a resync looks at it.
TEST_P(BlockDeviceTest, IsAllDataToSeek) {
    const auto volume = open(kId, size()).value();
    const Fd fd = volume->data_fd(kBlockObject).value();
    EXPECT_EQ(loop().vfs().seek(fd, 5000, SEEK_DATA).value(), 5000U);
    EXPECT_EQ(loop().vfs().seek(fd, 5000, SEEK_HOLE).value(), size());
    EXPECT_TRUE(loop().vfs().seek(fd, size(), SEEK_DATA).status().is_errno(ENXIO));
}

TEST_P(BlockDeviceTest, NobodyElseHasItMeanwhile) {
    {
        const auto volume = open(kId, size()).value();
        ASSERT_TRUE(volume->confirm_identity().ok());
        EXPECT_TRUE(open(kId, size()).status().is_errno(EBUSY));
        EXPECT_EQ(BlockVolume::volume_id_of(loop(), dev_.get(), name_, record()).value(), kId);
    }
    EXPECT_TRUE(open(kId, size()).ok());
}

TEST_P(BlockDeviceTest, TakesASizeThatFitsOnly) {
    EXPECT_TRUE(open(kId, size() + GetParam().block).status().is_errno(ENOSPC));
    EXPECT_TRUE(open(kId, size() - 256).status().is_errno(EINVAL));
    EXPECT_EQ(open(kId, kBlockUnit).value()->size(), kBlockUnit);
}

TEST_P(BlockDeviceTest, IsKnownAgainByItsRecord) {
    EXPECT_TRUE(BlockVolume::volume_id_of(loop(), dev_.get(), name_, record()).value().is_none());
    EXPECT_EQ(open({}, size()).status().code(), Code::refused);
    auto volume = open(kId, size()).value();
    ASSERT_TRUE(volume->confirm_identity().ok());
    volume.reset();
    EXPECT_EQ(open(Uuid{{8}}, size()).status().code(), Code::foreign);
    volume = open({}, size()).value();
    EXPECT_EQ(volume->id(), kId);
    EXPECT_FALSE(volume->was_restored());
    ASSERT_TRUE(volume->adopt_volume_id(Uuid{{9}}).ok());
    volume.reset();
    EXPECT_EQ(open({}, size()).value()->id(), (Uuid{{9}}));
    // As at a later boot: it has no serial number.
    BlockRecord recorded = BlockRecordFile::read(loop().vfs(), world_->directory(), 3).value();
    recorded.boot = Uuid{{1, 1}};
    const auto record_it = [&] {
        ASSERT_TRUE(BlockRecordFile::write(loop().vfs(), world_->directory(), 3, recorded).ok());
    };
    record_it();
    volume = open({}, size()).value();
    EXPECT_TRUE(volume->was_restored() && volume->is_unrecognized());
    ASSERT_TRUE(volume->confirm_identity().ok());
    volume.reset();
    EXPECT_FALSE(open({}, size()).value()->is_unrecognized());
    // Another one, attached since.
    recorded.boot = loop().boot_id();
    ++recorded.sequence;
    record_it();
    EXPECT_EQ(open({}, size()).status().code(), Code::foreign);
    EXPECT_EQ(BlockVolume::volume_id_of(loop(), dev_.get(), name_, record()).status().code(),
              Code::foreign);
}

// What lay behind the end was nobody's.
TEST_P(BlockDeviceTest, GrowsByZerosToALargerConfiguredSizeAndKeepsIt) {
    auto volume = open(kId, size()).value();
    submit(*volume, OpKind::write, 0, std::string(size(), 'x'), size());
    settle(*volume);
    volume.reset();
    volume = open(kId, 2 * kBlockUnit).value();
    ASSERT_TRUE(volume->confirm_identity().ok());
    volume.reset();
    volume = open(kId, 4 * kBlockUnit).value();
    EXPECT_EQ(volume->size(), 4 * kBlockUnit);
    EXPECT_EQ(read(*volume, 0, 4 * kBlockUnit),
              std::string(2 * kBlockUnit, 'x') + std::string(2 * kBlockUnit, '\0'));
    ASSERT_TRUE(volume->confirm_identity().ok());
    volume.reset();
    EXPECT_EQ(open(kId, kBlockUnit).value()->size(), 4 * kBlockUnit);
}

TEST(Recognition, GoesByNamesAndWithoutThemByTheAttachment) {
    const Uuid boot{{1}};
    const BlockRecord recorded{kId, 4096, boot, 5, {{"serial", "A"}, {"partuuid", "P"}}};
    BlockDevice device{4096, 512, 5, {{"serial", "A"}, {"partuuid", "P"}}};
    const auto seen = [&](const Uuid& now) { return recognize(recorded, device, now); };
    EXPECT_EQ(seen(boot), Recognition::same);
    device.sequence = 9;  // attached again
    EXPECT_EQ(seen(Uuid{{2}}), Recognition::same);
    device.names.erase("partuuid");  // what only one of the two knows says nothing
    EXPECT_EQ(seen(boot), Recognition::same);
    device.names = {{"serial", "B"}, {"partuuid", "P"}};  // dd of the whole disk
    EXPECT_EQ(seen(boot), Recognition::copied);
    device.names = {{"serial", "B"}};
    EXPECT_EQ(seen(boot), Recognition::foreign);
    device.names = {{"wwid", "A"}};
    EXPECT_EQ(seen(boot), Recognition::foreign);  // attached later
    EXPECT_EQ(seen(Uuid{{2}}), Recognition::unknown);
    device.sequence = 5;
    EXPECT_EQ(seen(boot), Recognition::same);
    device.sequence = 0;
    EXPECT_EQ(seen(boot), Recognition::unknown);
}

TEST(DiskErrors, AreErrorsOfTheDiskWhateverTheirNumber) {
    for (const int error : {EIO, ENODATA, ETIMEDOUT, ENOLINK, EREMOTEIO, EBADE, EILSEQ}) {
        EXPECT_TRUE(as_disk_error(Status::from_errno(error)).is_errno(EIO));
    }
    EXPECT_TRUE(as_disk_error(Status::from_errno(ENOSPC)).is_errno(ENOSPC));
    EXPECT_TRUE(as_disk_error(Status()).ok());
}

}  // namespace
}  // namespace gemel::test
