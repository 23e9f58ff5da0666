// SPDX-License-Identifier: Apache-2.0
// Links, removals and renames. The serving node decides what becomes of an object that loses a
// name (gone, orphaned, still named elsewhere); the other node does exactly that, except that it
// never destroys an object which the serving node still has: such a one goes to `detached/`.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <utility>

namespace gemel {

Status TreeVolume::set_modified(Fd file, WallTime time) noexcept {
    return vfs_.set_times(file, {}, {true, time});
}

// The name on this node has to stand for the object that the serving node means.
Status TreeVolume::expect(const Result<Found>& found, ObjectId id) const noexcept {
    if (found.ok() && found->id == id && !id.is_none()) return Status();
    if (!found.ok() && !found.status().is_errno(ENOENT)) return found.status();
    log_.log(LogLevel::error,
             "volume: a name stands for another object than on the peer: " + hex_name(id));
    return Status(Code::corrupt);
}

Status TreeVolume::link(ObjectId object, ObjectId parent, Fd directory,
                        std::string_view name) noexcept {
    if (orphans_.contains(object)) {
        // Its hidden name counts as a link: it is moved out, not joined by another.
        GEMEL_TRY(
            vfs_.rename(orphan_directory_, hex_name(object), directory, name, RENAME_NOREPLACE));
        orphans_.erase(object);
    } else {
        const Result<Fd> file = object_fd(object);
        if (!file.ok()) return file.status();
        const Result<FileStat> stat = vfs_.stat(file.value());
        if (!stat.ok()) return stat.status();
        if (S_ISDIR(stat->mode)) return Status::from_errno(EPERM);
        GEMEL_TRY(vfs_.link(file.value(), directory, name));
    }
    note_name(object, parent);
    return Status();
}

Status TreeVolume::execute_link(Op& op) noexcept {
    GEMEL_TRY(check_new_name(op.parent, op.name));
    const Result<Fd> directory = directory_fd(op.parent);
    if (!directory.ok()) return directory.status();
    const Result<Fd> file = object_fd(op.object);
    if (!file.ok()) return file.status();
    GEMEL_TRY(change_sides(op, file.value(), false));
    const Status linked = link(op.object, op.parent, directory.value(), op.name);
    if (!linked.ok()) {
        GEMEL_TRY(change_sides(op, file.value(), true));
        return linked;
    }
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    resolve_object(stat.value(), op);
    const Result<FileStat> after = vfs_.stat(directory.value());
    if (!after.ok()) return after.status();
    op.resolved.parent_modified = after->modified;
    return Status();
}

Status TreeVolume::apply_link(const Op& op) noexcept {
    GEMEL_TRY(check_new_name(op.parent, op.name));
    const Result<Fd> directory = directory_fd(op.parent);
    if (!directory.ok()) return directory.status();
    GEMEL_TRY(clear_way(op.parent, op.name));
    GEMEL_TRY(link(op.object, op.parent, directory.value(), op.name));
    return set_modified(directory.value(), op.resolved.parent_modified);
}

// The name stands for an object that the op may remove, and for the one that was prepared.
Status TreeVolume::check_removal(const Op& op, const Found& found) const noexcept {
    if (found.id.is_none()) return Status(Code::corrupt);
    if (op.kind == OpKind::unlink && found.is_directory()) return Status::from_errno(EISDIR);
    if (op.kind == OpKind::remove_directory && !found.is_directory()) {
        return Status::from_errno(ENOTDIR);
    }
    return op.object.is_none() || op.object == found.id ? Status() : Status::from_errno(ESTALE);
}

Status TreeVolume::prepare_removal(Op& op) noexcept {
    Fd directory;
    const Result<Found> found = find_named(op.parent, op.name, directory);
    if (!found.ok()) return found.status();
    op.object = kNoObject;
    GEMEL_TRY(check_removal(op, found.value()));
    op.object = found->id;
    op.scope = found->local ? Scope::local : Scope::mirrored;
    return Status();
}

Status TreeVolume::execute_removal(Op& op) noexcept {
    Fd directory;
    Result<Found> found = find_named(op.parent, op.name, directory);
    if (!found.ok()) return found.status();
    GEMEL_TRY(check_removal(op, found.value()));
    op.object = found->id;
    const bool last = found->is_last_name();
    op.resolved.object_orphaned = last && op.object_in_use;
    op.resolved.object_gone = found->is_directory() || (last && !op.object_in_use);
    GEMEL_TRY(remove_name(op, found.value(), directory));
    const Result<FileStat> after = vfs_.stat(directory);
    if (!after.ok()) return after.status();
    op.resolved.parent_modified = after->modified;
    return Status();
}

Status TreeVolume::apply_removal(const Op& op) noexcept {
    Fd directory;
    Result<Found> found = find_named(op.parent, op.name, directory);
    GEMEL_TRY(expect(found, op.object));
    const Status removed = remove_name(op, found.value(), directory);
    if (removed.is_errno(ENOTEMPTY)) {
        GEMEL_TRY(discard_directory(op.object, directory, op.name));
    } else {
        GEMEL_TRY(removed);
    }
    return set_modified(directory, op.resolved.parent_modified);
}

Status TreeVolume::remove_name(const Op& op, Found& found, Fd directory) noexcept {
    if (op.kind == OpKind::remove_directory) {
        GEMEL_TRY(vfs_.unlink(directory, op.name, true));
        object_gone(found.id);
        return drop_record(found);
    }
    if (op.resolved.object_orphaned) {
        GEMEL_TRY(vfs_.rename(directory, op.name, orphan_directory_, hex_name(found.id),
                              RENAME_NOREPLACE));
        orphans_.insert(found.id);
        new_names_.erase(found.id);
        return Status();
    }
    if (!op.resolved.object_gone && found.is_last_name()) {
        GEMEL_PROBE("volume: last name here of an object with other names on the peer");
        return detach_found(found, directory, op.name);
    }
    if (op.resolved.object_gone) hold_large(found);
    GEMEL_TRY(vfs_.unlink(directory, op.name, false));
    if (!op.resolved.object_gone) return Status();
    object_gone(found.id);
    return drop_record(found);
}

Status TreeVolume::find_rename_sides(const Op& op, RenameSides& sides) noexcept {
    if ((op.flags & ~static_cast<std::uint32_t>(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
        op.flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return Status::from_errno(EINVAL);
    }
    GEMEL_TRY(check_new_name(op.new_parent, op.new_name));
    Result<Found> source = find_named(op.parent, op.name, sides.directory);
    if (!source.ok()) return source.status();
    sides.source = std::move(source).value();
    Result<Found> target = find_named(op.new_parent, op.new_name, sides.new_directory);
    if (target.ok()) {
        sides.target = std::move(target).value();
    } else if (!target.status().is_errno(ENOENT) || !sides.new_directory.is_open()) {
        return target.status();
    }
    return Status();
}

Status TreeVolume::check_rename(const Op& op, const RenameSides& sides) const noexcept {
    const bool is_taken = sides.target.has_value();
    if (is_taken && (op.flags & RENAME_NOREPLACE) != 0) return Status::from_errno(EEXIST);
    if (!is_taken && (op.flags & RENAME_EXCHANGE) != 0) return Status::from_errno(ENOENT);
    if (sides.source.id.is_none() || (is_taken && sides.target->id.is_none())) {
        return Status(Code::corrupt);
    }
    if (op.object.is_none()) return Status();
    return op.object == sides.source.id && op.resolved.replaced == sides.target_id()
               ? Status()
               : Status::from_errno(ESTALE);
}

Status TreeVolume::prepare_rename(Op& op) noexcept {
    RenameSides sides;
    GEMEL_TRY(find_rename_sides(op, sides));
    op.object = kNoObject;
    GEMEL_TRY(check_rename(op, sides));
    op.object = sides.source.id;
    op.resolved.mode = sides.source.stat.mode;
    op.resolved.replaced = sides.target_id();
    return judge_rename(op, sides);
}

Status TreeVolume::execute_rename(Op& op) noexcept {
    RenameSides sides;
    GEMEL_TRY(find_rename_sides(op, sides));
    GEMEL_TRY(check_rename(op, sides));
    op.object = sides.source.id;
    op.resolved.mode = sides.source.stat.mode;
    op.resolved.replaced = sides.target_id();
    op.resolved.replaced_gone = op.resolved.replaced_orphaned = false;
    if (sides.target.has_value() && (op.flags & RENAME_EXCHANGE) == 0 && !sides.is_same_object()) {
        const bool last = sides.target->is_last_name();
        op.resolved.replaced_orphaned = last && op.object_in_use;
        op.resolved.replaced_gone = sides.target->is_directory() || (last && !op.object_in_use);
    }
    GEMEL_TRY(change_sides(op, sides.source.file.get(), false));
    const Status renamed = carry_out_rename(op, sides);
    if (!renamed.ok()) {
        GEMEL_TRY(change_sides(op, sides.source.file.get(), true));
        return renamed;
    }
    const Result<FileStat> old_side = vfs_.stat(sides.directory);
    if (!old_side.ok()) return old_side.status();
    const Result<FileStat> new_side = vfs_.stat(sides.new_directory);
    if (!new_side.ok()) return new_side.status();
    op.resolved.parent_modified = old_side->modified;
    op.resolved.new_parent_modified = new_side->modified;
    return Status();
}

Status TreeVolume::apply_rename(const Op& op) noexcept {
    if (op.resolved.replaced.is_none()) GEMEL_TRY(clear_way(op.new_parent, op.new_name));
    RenameSides sides;
    const Status found = find_rename_sides(op, sides);
    if (found.is_errno(ENOENT)) return Status(Code::corrupt);
    GEMEL_TRY(found);
    const ObjectId replaced = sides.target_id();
    if (op.object.is_none() || sides.source.id != op.object || replaced != op.resolved.replaced ||
        (sides.target.has_value() && replaced.is_none())) {
        log_.log(LogLevel::error,
                 "volume: a rename meets other objects than on the peer: " + hex_name(op.object));
        return Status(Code::corrupt);
    }
    Status renamed = carry_out_rename(op, sides);
    if (renamed.is_errno(ENOTEMPTY) && !replaced.is_none()) {
        GEMEL_TRY(discard_directory(replaced, sides.new_directory, op.new_name));
        renamed = carry_out_rename(op, sides);
    }
    GEMEL_TRY(renamed);
    GEMEL_TRY(set_modified(sides.directory, op.resolved.parent_modified));
    return set_modified(sides.new_directory, op.resolved.new_parent_modified);
}

// A second name for what is about to be replaced, made before the rename, so that the rename itself
// stays the one atomic step and the new name is never missing.
Status TreeVolume::keep_replaced(const Op& op, const RenameSides& sides, Fd keeper) noexcept {
    GEMEL_ASSERT(sides.target.has_value() && !op.resolved.replaced.is_none());
    return vfs_.link(sides.target->file.get(), keeper, hex_name(op.resolved.replaced));
}

Status TreeVolume::carry_out_rename(const Op& op, RenameSides& sides) noexcept {
    const bool exchange = (op.flags & RENAME_EXCHANGE) != 0;
    if (sides.is_same_object() && !exchange) return Status();
    Fd keeper;
    if (sides.target.has_value() && !exchange && !sides.target->is_directory()) {
        if (op.resolved.replaced_orphaned) {
            keeper = orphan_directory_;
        } else if (!op.resolved.replaced_gone && sides.target->is_last_name()) {
            GEMEL_PROBE("volume: rename replaces the last name here of a living object");
            keeper = detached_directory_;
        }
    }
    if (keeper.is_open()) GEMEL_TRY(keep_replaced(op, sides, keeper));
    if (op.resolved.replaced_gone && sides.target.has_value()) hold_large(*sides.target);
    const Status renamed =
        vfs_.rename(sides.directory, op.name, sides.new_directory, op.new_name, op.flags);
    if (!renamed.ok()) {
        if (keeper.is_open()) {
            const Status undone = vfs_.unlink(keeper, hex_name(op.resolved.replaced), false);
            if (!undone.ok()) return undone;
        }
        return renamed;
    }
    note_name(op.object, op.new_parent);
    if (exchange) note_name(op.resolved.replaced, op.parent);
    if (op.resolved.replaced_orphaned) {
        orphans_.insert(op.resolved.replaced);
        new_names_.erase(op.resolved.replaced);
    }
    if (!op.resolved.replaced_gone) return Status();
    object_gone(op.resolved.replaced);
    return sides.target.has_value() ? drop_record(*sides.target) : Status();
}

// A process that was killed in the middle of a rename over an open file leaves that file in
// `orphans/` and under its name: then only the former goes.
Status TreeVolume::release_orphan(ObjectId object, bool& is_gone) noexcept {
    is_gone = false;
    const std::string name = hex_name(object);
    Result<Found> before = find_at(orphan_directory_, name);
    // Absent: this node never had it under that name (it was unlinked while this node was away).
    if (!before.ok() && !before.status().is_errno(ENOENT)) return before.status();
    if (before.ok()) {
        hold_large(before.value());
        GEMEL_TRY(vfs_.unlink(orphan_directory_, name, false));
    }
    orphans_.erase(object);
    is_gone = before.ok() && before->is_last_name();
    if (!is_gone) return Status();
    object_gone(object);
    return drop_record(before.value());
}

}  // namespace gemel
