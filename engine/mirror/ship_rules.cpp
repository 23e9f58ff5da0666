// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/ship_rules.hpp"

#include <linux/fs.h>
#include <sys/stat.h>

namespace gemel {

namespace {

bool names_clean(const DirtyMap& map, ObjectId directory) noexcept {
    // No resync looks into incoming/: it is empty at the beginning of each session.
    if (directory == kIncomingDirectory) return true;
    return !map.is_absent(directory) && !map.names_dirty(directory);
}

bool object_clean(const DirtyMap& map, ObjectId object) noexcept {
    return !map.is_absent(object) && !map.attributes_dirty(object);
}

ObjectId create_parent(const Op& op) noexcept {
    return op.name.empty() ? kOrphanDirectory : op.parent;
}

void mark_names(DirtyMap& map, ObjectId directory) noexcept {
    if (directory != kIncomingDirectory) map.mark_names(directory);
}

bool touches_orphans(const Op& op) noexcept {
    // link: a nameless file moves out of the orphan directory with its first name.
    return op.resolved.object_orphaned || op.resolved.replaced_orphaned ||
           op.kind == OpKind::link || op.kind == OpKind::release_orphan;
}

void forget_removed(DirtyMap& map, const Op& op) noexcept {
    if (op.resolved.object_gone) map.forget(op.object);
    if (op.resolved.replaced_gone) map.forget(op.resolved.replaced);
}

bool can_ship_rename(const DirtyMap& map, const Op& op) noexcept {
    if (!names_clean(map, op.parent) || !names_clean(map, op.new_parent)) return false;
    const ObjectId replaced = op.resolved.replaced;
    if (!replaced.is_none() && !names_clean(map, replaced)) return false;
    // A directory that moves elsewhere: there its new parent may still lie below it, unless all
    // names are the same.
    const bool may_move_directory = S_ISDIR(op.resolved.mode) || (op.flags & RENAME_EXCHANGE) != 0;
    return op.parent == op.new_parent || !may_move_directory || !map.any_names_dirty();
}

}  // namespace

bool can_ship(const DirtyMap& map, const Op& op) noexcept {
    if (touches_orphans(op) && !names_clean(map, kOrphanDirectory)) return false;
    switch (op.kind) {
        case OpKind::write:
            return !map.is_absent(op.object) && !map.content_dirty(op.object, op.offset, op.size);
        case OpKind::copy_range:
            return !map.is_absent(op.object) && !map.is_absent(op.source) &&
                   !map.content_dirty(op.object, op.offset, op.size) &&
                   !map.content_dirty(op.source, op.source_offset, op.size) &&
                   !map.attributes_dirty(op.source);  // its size
        case OpKind::truncate:
        case OpKind::allocate:
            if (op.object == kBlockObject) return !map.content_dirty(op.object, op.offset, op.size);
            return object_clean(map, op.object) && !map.any_content_dirty(op.object);
        case OpKind::create:
            return names_clean(map, create_parent(op));
        case OpKind::link:
            return names_clean(map, op.parent) && object_clean(map, op.object);
        case OpKind::unlink:
            return names_clean(map, op.parent);
        case OpKind::remove_directory:
            // The peer's directory may still hold names that are gone here.
            return names_clean(map, op.parent) && names_clean(map, op.object);
        case OpKind::rename:
            return can_ship_rename(map, op);
        case OpKind::set_attributes:
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            return object_clean(map, op.object);
        case OpKind::release_orphan:
            return true;
    }
    return false;
}

void mark(DirtyMap& map, const Op& op) noexcept {
    if (touches_orphans(op)) map.mark_names(kOrphanDirectory);
    switch (op.kind) {
        case OpKind::write:
        case OpKind::copy_range:
            map.mark_content(op.object, op.offset, op.size);
            map.mark_attributes(op.object);  // its size and times
            return;
        case OpKind::truncate:
            // What lay behind the new size is gone here, whatever is written there later.
            map.mark_content(op.object, op.size, DirtyRange::kEndOfObject - op.size);
            map.mark_attributes(op.object);
            return;
        case OpKind::allocate:
            if (op.size != 0) map.mark_content(op.object, op.offset, op.size);
            map.mark_attributes(op.object);
            return;
        case OpKind::create:
            map.mark_names(create_parent(op));
            map.mark_absent(op.object);
            return;
        case OpKind::link:
            map.mark_names(op.parent);
            return;
        case OpKind::unlink:
        case OpKind::remove_directory:
            mark_names(map, op.parent);
            forget_removed(map, op);
            return;
        case OpKind::rename:
            mark_names(map, op.parent);
            map.mark_names(op.new_parent);
            forget_removed(map, op);
            if (op.scope == Scope::publishes) map.mark_absent(op.object);
            return;
        case OpKind::set_attributes:
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            map.mark_attributes(op.object);
            return;
        case OpKind::release_orphan:
            forget_removed(map, op);
            return;
    }
}

void note_shipped(DirtyMap& map, const Op& op) noexcept {
    const bool is_new = op.kind == OpKind::create || op.scope == Scope::publishes;
    if (is_new && map.is_full()) map.set_known(op.object, false);
    forget_removed(map, op);
}

}  // namespace gemel
