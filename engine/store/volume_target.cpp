// SPDX-License-Identifier: Apache-2.0
// A resync's target: names are taken away without destroying anything, objects are put where the
// source has them. What is in `detached/` at the end of the resync is what the source does not
// have.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <utility>

namespace gemel {

Status TreeVolume::make_skeleton(ObjectId id, std::uint32_t type_mode, std::uint64_t special_device,
                                 Bytes link_target) noexcept {
    if (id.is_none() || is_fixed(id)) return Status::from_errno(EINVAL);
    if (exists(id)) return Status::from_errno(EEXIST);
    GEMEL_TRY(disown(id));
    NewObject spec;
    spec.id = id;
    spec.mode = (type_mode & S_IFMT) | (S_ISDIR(type_mode) ? 0700U : 0600U);
    spec.special_device = special_device;
    spec.target = link_target;
    const Result<Fd> made =
        make_object(spec, detached_directory_, detached_directory_, hex_name(id));
    return made.status();
}

Status TreeVolume::adopt(ObjectId parent, std::string_view name, ObjectId id) noexcept {
    begin_call();
    if (id.is_none() || is_fixed(id)) return Status::from_errno(EINVAL);
    Fd directory;
    const Result<Found> found = find_named(parent, name, directory);
    if (!found.ok()) return found.status();
    if (found->id == id) return Status();
    // The id is another inode's already, or this inode is also something else by another name.
    if (exists(id)) return Status::from_errno(EEXIST);
    if (!found->id.is_none() && !found->is_directory() && !found->is_last_name()) {
        return Status::from_errno(EEXIST);
    }
    GEMEL_TRY(disown(id));
    if (!found->id.is_none()) {
        GEMEL_TRY(index_.erase(found->id));
        object_gone(found->id);
    }
    cache_.forget(id);
    return give_identity(found->file.get(), {volume_id_, id, found->handle}, found->stat.mode);
}

Status TreeVolume::place(ObjectId id, ObjectId parent, std::string_view name) noexcept {
    begin_call();
    GEMEL_TRY(check_new_name(parent, name));
    const Result<Fd> directory = directory_fd(parent);
    if (!directory.ok()) return directory.status();
    const Result<Fd> file = object_fd(id);
    if (!file.ok()) return file.status();
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    const Status placed = S_ISDIR(stat->mode)
                              ? place_directory(file.value(), directory.value(), name)
                              : place_other(id, file.value(), directory.value(), name);
    if (placed.is_errno(EEXIST)) {
        const Result<Found> there = find_at(directory.value(), name);
        if (!there.ok() || there->id != id) return placed;
    } else if (!placed.ok()) {
        return placed;
    }
    if (parent == kOrphanDirectory) {
        orphans_.insert(id);
    } else {
        note_name(id, parent);
    }
    return Status();
}

Status TreeVolume::place_directory(Fd file, Fd directory, std::string_view name) noexcept {
    Result<Vfs::Location> location = vfs_.locate(file);
    if (!location.ok()) return location.status();
    const ScopedFd parent(vfs_, location->parent);
    // The list may have been another one when the directory moved on the source.
    places_.clear();
    return vfs_.rename(parent.get(), location->name, directory, name, RENAME_NOREPLACE);
}

Status TreeVolume::place_other(ObjectId id, Fd file, Fd directory, std::string_view name) noexcept {
    const std::string own_name = hex_name(id);
    const Status moved =
        vfs_.rename(detached_directory_, own_name, directory, name, RENAME_NOREPLACE);
    if (!moved.is_errno(ENOENT)) return moved;
    if (orphans_.contains(id)) {
        GEMEL_TRY(vfs_.rename(orphan_directory_, own_name, directory, name, RENAME_NOREPLACE));
        orphans_.erase(id);
        return Status();
    }
    return vfs_.link(file, directory, name);
}

Status TreeVolume::detach(ObjectId parent, std::string_view name) noexcept {
    begin_call();
    Fd directory;
    const Result<Found> found = find_named(parent, name, directory);
    if (!found.ok()) return found.status();
    GEMEL_TRY(detach_found(found.value(), directory, name));
    if (parent == kOrphanDirectory) orphans_.erase(found->id);
    return Status();
}

Result<ObjectId> TreeVolume::parent_of(ObjectId directory) noexcept {
    GEMEL_ASSERT(directory != kRootObject);
    begin_call();
    const Result<Fd> fd = directory_fd(directory);
    if (!fd.ok()) return fd.status();
    const Result<Vfs::Location> location = vfs_.locate(fd.value());
    if (!location.ok()) return location.status();
    Found found;
    found.file = ScopedFd(vfs_, location->parent);
    const Result<FileStat> stat = vfs_.stat(location->parent);
    if (!stat.ok()) return stat.status();
    const Result<FileStat> root = vfs_.stat(root_);
    if (!root.ok()) return root.status();
    if (stat->inode == root->inode) return kRootObject;
    found.stat = stat.value();
    GEMEL_TRY(identify(found));
    if (found.id.is_none()) return Code::not_found;
    return found.id;
}

Status TreeVolume::detach_found(const Found& found, Fd directory, std::string_view name) noexcept {
    if (!found.is_directory() && !found.is_last_name()) {
        return vfs_.unlink(directory, name, false);
    }
    std::string place = found.id.is_none() ? "unknown" : hex_name(found.id);
    if (found.id.is_none()) place += "-" + std::to_string(found.stat.inode);
    Status moved = vfs_.rename(directory, name, detached_directory_, place, RENAME_NOREPLACE);
    for (unsigned attempt = 1; moved.is_errno(EEXIST); ++attempt) {
        GEMEL_PROBE("volume: place in detached/ taken");
        moved = vfs_.rename(directory, name, detached_directory_,
                            place + "-" + std::to_string(attempt), RENAME_NOREPLACE);
    }
    return moved;
}

}  // namespace gemel
