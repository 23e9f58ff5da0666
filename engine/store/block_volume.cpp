// SPDX-License-Identifier: Apache-2.0
// Opening, identity, and what is done at once; block_changes.cpp has what is under way.
#include "engine/store/block_volume.hpp"

#include "engine/base/assert.hpp"
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
constexpr std::uint32_t kZeroing = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

// Some file systems have no O_DIRECT.
Result<Fd> open_backing(Vfs& vfs, Fd parent, std::string_view name) noexcept {
    Result<Fd> direct = vfs.open_at(parent, name, kFlags | O_DIRECT, 0);
    if (direct.ok() || !direct.status().is_errno(EINVAL)) return direct;
    return vfs.open_at(parent, name, kFlags, 0);
}

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

Status without_support(Status status) noexcept {
    return status.is_errno(EOPNOTSUPP) || status.code() == Code::too_large
               ? Status(Code::unsupported)
               : status;
}

bool is_whole(std::uint64_t offset) noexcept { return offset % kBlockUnit == 0; }

}  // namespace

Result<std::unique_ptr<BlockVolume>> BlockVolume::open(Loop& loop, Fd parent, std::string_view name,
                                                       const Options& options) noexcept {
    GEMEL_ASSERT(options.size != 0 && is_whole(options.size));
    Vfs& vfs = loop.vfs();
    Result<Fd> file = open_backing(vfs, parent, name);
    if (!file.ok() && file.status().is_errno(ENOENT)) {
        const Result<Fd> made = vfs.open_at(parent, name, kFlags | O_CREAT | O_EXCL, 0600);
        if (!made.ok()) return made.status();
        vfs.close(made.value());
        GEMEL_TRY(vfs.sync(parent, false));
        file = open_backing(vfs, parent, name);
    }
    if (!file.ok()) return file.status();
    std::unique_ptr<BlockVolume> volume(new BlockVolume(loop, file.value()));
    const Status status = volume->start(options);
    if (!status.ok()) return status;
    return volume;
}

BlockVolume::~BlockVolume() {
    // What is under way belongs to a loop that has ended.
    while (in_flight_.pop_front() != nullptr) {
    }
    vfs_.close(file_);
}

Result<Uuid> BlockVolume::volume_id_of(Vfs& vfs, Fd parent, std::string_view name) noexcept {
    const Result<Fd> file = vfs.open_at(parent, name, O_RDONLY | O_NOATIME, 0);
    if (!file.ok() && file.status().is_errno(ENOENT)) return Uuid{};
    if (!file.ok()) return file.status();
    const ScopedFd scoped(vfs, file.value());
    bool is_copy = false;
    const Result<Identity> identity = own_identity(vfs, file.value(), is_copy);
    if (!identity.ok() && identity.status().code() == Code::not_found) return Uuid{};
    if (!identity.ok()) return without_support(identity.status());
    // A restored one has kept its attribute: it says whose it is, and will be compared.
    return identity->volume;
}

Status BlockVolume::start(const Options& options) noexcept {
    const Result<FileStat> stat = vfs_.stat(file_);
    if (!stat.ok()) return stat.status();
    if (!S_ISREG(stat->mode)) return Status(Code::unsupported);
    if (stat->size > options.size) return Status(Code::too_large);
    GEMEL_TRY(take_identity(options));
    size_ = options.size;
    if (stat->size < size_) {
        GEMEL_TRY(vfs_.truncate(file_, size_));
        GEMEL_TRY(vfs_.sync(file_, false));
    }
    return Status();
}

Status BlockVolume::take_identity(const Options& options) noexcept {
    bool is_copy = false;
    const Result<Identity> identity = own_identity(vfs_, file_, is_copy);
    if (!identity.ok() && identity.status().code() != Code::not_found) {
        return without_support(identity.status());
    }
    if (identity.ok() && !options.volume_id.is_none() && identity->volume != options.volume_id) {
        return Status(Code::foreign);
    }
    volume_id_ = identity.ok() ? identity->volume : options.volume_id;
    if (volume_id_.is_none()) return Status(Code::refused);
    if (identity.ok() && !is_copy) return Status();
    was_restored_ = identity.ok();
    return write_identity(volume_id_);
}

Status BlockVolume::write_identity(const Uuid& id) noexcept {
    const Result<FileHandle> handle = vfs_.handle_of(file_);
    if (!handle.ok()) return without_support(handle.status());
    GEMEL_TRY(without_support(
        gemel::write_identity(vfs_, file_, Identity{id, kBlockObject, handle.value()})));
    return vfs_.sync(file_, false);
}

Status BlockVolume::adopt_volume_id(const Uuid& id) noexcept {
    GEMEL_TRY(write_identity(id));
    volume_id_ = id;
    return Status();
}

Result<bool> BlockVolume::is_empty() noexcept {
    const Result<std::uint64_t> data = vfs_.seek(file_, 0, SEEK_DATA);
    if (data.ok()) return data.value() >= size_;
    if (data.status().is_errno(ENXIO)) return true;
    return data.status();
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
    return is_whole(op.offset) && is_whole(op.size);
}

Status BlockVolume::apply(const Op& op) noexcept {
    if (!is_valid(op) || !is_whole(op.offset) || !is_whole(op.size)) {
        return Status::from_errno(EINVAL);
    }
    GEMEL_ASSERT(!is_busy(op.offset, op.size));
    if (op.kind == OpKind::allocate) return zero(op.flags, op.offset, op.size);
    const AlignedBuffer data(op.data.begin(), op.data.end());
    for (std::size_t done = 0; done < data.size();) {
        const Result<std::size_t> moved =
            vfs_.pwrite(file_, Bytes(data).subspan(done), op.offset + done);
        if (!moved.ok()) return moved.status();
        done += moved.value();
    }
    return Status();
}

Status BlockVolume::zero(std::uint32_t flags, std::uint64_t offset, std::uint64_t size) noexcept {
    GEMEL_ASSERT((flags & kZeroing) != 0);
    const Status zeroed = vfs_.allocate(file_, static_cast<int>(flags), offset, size);
    if (!zeroed.is_errno(EOPNOTSUPP)) return zeroed;
    const AlignedBuffer zeros(static_cast<std::size_t>(std::min<std::uint64_t>(size, kMiB)));
    for (std::uint64_t done = 0; done < size;) {
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), size - done));
        const Result<std::size_t> moved =
            vfs_.pwrite(file_, Bytes(zeros).first(wanted), offset + done);
        if (!moved.ok()) return moved.status();
        done += moved.value();
    }
    return Status();
}

}  // namespace gemel
