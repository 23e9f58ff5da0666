// SPDX-License-Identifier: Apache-2.0
// A block volume: one object of bytes, kBlockObject, kept in a file or on a block device and
// transferred with O_DIRECT.
//
// Changes are asynchronous: disjoint ones run in parallel, one that overlaps earlier ones behind
// all of these (protocol.md 6). So two nodes that are given the same changes in the same order end
// with the same bytes. Ranges are locked in whole blocks of kBlockUnit, which is a multiple of
// every disk's logical block; what is smaller is read, changed and written under that lock.
//
// A change once submitted is carried out, whoever serves by then. Whatever else looks at content or
// changes it (apply, a resync's reading) requires that nothing is in flight there: is_busy.
//
// On a device the size need be a multiple of its logical block only, so the last block may be a
// short one. A device is held exclusively: nobody else mounts it or makes it part of something.
#pragma once

#include "engine/base/aligned_buffer.hpp"
#include "engine/base/intrusive_list.hpp"
#include "engine/io/loop.hpp"
#include "engine/store/block_record.hpp"
#include "engine/store/volume.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace gemel {

inline constexpr std::uint64_t kBlockUnit = 4096;

// What the block layer says of a failing device (blk_errors of block/blk-core.c) as EIO: none of it
// leaves the range as it was. ENOSPC, of a pool that is full, stays.
[[nodiscard]] Status as_disk_error(Status status) noexcept;
[[nodiscard]] inline bool is_full(Status status) noexcept {
    return status.is_errno(ENOSPC) || status.is_errno(EDQUOT);
}

// A change on its way; its owner keeps it until on_done. May be used again then.
class BlockChange : public ListLink {
   public:
    BlockChange() noexcept : io_(*this), job_(*this) {}
    virtual ~BlockChange();
    BlockChange(const BlockChange&) = delete;
    BlockChange& operator=(const BlockChange&) = delete;
    // Exactly once, from the loop, never inside submit(). After an error the range may hold
    // anything of old and new. Errors: errno of the file system; what a device says of itself
    // (ENODATA of a bad sector, ETIMEDOUT, ...) is EIO.
    virtual void on_done(Status status) noexcept = 0;

   private:
    friend class BlockVolume;
    enum class Step : std::uint8_t {
        waiting,
        reading_head,
        reading_tail,
        writing,
        awaiting_space,  // that a removed file is about to give back
        zeroing,
    };
    struct Io final : IoOp {
        explicit Io(BlockChange& a_change) noexcept : change(a_change) {}
        void on_complete(Status status, std::size_t count) noexcept override;
        BlockChange& change;
    };
    // What may wait for the disk: zeroing, and awaiting space.
    struct Work final : Job {
        explicit Work(BlockChange& a_change) noexcept : change(a_change) {}
        void run() noexcept override;
        void done() noexcept override;
        BlockChange& change;
        Status status;
    };

    BlockVolume* volume_ = nullptr;
    OpKind kind_ = OpKind::write;
    std::uint32_t flags_ = 0;
    Step step_ = Step::waiting;
    std::uint64_t offset_ = 0, size_ = 0;  // asked for
    std::uint64_t begin_ = 0, end_ = 0;    // locked
    std::uint64_t moved_ = 0;              // written of the locked range
    std::size_t blockers_ = 0;             // earlier changes that overlap and are not done
    AlignedBuffer buffer_;                 // a write's: of the locked range
    AlignedBuffer edge_;                   // a block that is changed in part
    Io io_;
    Work job_;
    bool awaited_space_ = false;
};

// A front end's read; `data` outlives it. May return what is being written at the time.
class BlockRead {
   public:
    BlockRead() noexcept : io_(*this) {}
    virtual ~BlockRead() = default;
    BlockRead(const BlockRead&) = delete;
    BlockRead& operator=(const BlockRead&) = delete;
    // Exactly once, from the loop, never inside read().
    virtual void on_done(Status status) noexcept = 0;

   private:
    friend class BlockVolume;
    struct Io final : IoOp {
        explicit Io(BlockRead& a_read) noexcept : read(a_read) {}
        void on_complete(Status status, std::size_t count) noexcept override;
        BlockRead& read;
    };

    BlockVolume* volume_ = nullptr;
    std::uint64_t offset_ = 0;
    MutableBytes data_;
    std::uint64_t begin_ = 0;  // what is read: whole blocks
    MutableBytes target_;      // data_ itself, or bounce_
    std::size_t moved_ = 0;
    AlignedBuffer bounce_;
    Io io_;
};

class BlockVolume final : public Volume {
   public:
    // Where its record is kept: the mirror's state directory, which outlives the volume.
    struct RecordPlace {
        Fd directory;
        std::uint16_t index = 0;  // of the volume
    };
    struct Options {
        Uuid volume_id;          // none: taken over from the backing
        std::uint64_t size = 0;  // bytes; a larger one on record wins
        RecordPlace record;
    };
    // The largest write.
    static constexpr std::uint64_t kWriteMax = kMiB;

    // Opens `name` in `parent`, which stays the caller's. A file is made, sparse, where it is
    // missing; a shorter one grows. What a volume gets beyond its recorded size is zeroed.
    // Errors: foreign (it belongs to another volume, or is another device), refused (neither it nor
    // the options have an id), too_large (a file without a record is longer than the size: a volume
    // never shrinks), unsupported (no regular file, no trusted attributes or no file handles there;
    // a device with blocks of more than kBlockUnit, or without facts in /sys), EINVAL (the size is
    // no multiple of kBlockUnit, or of the device's block), ENOSPC (the device is smaller), EBUSY
    // (somebody else uses the device), other errno.
    static Result<std::unique_ptr<BlockVolume>> open(Loop& loop, Fd parent, std::string_view name,
                                                     const Options& options) noexcept;
    // The volume id that a backing carries, or none: it is missing, or has no identity of its own.
    // foreign: not the device that was recorded.
    static Result<Uuid> volume_id_of(Loop& loop, Fd parent, std::string_view name,
                                     const RecordPlace& record) noexcept;
    ~BlockVolume() override;

    // Makes the backing ready for another size, one request after the other: what lies behind the
    // volume's end becomes zeros, and the size goes on record, both durably. The volume keeps its
    // size until set_size(). A smaller size is put on record only: what is behind it stays, and
    // belongs to nobody. `done` from the loop. Errors: ENOSPC (the device is smaller), EINVAL (as
    // open()), other errno; then nothing has changed but what lies behind the end.
    void prepare_size(std::uint64_t size, std::function<void(Status)> done) noexcept;
    [[nodiscard]] bool is_sizing() const noexcept { return !sizings_.empty(); }
    // Requires: it has been prepared.
    void set_size(std::uint64_t size) noexcept { size_ = size; }

    // What was found at open becomes the backing's identity, where it is not already. Until then a
    // copy, or a device that could not be told, is found as such again: to be called when that has
    // been noted durably.
    Status confirm_identity() noexcept;
    // Nothing says that this device is the one that held the volume. Then was_restored(), too.
    [[nodiscard]] bool is_unrecognized() const noexcept { return is_unrecognized_; }
    [[nodiscard]] bool is_device() const noexcept { return device_.has_value(); }

    // A clone of the content as it is, kept in the file's directory as NAME.before-resync
    // (resync/before_image.hpp), durable and whole once keep_clone() has returned. They wait for
    // the disk. Errors: EOPNOTSUPP (a device, or a file system without clones), EBUSY (a change is
    // in flight), not_found (restore_clone: there is none), other errno.
    Status keep_clone() noexcept;
    Status restore_clone() noexcept;
    [[nodiscard]] bool has_clone() noexcept;
    Status drop_clone() noexcept;

    [[nodiscard]] BlockVolume* as_block() noexcept override { return this; }
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    // An op that this volume can carry out: a write of at most kWriteMax, or an allocate that
    // zeroes whole blocks, of which the volume's last may be a short one (FALLOC_FL_PUNCH_HOLE or
    // FALLOC_FL_ZERO_RANGE, with KEEP_SIZE); inside the volume. For ops of a peer as well.
    [[nodiscard]] bool is_valid(const Op& op) const noexcept;
    // Requires: is_valid(op). The data are copied.
    void submit(BlockChange& change, const Op& op) noexcept;
    // Requires: a range inside the volume, not empty.
    void read(BlockRead& read, std::uint64_t offset, MutableBytes data) noexcept;
    // A change is under way, or waits for one, that overlaps the range.
    [[nodiscard]] bool is_busy(std::uint64_t offset, std::uint64_t size) const noexcept;
    [[nodiscard]] bool is_busy() const noexcept { return !in_flight_.empty(); }
    void for_each_in_flight(
        const std::function<void(std::uint64_t offset, std::uint64_t size)>& visit) const noexcept;

    [[nodiscard]] Uuid id() const noexcept override { return volume_id_; }
    Status adopt_volume_id(const Uuid& id) noexcept override;
    Result<bool> is_empty() noexcept override;
    [[nodiscard]] bool was_restored() const noexcept override { return was_restored_; }
    // A regular file of size(); nothing else of it is known.
    Result<Attributes> attributes(ObjectId object) noexcept override;
    [[nodiscard]] bool exists(ObjectId id) noexcept override { return id == kBlockObject; }
    // Transfers must be aligned as O_DIRECT demands: whole blocks, aligned memory.
    Result<Fd> data_fd(ObjectId object) noexcept override;
    // At once, waiting for the disk. Requires: is_valid(op), whole blocks, !is_busy there.
    Status apply(const Op& op) noexcept override;
    Result<SyncPlan> plan_sync(ObjectId object) noexcept override;
    void finish_sync(const SyncPlan&, Status) noexcept override {}
    void add_sync_targets(std::vector<SyncTarget>& targets) noexcept override {
        targets.push_back({file_, false});
    }

   private:
    friend class BlockChange;
    friend class BlockRead;
    // A size that is being prepared.
    struct Sizing final : Job {
        explicit Sizing(BlockVolume& a_volume) noexcept : volume(a_volume) {}
        void run() noexcept override;
        void done() noexcept override;
        BlockVolume& volume;
        std::uint64_t from = 0, size = 0;
        std::function<void(Status)> callback;
        Status status;
    };

    void next_sizing() noexcept;
    BlockVolume(Loop& loop, const RecordPlace& record) noexcept
        : loop_(loop), vfs_(loop.vfs()), record_(record), boot_(loop.boot_id()) {}
    Status open_file(Fd parent, std::string_view name) noexcept;
    Status open_device(Fd parent, std::string_view name, std::uint64_t special_device) noexcept;
    Status start(const Options& options) noexcept;
    Status start_file(const Options& options, const BlockRecord& record) noexcept;
    Status start_device(const Options& options, const BlockRecord& record) noexcept;
    // Requires: the volume's size is `from`. Zeroes what lies behind; waits for the disk.
    Status extend(std::uint64_t from, std::uint64_t to) noexcept;
    Status take_identity(const Options& options, const Result<Uuid>& carried) noexcept;
    Status write_identity(const Uuid& id) noexcept;
    Status write_record(const Uuid& id, std::uint64_t size) noexcept;
    Status clear_behind(std::uint64_t from, std::uint64_t to) noexcept;
    Result<bool> is_blank(std::uint64_t offset) noexcept;
    // Where transfers of whole blocks up to there end.
    [[nodiscard]] std::uint64_t block_end(std::uint64_t offset) const noexcept {
        return std::min((offset + kBlockUnit - 1) / kBlockUnit * kBlockUnit, size_);
    }

    void begin(BlockChange& change) noexcept;
    void advance(BlockChange& change, Status status, std::size_t count) noexcept;
    void read_edge(BlockChange& change, BlockChange::Step step) noexcept;
    void take_edge(BlockChange& change) noexcept;
    void write_on(BlockChange& change) noexcept;
    void finish(BlockChange& change, Status status) noexcept;
    template <typename Attempt>
    Status with_space(Attempt attempt) noexcept;
    void read_on(BlockRead& read, Status status, std::size_t count) noexcept;
    // Zeroes whole blocks, waiting for the disk; on any thread.
    Status zero(std::uint32_t flags, std::uint64_t offset, std::uint64_t size) noexcept;

    Loop& loop_;
    Vfs& vfs_;
    RecordPlace record_;
    Uuid boot_;
    std::optional<BlockDevice> device_;  // none: a file
    Fd file_;
    ScopedFd folder_;  // of a file
    std::string name_;
    Uuid volume_id_;
    std::uint64_t size_ = 0;
    bool was_restored_ = false;
    bool is_unrecognized_ = false;
    bool is_confirmed_ = false;             // the backing's identity is what it should be
    IntrusiveList<BlockChange> in_flight_;  // in order of submission
    std::deque<Sizing> sizings_;
    bool is_sizing_ = false;  // the first of them is under way
};

}  // namespace gemel
