// SPDX-License-Identifier: Apache-2.0
// Block volumes over the kernel and over the simulation: what is written is there whatever its
// alignment, changes that overlap take effect in the order of submission, the file says whose it
// is.
#include "engine/store/block_volume.hpp"

#include "engine/store/identity.hpp"
#include "tests/unit/io/sim_world.hpp"
#include "tests/unit/io/world.hpp"

#include <deque>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string>

namespace gemel::test {
namespace {

constexpr std::uint64_t kSize = 64 * kBlockUnit;
constexpr std::uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const Uuid kId{{7, 7}};

class Change final : public BlockChange {
   public:
    void on_done(Status status) noexcept override {
        outcome = status;
        done = true;
        if (finished != nullptr) finished->push_back(this);
    }
    Status outcome;
    bool done = false;
    std::vector<Change*>* finished = nullptr;
};

class Read final : public BlockRead {
   public:
    void on_done(Status status) noexcept override {
        outcome = status;
        done = true;
    }
    Status outcome;
    bool done = false;
};

class BlockVolumeTest : public WorldTest {
   protected:
    void SetUp() override {
        if (!world().is_privileged()) GTEST_SKIP() << "trusted attributes need root";
        volume_ = open(kId, kSize).value();
    }
    Result<std::unique_ptr<BlockVolume>> open(const Uuid& id, std::uint64_t size) {
        return BlockVolume::open(loop(), directory(), "disk", {id, size, {directory(), 0}});
    }
    static Op write_op(std::uint64_t offset, Bytes data) {
        Op op;
        op.object = kBlockObject;
        op.offset = offset;
        op.size = data.size();
        op.data = data;
        return op;
    }
    static Op zero_op(std::uint32_t flags, std::uint64_t offset, std::uint64_t size) {
        Op op;
        op.kind = OpKind::allocate;
        op.object = kBlockObject;
        op.flags = flags;
        op.offset = offset;
        op.size = size;
        return op;
    }
    Change& submit(const Op& op) {
        changes_.emplace_back();
        changes_.back().finished = &finished_;
        volume_->submit(changes_.back(), op);
        return changes_.back();
    }
    Change& write(std::uint64_t offset, const std::string& text) {
        return submit(write_op(offset, as_bytes(text)));
    }
    void settle() {
        world().run_until([&] { return !volume_->is_busy(); });
        for (const Change& change : changes_) {
            EXPECT_TRUE(change.done && change.outcome.ok()) << change.outcome.to_string();
        }
    }
    std::string read(std::uint64_t offset, std::size_t size) {
        ByteBuffer bytes(size + 1);
        Read read;
        // Memory of no alignment.
        volume_->read(read, offset, MutableBytes(bytes).subspan(1));
        EXPECT_FALSE(read.done);
        world().run_until([&] { return read.done; });
        EXPECT_TRUE(read.outcome.ok()) << read.outcome.to_string();
        return std::string(as_text(Bytes(bytes).subspan(1)));
    }

    std::unique_ptr<BlockVolume> volume_;
    std::deque<Change> changes_;
    std::vector<Change*> finished_;
};
GEMEL_IN_EVERY(file_worlds, BlockVolumeTest);

TEST_P(BlockVolumeTest, IsMadeSparseAtItsSizeAndIsEmptyUntilItIsWritten) {
    EXPECT_EQ(volume_->size(), kSize);
    EXPECT_TRUE(volume_->is_empty().value());
    EXPECT_EQ(read(kSize - 512, 512), std::string(512, '\0'));
    write(kBlockUnit, "x");
    settle();
    EXPECT_FALSE(volume_->is_empty().value());
}

TEST_P(BlockVolumeTest, CompletesNeverInsideTheCall) {
    const Change& change = write(0, std::string(kBlockUnit, 'a'));
    EXPECT_FALSE(change.done);
    EXPECT_TRUE(volume_->is_busy(0, 1));
    EXPECT_FALSE(volume_->is_busy(kBlockUnit, kBlockUnit));
    settle();
    EXPECT_FALSE(volume_->is_busy());
}

TEST_P(BlockVolumeTest, GoesBackToItsClone) {
    write(0, std::string(2 * kBlockUnit, 'a'));
    settle();
    const Status kept = volume_->keep_clone();
    if (kept.is_errno(EOPNOTSUPP)) GTEST_SKIP() << "no clones on this file system";
    ASSERT_TRUE(kept.ok()) << kept.to_string();
    write(kBlockUnit, std::string(3 * kBlockUnit, 'b'));
    settle();
    // It is there after a restart, too.
    volume_.reset();
    volume_ = open(kId, kSize).value();
    ASSERT_TRUE(volume_->has_clone());
    const Status back = volume_->restore_clone();
    ASSERT_TRUE(back.ok()) << back.to_string();
    EXPECT_EQ(read(0, 3 * kBlockUnit),
              std::string(2 * kBlockUnit, 'a') + std::string(kBlockUnit, '\0'));
    EXPECT_EQ(volume_->size(), kSize);
    ASSERT_TRUE(volume_->drop_clone().ok());
    EXPECT_FALSE(volume_->has_clone());
}

TEST_P(BlockVolumeTest, GivesTheSpaceOfALargeCloneBackInTheBackground) {
    volume_.reset();
    volume_ = open(kId, 2 * kMiB).value();
    write(0, std::string(kMiB, 'a'));
    settle();
    const Status kept = volume_->keep_clone();
    if (kept.is_errno(EOPNOTSUPP)) GTEST_SKIP() << "no clones on this file system";
    ASSERT_TRUE(kept.ok()) << kept.to_string();
    loop().vfs().finish_closing();
    ASSERT_TRUE(volume_->drop_clone().ok());
    EXPECT_TRUE(loop().vfs().finish_closing());
}

// Against a string, with everything under way at once.
TEST_P(BlockVolumeTest, OverlappingChangesTakeEffectInOrderWhateverTheirAlignment) {
    Prng prng(11);
    std::string model(kSize, '\0');
    for (int round = 0; round < 8; ++round) {
        for (int i = 0; i < 40; ++i) {
            const bool zeroes = prng.one_in(6);
            const std::uint64_t unit = zeroes ? kBlockUnit : 1;
            const std::uint64_t size = prng.between(1, zeroes ? 4 : 3 * kBlockUnit) * unit;
            const std::uint64_t offset = prng.below((kSize / 4 - size) / unit) * unit;
            if (zeroes) {
                submit(zero_op(prng.one_in(2) ? kPunch : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                               offset, size));
                model.replace(offset, size, size, '\0');
            } else {
                const std::string text(size, static_cast<char>('!' + prng.below(90)));
                write(offset, text);
                model.replace(offset, size, text);
            }
        }
        settle();
        ASSERT_EQ(read(0, kSize), model) << "round " << round;
    }
}

TEST_P(BlockVolumeTest, DisjointChangesAreUnderWayTogetherAndOverlappingOnesWait) {
    Change& first = write(0, std::string(100, 'a'));
    Change& second = write(200, std::string(100, 'b'));  // of the same block
    write(4 * kBlockUnit, std::string(kBlockUnit, 'c'));
    settle();
    const auto place = [&](const Change& change) {
        return std::find(finished_.begin(), finished_.end(), &change) - finished_.begin();
    };
    EXPECT_LT(place(first), place(second));
    EXPECT_EQ(read(0, 300), std::string(100, 'a') + std::string(100, '\0') + std::string(100, 'b'));
}

TEST_P(BlockVolumeTest, AppliesWholeBlocksAtOnce) {
    const std::string text(2 * kBlockUnit, 'r');
    ASSERT_TRUE(volume_->apply(write_op(kBlockUnit, as_bytes(text))).ok());
    ASSERT_TRUE(volume_->apply(zero_op(kPunch, kBlockUnit, kBlockUnit)).ok());
    EXPECT_EQ(read(kBlockUnit, 2 * kBlockUnit),
              std::string(kBlockUnit, '\0') + std::string(kBlockUnit, 'r'));
    EXPECT_TRUE(volume_->apply(write_op(1, as_bytes("x"))).is_errno(EINVAL));
}

TEST_P(BlockVolumeTest, TakesNoOpBeyondItsEndOrOfAnotherKind) {
    const std::string text(kBlockUnit, 'x');
    EXPECT_TRUE(volume_->is_valid(write_op(kSize - kBlockUnit, as_bytes(text))));
    EXPECT_FALSE(volume_->is_valid(write_op(kSize - kBlockUnit + 1, as_bytes(text))));
    EXPECT_FALSE(volume_->is_valid(write_op(~std::uint64_t{0} - 1, as_bytes(text))));
    EXPECT_FALSE(volume_->is_valid(write_op(0, {})));
    EXPECT_TRUE(volume_->is_valid(zero_op(kPunch, 0, kSize)));
    EXPECT_FALSE(volume_->is_valid(zero_op(kPunch, 512, kBlockUnit)));
    EXPECT_FALSE(volume_->is_valid(zero_op(FALLOC_FL_PUNCH_HOLE, 0, kBlockUnit)));
    EXPECT_FALSE(volume_->is_valid(zero_op(FALLOC_FL_KEEP_SIZE, 0, kBlockUnit)));
    Op other = write_op(0, as_bytes(text));
    other.object = kRootObject;
    EXPECT_FALSE(volume_->is_valid(other));
    other.object = kBlockObject;
    other.kind = OpKind::truncate;
    EXPECT_FALSE(volume_->is_valid(other));
}

// The simulated disk keeps two removed files for a while.
TEST_P(BlockVolumeTest, WaitsForTheSpaceOfARemovedFile) {
    if (GetParam().name != std::string("sim")) GTEST_SKIP() << "space is back too soon here";
    ScopedFd large = open_file("large");
    write_all(large.get(), std::string(16 * kBlockUnit, 'x'));
    const FileSystemStat stat = vfs().stat_file_system(large.get()).value();
    static_cast<SimWorld&>(world()).node().disk().set_capacity(
        (stat.blocks - stat.blocks_free + 1) * stat.block_size);
    ASSERT_TRUE(vfs().unlink(directory(), "large", false).ok());
    vfs().close_later(large.release());
    write(0, std::string(2 * kBlockUnit, 'a'));
    submit(zero_op(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 4 * kBlockUnit, 2 * kBlockUnit));
    settle();
    EXPECT_EQ(read(0, 3), "aaa");
    const std::string text(8 * kBlockUnit, 'r');
    large = open_file("larger");
    write_all(large.get(), std::string(8 * kBlockUnit, 'x'));
    ASSERT_TRUE(vfs().unlink(directory(), "larger", false).ok());
    vfs().close_later(large.release());
    EXPECT_TRUE(volume_->apply(write_op(16 * kBlockUnit, as_bytes(text))).ok());
    Change& refused = write(32 * kBlockUnit, std::string(32 * kBlockUnit, 'b'));
    world().run_until([&] { return refused.done; });
    EXPECT_TRUE(refused.outcome.is_errno(ENOSPC));
}

TEST_P(BlockVolumeTest, GrowsAndNeverShrinks) {
    write(0, "kept");
    settle();
    volume_.reset();
    EXPECT_EQ(open(kId, kSize / 2).status().code(), Code::too_large);
    volume_ = open(kId, 2 * kSize).value();
    ASSERT_TRUE(volume_->confirm_identity().ok());
    EXPECT_EQ(read(0, 4), "kept");
    EXPECT_EQ(read(2 * kSize - 8, 8), std::string(8, '\0'));
    volume_.reset();
    // From here on the record says it.
    volume_ = open(kId, kSize).value();
    EXPECT_EQ(volume_->size(), 2 * kSize);
}

TEST_P(BlockVolumeTest, SaysWhoseItIsAndThatItWasRestored) {
    ASSERT_TRUE(volume_->confirm_identity().ok());
    EXPECT_EQ(BlockVolume::volume_id_of(loop(), directory(), "disk", {}).value(), kId);
    EXPECT_TRUE(BlockVolume::volume_id_of(loop(), directory(), "nothing", {}).value().is_none());
    volume_.reset();
    EXPECT_EQ(open(Uuid{{8}}, kSize).status().code(), Code::foreign);
    volume_ = open({}, kSize).value();
    EXPECT_EQ(volume_->id(), kId);
    EXPECT_FALSE(volume_->was_restored());
    // As `cp -a` by root leaves it: the identity of another inode.
    const ScopedFd copy = open_file("copy");
    const Identity identity = read_identity(vfs(), volume_->data_fd(kBlockObject).value()).value();
    ASSERT_TRUE(write_identity(vfs(), copy.get(), identity).ok());
    const auto open_copy = [&] {
        return BlockVolume::open(loop(), directory(), "copy", {kId, kSize, {}}).value();
    };
    // As long as nobody has noted it.
    EXPECT_TRUE(open_copy()->was_restored());
    auto restored = open_copy();
    EXPECT_TRUE(restored->was_restored());
    ASSERT_TRUE(restored->confirm_identity().ok());
    EXPECT_FALSE(open_copy()->was_restored());
}

TEST_P(BlockVolumeTest, AnotherIdIsDurableInTheFile) {
    ASSERT_TRUE(volume_->adopt_volume_id(Uuid{{9}}).ok());
    volume_.reset();
    EXPECT_EQ(open({}, kSize).value()->id(), (Uuid{{9}}));
}

TEST_P(BlockVolumeTest, ADirectoryIsNoBacking) {
    ASSERT_TRUE(vfs().make_directory(directory(), "d", 0700).ok());
    EXPECT_FALSE(BlockVolume::open(loop(), directory(), "d", {kId, kSize, {}}).ok());
}

}  // namespace
}  // namespace gemel::test
