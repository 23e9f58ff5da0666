// SPDX-License-Identifier: Apache-2.0
// Opening, identity, and what is done at once; block_changes.cpp has what is under way.
#include "engine/store/block_volume.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/io/whole_transfer.hpp"
#include "engine/store/identity.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

constexpr int kFlags = O_RDWR | O_NOATIME;
constexpr std::uint64_t kSector = 512;
// A device that is busy with more can't be asked anything else for too long.
constexpr std::uint64_t kClearedAtOnce = 64 * kMiB;
constexpr std::uint32_t kZeroing = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

// The identity of the file itself; not_found: it has none, or that of the file it was copied from.
Result<Identity> own_identity(Vfs& vfs, Fd file, bool& is_copy) noexcept {
    is_copy = false;
    Result<Identity> identity = read_identity(vfs, file);
    if (!identity.ok()) return identity;
    const Result<FileHandle> handle = vfs.handle_of(file);
    if (!handle.ok()) return handle.status();
    is_copy = handle.value() != identity->handle || identity->object != kBlockObject;
    return identity;
}

// What may be zeroed, or applied at once. The last block of a volume may be short, by sectors.
bool is_whole(const Op& op) noexcept {
    return op.offset % kBlockUnit == 0 && op.size % kSector == 0;
}

Status without_support(Status status) noexcept {
    return status.is_errno(EOPNOTSUPP) || status.code() == Code::too_large
               ? Status(Code::unsupported)
               : status;
}

// The identity of what is open as a file, or none.
Result<Uuid> carried_by_file(Vfs& vfs, Fd file, bool& is_copy) noexcept {
    const Result<Identity> identity = own_identity(vfs, file, is_copy);
    if (identity.ok()) return identity->volume;
    if (identity.status().code() == Code::not_found) return Uuid{};
    return without_support(identity.status());
}

// None: there is no record.
Result<BlockRecord> read_record(Vfs& vfs, const BlockVolume::RecordPlace& place) noexcept {
    if (!place.directory.is_open()) return BlockRecord();
    Result<BlockRecord> record = BlockRecordFile::read(vfs, place.directory, place.index);
    if (!record.ok() && record.status().code() == Code::not_found) return BlockRecord();
    return record;
}

Result<BlockDevice> facts_of(Vfs& vfs, std::uint64_t special_device) noexcept {
    Result<BlockDevice> device = read_block_device(vfs, special_device);
    if (!device.ok() && device.status().code() == Code::not_found) return Code::unsupported;
    return device;
}

}  // namespace

Result<std::unique_ptr<BlockVolume>> BlockVolume::open(Loop& loop, Fd parent, std::string_view name,
                                                       const Options& options) noexcept {
    GEMEL_ASSERT(options.size != 0);
    const Result<FileStat> stat = loop.vfs().stat_at(parent, name);
    std::unique_ptr<BlockVolume> volume(new BlockVolume(loop, options.record));
    Status status;
    if (stat.ok() && S_ISBLK(stat->mode)) {
        status = volume->open_device(parent, name, stat->special_device);
    } else {
        status = volume->open_file(parent, name);
    }
    if (status.ok()) status = volume->start(options);
    if (!status.ok()) return status;
    return volume;
}

BlockVolume::~BlockVolume() {
    // What is under way belongs to a loop that has ended.
    while (in_flight_.pop_front() != nullptr) {
    }
    if (file_.is_open()) vfs_.close(file_);
}

Result<Uuid> BlockVolume::volume_id_of(Loop& loop, Fd parent, std::string_view name,
                                       const RecordPlace& place) noexcept {
    Vfs& vfs = loop.vfs();
    const Result<FileStat> stat = vfs.stat_at(parent, name);
    if (!stat.ok() && stat.status().is_errno(ENOENT)) return Uuid{};
    if (!stat.ok()) return stat.status();
    if (S_ISBLK(stat->mode)) {
        const Result<BlockDevice> device = facts_of(vfs, stat->special_device);
        if (!device.ok()) return device.status();
        const Result<BlockRecord> record = read_record(vfs, place);
        if (!record.ok()) return record.status();
        if (record->volume.is_none()) return Uuid{};
        const bool is_other =
            recognize(record.value(), device.value(), loop.boot_id()) == Recognition::foreign;
        return is_other ? Result<Uuid>(Code::foreign) : Result<Uuid>(record->volume);
    }
    const Result<Fd> file = vfs.open_at(parent, name, O_RDONLY | O_NOATIME, 0);
    if (!file.ok()) return file.status();
    const ScopedFd scoped(vfs, file.value());
    bool is_copy = false;
    // A restored one has kept its attribute: it says whose it is, and will be compared.
    return carried_by_file(vfs, file.value(), is_copy);
}

Status BlockVolume::start(const Options& options) noexcept {
    const Result<BlockRecord> record = read_record(vfs_, record_);
    if (!record.ok()) return record.status();
    return device_ ? start_device(options, record.value()) : start_file(options, record.value());
}

Status BlockVolume::extend(std::uint64_t from, std::uint64_t to) noexcept {
    GEMEL_PROBE("block volume: grows at its opening");
    GEMEL_TRY(clear_behind(from, to));
    size_ = to;
    is_confirmed_ = false;
    return Status();
}

// Makes [from, to) zeros, durably. On any thread.
Status BlockVolume::clear_behind(std::uint64_t from, std::uint64_t to) noexcept {
    std::uint64_t there = to;
    if (!device_) {
        const Result<FileStat> stat = vfs_.stat(file_);
        if (!stat.ok()) return stat.status();
        there = std::min(stat->size, to);
        if (stat->size < to) GEMEL_TRY(vfs_.truncate(file_, to));
    }
    constexpr std::uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    for (std::uint64_t at = from; at < there;) {
        const std::uint64_t size = std::min(there - at, kClearedAtOnce);
        GEMEL_TRY(zero(kPunch, at, size));
        at += size;
    }
    // Whatever its reason, the kernel tells of lost pages once.
    return vfs_.sync(file_, false).ok() ? Status() : Status::from_errno(EIO);
}

void BlockVolume::prepare_size(std::uint64_t size, std::function<void(Status)> done) noexcept {
    Sizing& sizing = sizings_.emplace_back(*this);
    sizing.size = size;
    sizing.callback = std::move(done);
    next_sizing();
}

// What an earlier service began behind a size that was given up since has to be over.
void BlockVolume::next_sizing() noexcept {
    if (is_sizing_ || sizings_.empty()) return;
    for (BlockChange* one = in_flight_.front(); one != nullptr; one = in_flight_.next(*one)) {
        if (one->end_ > size_) return;
    }
    is_sizing_ = true;
    sizings_.front().from = size_;
    loop_.offload(sizings_.front());
}

void BlockVolume::Sizing::run() noexcept {
    const auto prepare = [&]() -> Status {
        std::uint64_t unit = kBlockUnit;
        if (volume.device_) {
            // It may have grown since it was opened.
            const Result<FileStat> stat = volume.vfs_.stat(volume.file_);
            if (!stat.ok()) return stat.status();
            const Result<BlockDevice> now = facts_of(volume.vfs_, stat->special_device);
            if (!now.ok()) return now.status();
            if (now->size < size) return Status::from_errno(ENOSPC);
            unit = now->logical_block;
        }
        if (size % unit != 0) return Status::from_errno(EINVAL);
        if (size > from) GEMEL_TRY(volume.clear_behind(from, size));
        return volume.write_record(volume.volume_id_, size);
    };
    status = prepare();
}

void BlockVolume::Sizing::done() noexcept {
    BlockVolume& owner = volume;
    const std::function<void(Status)> told = std::move(callback);
    const Status outcome = status;
    owner.sizings_.pop_front();
    owner.is_sizing_ = false;
    told(outcome);
    owner.next_sizing();
}

// ---- a file -----------------------------------------------------------------------------------

Status BlockVolume::open_file(Fd parent, std::string_view name) noexcept {
    const auto open = [&] {
        Result<Fd> direct = vfs_.open_at(parent, name, kFlags | O_DIRECT, 0);
        // Some file systems have no O_DIRECT.
        if (direct.ok() || !direct.status().is_errno(EINVAL)) return direct;
        return vfs_.open_at(parent, name, kFlags, 0);
    };
    Result<Fd> file = open();
    if (!file.ok() && file.status().is_errno(ENOENT)) {
        const Result<Fd> made = vfs_.open_at(parent, name, kFlags | O_CREAT | O_EXCL, 0600);
        if (!made.ok()) return made.status();
        vfs_.close(made.value());
        GEMEL_TRY(vfs_.sync(parent, false));
        file = open();
    }
    if (!file.ok()) return file.status();
    file_ = file.value();
    const Result<Fd> folder = vfs_.open_at(parent, ".", O_RDONLY | O_DIRECTORY, 0);
    if (!folder.ok()) return folder.status();
    folder_ = ScopedFd(vfs_, folder.value());
    name_ = name;
    return Status();
}

Status BlockVolume::start_file(const Options& options, const BlockRecord& record) noexcept {
    const Result<FileStat> stat = vfs_.stat(file_);
    if (!stat.ok()) return stat.status();
    if (!S_ISREG(stat->mode)) return Status(Code::unsupported);
    bool is_copy = false;
    const Result<Uuid> carried = carried_by_file(vfs_, file_, is_copy);
    was_restored_ = is_copy;
    is_confirmed_ = carried.ok() && !carried->is_none() && !is_copy;
    GEMEL_TRY(take_identity(options, carried));
    const bool is_recorded = record.volume == volume_id_ && record.size != 0;
    is_confirmed_ = is_confirmed_ && is_recorded && record.size == options.size;
    size_ = is_recorded ? record.size : stat->size;
    const std::uint64_t size = std::max(options.size, is_recorded ? record.size : 0);
    if (size % kBlockUnit != 0) return Status::from_errno(EINVAL);
    // Behind a recorded size there is nothing; behind another there may be.
    if (!is_recorded && stat->size > size) return Status(Code::too_large);
    if (stat->size >= size && size_ == size) return Status();
    return extend(std::min(size_, stat->size), size);
}

// ---- a device ---------------------------------------------------------------------------------

Status BlockVolume::open_device(Fd parent, std::string_view name,
                                std::uint64_t special_device) noexcept {
    Result<BlockDevice> device = facts_of(vfs_, special_device);
    if (!device.ok()) return device.status();
    device_ = std::move(device).value();
    // O_EXCL: of a block device, that nobody else holds it (open(2)).
    const Result<Fd> file = vfs_.open_at(parent, name, O_RDWR | O_DIRECT | O_EXCL, 0);
    if (!file.ok()) return file.status();
    file_ = file.value();
    return Status();
}

Status BlockVolume::start_device(const Options& options, const BlockRecord& record) noexcept {
    const std::uint32_t block = device_->logical_block;
    if (block > kBlockUnit || kBlockUnit % block != 0) return Status(Code::unsupported);
    const bool is_recorded = !record.volume.is_none();
    const std::uint64_t size = std::max(options.size, record.size);
    if (size % block != 0) return Status::from_errno(EINVAL);
    if (device_->size < size) return Status::from_errno(ENOSPC);
    if (is_recorded) {
        const Recognition recognition = recognize(record, *device_, loop_.boot_id());
        if (recognition == Recognition::foreign) return Status(Code::foreign);
        was_restored_ = recognition != Recognition::same;
        is_unrecognized_ = recognition == Recognition::unknown;
    }
    GEMEL_TRY(take_identity(options, record.volume));
    size_ = is_recorded ? record.size : size;
    return size_ == size ? Status() : extend(size_, size);
}

// ---- identity ---------------------------------------------------------------------------------

Status BlockVolume::take_identity(const Options& options, const Result<Uuid>& carried) noexcept {
    if (!carried.ok()) return carried.status();
    const Uuid& id = carried.value();
    if (!id.is_none() && !options.volume_id.is_none() && id != options.volume_id) {
        return Status(Code::foreign);
    }
    volume_id_ = id.is_none() ? options.volume_id : id;
    return volume_id_.is_none() ? Status(Code::refused) : Status();
}

// A device's record follows what the kernel says of it at each start.
Status BlockVolume::confirm_identity() noexcept {
    if (is_confirmed_) return Status();
    return write_identity(volume_id_);
}

Status BlockVolume::write_identity(const Uuid& id) noexcept {
    if (!device_) {
        const Result<FileHandle> handle = vfs_.handle_of(file_);
        if (!handle.ok()) return without_support(handle.status());
        GEMEL_TRY(without_support(
            gemel::write_identity(vfs_, file_, Identity{id, kBlockObject, handle.value()})));
        GEMEL_TRY(vfs_.sync(file_, false));
    }
    GEMEL_TRY(write_record(id, size_));
    is_confirmed_ = true;
    return Status();
}

// On any thread.
Status BlockVolume::write_record(const Uuid& id, std::uint64_t size) noexcept {
    if (!record_.directory.is_open()) return Status();
    BlockRecord record;
    record.volume = id;
    record.size = size;
    if (device_) {
        record.boot = boot_;
        record.sequence = device_->sequence;
        record.names = device_->names;
    }
    return BlockRecordFile::write(vfs_, record_.directory, record_.index, record);
}

Status BlockVolume::adopt_volume_id(const Uuid& id) noexcept {
    GEMEL_TRY(write_identity(id));
    volume_id_ = id;
    return Status();
}

// A device has no holes to ask for: whatever is kept on disks shows at their beginning or end.
Result<bool> BlockVolume::is_empty() noexcept {
    if (device_) {
        Result<bool> begin = is_blank(0);
        if (!begin.ok() || !begin.value() || size_ <= kMiB) return begin;
        return is_blank((size_ - kMiB) / kBlockUnit * kBlockUnit);
    }
    const Result<std::uint64_t> data = vfs_.seek(file_, 0, SEEK_DATA);
    if (data.ok()) return data.value() >= size_;
    if (data.status().is_errno(ENXIO)) return true;
    return data.status();
}

Result<bool> BlockVolume::is_blank(std::uint64_t offset) noexcept {
    AlignedBuffer bytes(static_cast<std::size_t>(std::min<std::uint64_t>(kMiB, size_ - offset)));
    const Result<std::size_t> size = read_fully(vfs_, file_, bytes, offset);
    if (!size.ok()) return as_disk_error(size.status());
    const bool blank =
        std::all_of(bytes.begin(), bytes.end(), [](std::byte one) { return one == std::byte{0}; });
    return blank;
}

Result<Attributes> BlockVolume::attributes(ObjectId object) noexcept {
    if (object != kBlockObject) return Status::from_errno(ESTALE);
    Attributes attributes;
    attributes.id = object;
    attributes.stat.mode = S_IFREG | 0600;
    attributes.stat.link_count = 1;
    attributes.stat.size = size_;
    return attributes;
}

Result<Fd> BlockVolume::data_fd(ObjectId object) noexcept {
    if (object != kBlockObject) return Status::from_errno(ESTALE);
    return file_;
}

Result<Volume::SyncPlan> BlockVolume::plan_sync(ObjectId object) noexcept {
    if (object != kBlockObject) return Status::from_errno(ESTALE);
    SyncPlan plan;
    plan.files.push_back(file_);
    plan.content = file_;
    return plan;
}

bool BlockVolume::is_valid(const Op& op) const noexcept {
    if (op.object != kBlockObject || op.size == 0) return false;
    if (op.offset > size_ || op.size > size_ - op.offset) return false;
    if (op.kind == OpKind::write) return op.size <= kWriteMax && op.data.size() == op.size;
    if (op.kind != OpKind::allocate) return false;
    const std::uint32_t how = op.flags & ~std::uint32_t{FALLOC_FL_KEEP_SIZE};
    if (how == op.flags) return false;
    if (how != FALLOC_FL_PUNCH_HOLE && how != FALLOC_FL_ZERO_RANGE) return false;
    return is_whole(op);
}

Status BlockVolume::apply(const Op& op) noexcept {
    if (!is_valid(op) || !is_whole(op)) return Status::from_errno(EINVAL);
    GEMEL_ASSERT(!is_busy(op.offset, op.size));
    if (op.kind == OpKind::allocate) return zero(op.flags, op.offset, op.size);
    const AlignedBuffer data(op.data.begin(), op.data.end());
    return as_disk_error(with_space([&] { return write_fully(vfs_, file_, data, op.offset); }));
}

// Data written twice are the same data.
template <typename Attempt>
Status BlockVolume::with_space(Attempt attempt) noexcept {
    const Status status = attempt();
    if (!is_full(status) || !vfs_.finish_closing()) return status;
    GEMEL_PROBE("block volume: waited for the space of removed files at once");
    return attempt();
}

Status BlockVolume::zero(std::uint32_t flags, std::uint64_t offset, std::uint64_t size) noexcept {
    GEMEL_ASSERT((flags & kZeroing) != 0);
    Status zeroed =
        with_space([&] { return vfs_.allocate(file_, static_cast<int>(flags), offset, size); });
    // A device that can't discard with zeros for certain may still zero quicker than we write.
    if (zeroed.is_errno(EOPNOTSUPP) && device_ && (flags & FALLOC_FL_PUNCH_HOLE) != 0) {
        zeroed = vfs_.allocate(file_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, size);
    }
    if (!zeroed.is_errno(EOPNOTSUPP)) return as_disk_error(zeroed);
    const AlignedBuffer zeros(static_cast<std::size_t>(std::min<std::uint64_t>(size, kMiB)));
    for (std::uint64_t done = 0; done < size; done += zeros.size()) {
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), size - done));
        const Status written = with_space(
            [&] { return write_fully(vfs_, file_, Bytes(zeros).first(wanted), offset + done); });
        if (!written.ok()) return as_disk_error(written);
    }
    return Status();
}

Status as_disk_error(Status status) noexcept {
    if (status.code() != Code::errno_failure) return status;
    switch (status.error()) {
        case ENODATA:    // a medium error
        case ETIMEDOUT:  // the device does not answer
        case ENOLINK:    // nor the way to it
        case EREMOTEIO:  // the target's failure
        case EBADE:      // a reservation of somebody else's
        case EILSEQ:     // protection data that do not fit
        case EOVERFLOW:  // zones
        case ETOOMANYREFS:
            return Status::from_errno(EIO);
        default:
            return status;
    }
}

}  // namespace gemel
