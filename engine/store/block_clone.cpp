// SPDX-License-Identifier: Apache-2.0
// The clone of a block volume's file. It counts once it carries the volume's id, which it gets when
// its content is on the disk; whatever a crash leaves of one does not.
#include "engine/base/probe.hpp"
#include "engine/io/late_release.hpp"
#include "engine/store/block_volume.hpp"

#include <array>
#include <cstring>
#include <fcntl.h>

namespace gemel {

namespace {

constexpr std::string_view kCloneSuffix = ".before-resync";
constexpr std::string_view kCloneAttribute = "trusted.gemel.clone-of";

}  // namespace

Status BlockVolume::keep_clone() noexcept {
    if (is_device()) return Status::from_errno(EOPNOTSUPP);
    if (is_busy()) return Status::from_errno(EBUSY);
    GEMEL_TRY(drop_clone());
    const Result<Fd> made = vfs_.open_at(folder_.get(), name_ + std::string(kCloneSuffix),
                                         O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!made.ok()) return made.status();
    const ScopedFd clone(vfs_, made.value());
    Status status = vfs_.clone(file_, clone.get());
    if (status.ok()) status = vfs_.sync(clone.get(), false);
    if (status.ok()) {
        status = vfs_.set_xattr(clone.get(), kCloneAttribute,
                                std::as_bytes(std::span(volume_id_.bytes)), 0);
    }
    if (status.ok()) status = vfs_.sync(clone.get(), false);
    if (status.ok()) status = vfs_.sync(folder_.get(), false);
    if (!status.ok()) std::ignore = drop_clone();
    return status;
}

bool BlockVolume::has_clone() noexcept {
    if (is_device()) return false;
    const Result<Fd> opened =
        vfs_.open_at(folder_.get(), name_ + std::string(kCloneSuffix), O_RDONLY, 0);
    if (!opened.ok()) return false;
    const ScopedFd clone(vfs_, opened.value());
    Uuid id;
    const Result<std::size_t> size =
        vfs_.get_xattr(clone.get(), kCloneAttribute, std::as_writable_bytes(std::span(id.bytes)));
    return size.ok() && size.value() == id.bytes.size() && id == volume_id_;
}

Status BlockVolume::restore_clone() noexcept {
    if (is_busy()) return Status::from_errno(EBUSY);
    if (!has_clone()) return Status(Code::not_found);
    const Result<Fd> opened =
        vfs_.open_at(folder_.get(), name_ + std::string(kCloneSuffix), O_RDONLY, 0);
    if (!opened.ok()) return opened.status();
    const ScopedFd clone(vfs_, opened.value());
    GEMEL_TRY(vfs_.clone(clone.get(), file_));
    // The volume may have grown since.
    const Result<FileStat> stat = vfs_.stat(file_);
    if (!stat.ok()) return stat.status();
    if (stat->size < size_) GEMEL_TRY(vfs_.truncate(file_, size_));
    return vfs_.sync(file_, false);
}

Status BlockVolume::drop_clone() noexcept {
    if (is_device()) return Status();
    const Status removed =
        unlink_with_late_release(vfs_, folder_.get(), name_ + std::string(kCloneSuffix));
    if (removed.is_errno(ENOENT)) return Status();
    return removed.ok() ? vfs_.sync(folder_.get(), false) : removed;
}

}  // namespace gemel
