// SPDX-License-Identifier: Apache-2.0
// Ops on content, and the dispatch of all ops. A data write may have been sent to the peer before
// it runs here (protocol.md 6), so its time is the op's on both nodes and nothing else is decided
// by the local execution but how much of it was done.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/falloc.h>

namespace gemel {

namespace {

bool is_allocation_known(std::uint32_t mode) noexcept {
    switch (mode) {
        case 0:
        case FALLOC_FL_KEEP_SIZE:
        case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
        case FALLOC_FL_ZERO_RANGE:
        case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
            return true;
        default:
            return false;  // collapse and insert move content: no op of ours can say that
    }
}

// A write to a file that could only be opened for reading (immutable, append-only).
Status as_refusal(Status status) noexcept {
    return status.is_errno(EBADF) ? Status::from_errno(EPERM) : status;
}

}  // namespace

void TreeVolume::resolve_time(Op& op) noexcept {
    if (op.modified == WallTime{}) op.modified = loop_.wall_time();
}

Status TreeVolume::prepare(Op& op) noexcept {
    begin_call();
    switch (op.kind) {
        case OpKind::write:
        case OpKind::truncate:
        case OpKind::allocate:
        case OpKind::copy_range:
            resolve_time(op);
            return judge_data(op);
        case OpKind::unlink:
        case OpKind::remove_directory:
            return prepare_removal(op);
        case OpKind::rename:
            return prepare_rename(op);
        case OpKind::create:
            if (!op.name.empty()) GEMEL_TRY(check_new_name(op.parent, op.name));
            return judge_create(op);
        case OpKind::link:
            GEMEL_TRY(check_new_name(op.parent, op.name));
            return judge_link(op);
        case OpKind::set_attributes:
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
        case OpKind::release_orphan:
            return judge_data(op);
    }
    return Status::from_errno(EINVAL);
}

// A refused op has left the tree as it was, and data written twice are the same data.
template <typename Attempt>
Status TreeVolume::with_space(Attempt attempt) noexcept {
    const Status status = attempt();
    const bool is_full = status.is_errno(ENOSPC) || status.is_errno(EDQUOT);
    if (!is_full || !vfs_.finish_closing()) return status;
    GEMEL_PROBE("volume: waited for the space of removed files");
    return attempt();
}

Status TreeVolume::execute(Op& op) noexcept {
    begin_call();
    return with_space(
        [&] { return op.scope == Scope::mirrored ? carry_out(op) : carry_out_quietly(op); });
}

Status TreeVolume::carry_out(Op& op) noexcept {
    switch (op.kind) {
        case OpKind::write:
        case OpKind::truncate:
        case OpKind::allocate:
        case OpKind::copy_range:
            return execute_data(op);
        case OpKind::create:
            return execute_create(op);
        case OpKind::link:
            return execute_link(op);
        case OpKind::unlink:
        case OpKind::remove_directory:
            return execute_removal(op);
        case OpKind::rename:
            return execute_rename(op);
        case OpKind::set_attributes:
            return execute_attributes(op);
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            return execute_xattr(op);
        case OpKind::release_orphan:
            return release_orphan(op.object, op.resolved.object_gone);
    }
    return Status::from_errno(EINVAL);
}

Status TreeVolume::apply(const Op& op) noexcept {
    begin_call();
    return with_space([&] { return carry_out_exactly(op); });
}

Status TreeVolume::carry_out_exactly(const Op& op) noexcept {
    switch (op.kind) {
        case OpKind::write:
        case OpKind::truncate:
        case OpKind::allocate:
        case OpKind::copy_range:
            return apply_data(op);
        case OpKind::create:
            return apply_create(op);
        case OpKind::link:
            return apply_link(op);
        case OpKind::unlink:
        case OpKind::remove_directory:
            return apply_removal(op);
        case OpKind::rename:
            return apply_rename(op);
        case OpKind::set_attributes:
            return apply_attributes(op);
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            return apply_xattr(op);
        case OpKind::release_orphan: {
            bool is_gone = false;
            return release_orphan(op.object, is_gone);
        }
    }
    return Status(Code::corrupt);
}

// Goes on after short writes: they end only at an error, which then has its reason.
Status TreeVolume::write(Fd file, const Op& op, std::uint64_t& done) noexcept {
    while (done < op.data.size()) {
        const Result<std::size_t> written =
            vfs_.pwrite(file, op.data.subspan(done), op.offset + done);
        if (!written.ok()) return as_refusal(written.status());
        GEMEL_ASSERT(written.value() > 0 && written.value() <= op.data.size() - done);
        done += written.value();
    }
    return Status();
}

Status TreeVolume::copy(Fd file, const Op& op, std::uint64_t& done) noexcept {
    constexpr std::uint64_t kStepMax = std::uint64_t{1} << 30;
    const Result<Fd> source = open_object(op.source, FdCache::Kind::data);
    if (!source.ok()) return source.status();
    while (done < op.size) {
        const std::uint64_t step = std::min(op.size - done, kStepMax);
        const Result<std::size_t> copied =
            vfs_.copy_range(source.value(), op.source_offset + done, file, op.offset + done, step);
        if (!copied.ok()) return as_refusal(copied.status());
        if (copied.value() == 0) return Status();  // the source ends here
        done += copied.value();
    }
    return Status();
}

Status TreeVolume::allocate(Fd file, const Op& op) noexcept {
    if (!is_allocation_known(op.flags)) return Status::from_errno(EOPNOTSUPP);
    return as_refusal(vfs_.allocate(file, static_cast<int>(op.flags), op.offset, op.size));
}

// What the kernel does at a write by somebody without the privilege to keep these bits.
Status TreeVolume::clear_set_id(Fd file) noexcept {
    const Result<FileStat> stat = vfs_.stat(file);
    if (!stat.ok()) return stat.status();
    std::uint32_t mode = stat->mode & ~static_cast<std::uint32_t>(S_ISUID);
    // Without group execution the bit meant mandatory locking, and stays.
    if ((mode & S_IXGRP) != 0) mode &= ~static_cast<std::uint32_t>(S_ISGID);
    if (mode != stat->mode) GEMEL_TRY(vfs_.set_mode(file, mode & 07777));
    return has_capability(file) ? vfs_.remove_xattr(file, kCapabilityAttribute) : Status();
}

Status TreeVolume::execute_data(Op& op) noexcept {
    const Result<Fd> file = open_object(op.object, FdCache::Kind::data);
    if (!file.ok()) return file.status();
    resolve_time(op);
    cache_.note_write(op.object, ++change_mark_);
    std::uint64_t done = 0;
    Status status;
    switch (op.kind) {
        case OpKind::write:
            status = write(file.value(), op, done);
            break;
        case OpKind::copy_range:
            status = copy(file.value(), op, done);
            break;
        case OpKind::truncate:
            status = as_refusal(vfs_.truncate(file.value(), op.size));
            break;
        default:
            status = allocate(file.value(), op);
            break;
    }
    // Something was written: that is the op from here on, and the next one will meet the error.
    if (!status.ok() && done == 0) return status;
    if (op.kind == OpKind::write) {
        op.data = op.data.first(done);
        op.size = done;
    } else if (op.kind == OpKind::copy_range) {
        op.size = done;
        if (done == 0) return Status();
    }
    if (op.clear_set_id) GEMEL_TRY(clear_set_id(file.value()));
    GEMEL_TRY(set_modified(file.value(), op.modified));
    if (op.kind == OpKind::write) return Status();
    const Result<FileStat> after = vfs_.stat(file.value());
    if (!after.ok()) return after.status();
    resolve_object(after.value(), op);
    return Status();
}

Status TreeVolume::apply_data(const Op& op) noexcept {
    if (op.kind == OpKind::copy_range && op.size == 0) return Status();
    const Result<Fd> file = open_object(op.object, FdCache::Kind::data);
    if (!file.ok()) return file.status();
    cache_.note_write(op.object, ++change_mark_);
    std::uint64_t done = 0;
    switch (op.kind) {
        case OpKind::write:
            GEMEL_TRY(write(file.value(), op, done));
            break;
        case OpKind::copy_range:
            GEMEL_TRY(copy(file.value(), op, done));
            // Shorter than on the serving node: the source differs here.
            if (done != op.size) return Status(Code::corrupt);
            break;
        case OpKind::truncate:
            GEMEL_TRY(vfs_.truncate(file.value(), op.size));
            break;
        default:
            GEMEL_TRY(allocate(file.value(), op));
            break;
    }
    if (op.clear_set_id) GEMEL_TRY(clear_set_id(file.value()));
    return set_modified(file.value(), op.modified);
}

}  // namespace gemel
