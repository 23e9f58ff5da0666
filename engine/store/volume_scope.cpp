// SPDX-License-Identifier: Apache-2.0
// Names kept per node (docs/exclude.md): which objects are local, and which nodes an op concerns.
//
// The path decides: an object is local while its path is excluded. No op changes that for more
// than the one object that it names, because a rename of a directory by which other names below it
// would be excluded is refused (EXDEV). The identity repeats it for ops that come by id. It is
// compared whenever an object is met by name, so it may be out of date only after a crash or a
// change of the list, and then not for long.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <array>
#include <fcntl.h>
#include <linux/fs.h>
#include <utility>

namespace gemel {

bool TreeVolume::is_local(ObjectId object) noexcept {
    const Result<bool> local = locality_of(object);
    return local.ok() && local.value();
}

// Of what is gone it does not matter.
Result<bool> TreeVolume::locality_of(ObjectId object) noexcept {
    if (exclude_.empty() || is_fixed(object)) return false;
    const Result<Fd> file = object_fd(object);
    if (file.ok()) return cache_.is_local(object);
    return file.status().is_errno(ESTALE) ? Result<bool>(false) : Result<bool>(file.status());
}

// Upwards until a directory whose place is known, then down again.
Result<ExcludeList::Place> TreeVolume::place_of(ObjectId directory) noexcept {
    if (exclude_.is_placeless() || directory == kRootObject) return exclude_.root();
    if (const auto known = places_.find(directory); known != places_.end()) return known->second;
    const Result<Fd> start = directory_fd(directory);
    if (!start.ok()) return start.status();
    const Result<FileStat> root = vfs_.stat(root_);
    if (!root.ok()) return root.status();
    std::vector<std::string> names;
    ExcludeList::Place place;
    Found above;
    for (Fd current = start.value();; current = above.file.get()) {
        Result<Vfs::Location> location = vfs_.locate(current);
        if (!location.ok()) return location.status();
        names.push_back(std::move(location->name));
        above = Found();
        above.file = ScopedFd(vfs_, location->parent);
        const Result<FileStat> stat = vfs_.stat(location->parent);
        if (!stat.ok()) return stat.status();
        if (stat->inode == root->inode) {
            if (is_hidden(kRootObject, names.back())) return Code::not_found;
            place = exclude_.root();
            break;
        }
        GEMEL_TRY(identify(above));
        const auto known = places_.find(above.id);
        if (known == places_.end()) continue;
        place = known->second;
        break;
    }
    for (; !names.empty(); names.pop_back()) place = exclude_.below(place, names.back());
    constexpr std::size_t kPlacesMax = 65'536;
    if (places_.size() >= kPlacesMax) places_.clear();
    places_[directory] = place;
    return place;
}

Result<bool> TreeVolume::is_excluded(ObjectId parent, std::string_view name,
                                     bool is_directory) noexcept {
    if (is_private(parent)) return Code::not_found;
    if (exclude_.empty()) return false;
    Result<bool> inside = locality_of(parent);
    if (!inside.ok() || inside.value()) return inside;
    const Result<ExcludeList::Place> place = place_of(parent);
    if (!place.ok()) return place.status();
    return exclude_.excludes(place.value(), name, is_directory);
}

Status TreeVolume::settle_locality(ObjectId parent, std::string_view name, Found& found) noexcept {
    const Result<bool> excluded = is_excluded(parent, name, found.is_directory());
    if (!excluded.ok()) {
        return excluded.status().code() == Code::not_found ? Status() : excluded.status();
    }
    if (found.local == excluded.value()) return Status();
    if (!found.id.is_none()) {
        // Whether its other names are excluded is not known: mirrored is the safe side.
        if (!found.local && !found.is_directory() && !found.is_last_name()) return Status();
        GEMEL_PROBE("volume: an identity follows its excluded name");
        GEMEL_TRY(set_locality(found.id, found.file.get(), excluded.value()));
    }
    found.local = excluded.value();
    return Status();
}

Status TreeVolume::set_locality(ObjectId id, Fd file, bool local) noexcept {
    const Result<FileHandle> handle = vfs_.handle_of(file);
    if (!handle.ok()) return handle.status();
    GEMEL_TRY(write_identity(vfs_, file, {volume_id_, id, handle.value(), local}));
    cache_.set_local(id, local);
    return Status();
}

// The identity changes before the name, because a name can't be taken back for certain.
Status TreeVolume::change_sides(const Op& op, Fd file, bool back) noexcept {
    if (op.scope != Scope::publishes && op.scope != Scope::withdraws) return Status();
    return set_locality(op.object, file, (op.scope == Scope::withdraws) != back);
}

// While this node does not serve, its own objects are shown all the same, so they need an id.
Status TreeVolume::allot_guest(Found& found) noexcept {
    constexpr std::uint64_t kSequenceMax = (std::uint64_t{1} << 40) - 1;
    if (found.stat.inode == 0 || found.stat.inode > kSequenceMax) return Status();
    const ObjectId id = ObjectId::make(kGuestTag, found.stat.inode);
    // The number may have been another inode's.
    cache_.forget(id);
    GEMEL_TRY(
        give_identity(found.file.get(), {volume_id_, id, found.handle, true}, found.stat.mode));
    found.id = id;
    return Status();
}

Status TreeVolume::judge_data(Op& op) noexcept {
    const Result<bool> local = locality_of(op.object);
    if (!local.ok()) return local.status();
    op.scope = local.value() ? Scope::local : Scope::mirrored;
    // The other node lacks the source. The kernel falls back to reading and writing.
    const bool lacks_source =
        op.kind == OpKind::copy_range && op.scope == Scope::mirrored && is_local(op.source);
    return lacks_source ? Status::from_errno(EXDEV) : Status();
}

Status TreeVolume::judge_create(Op& op) noexcept {
    op.scope = Scope::mirrored;
    if (exclude_.empty()) return Status();
    const Result<bool> local = op.name.empty() ? locality_of(op.parent)
                                               : is_excluded(op.parent, op.name, S_ISDIR(op.mode));
    if (!local.ok()) return local.status();
    if (local.value()) op.scope = Scope::local;
    return Status();
}

Status TreeVolume::judge_link(Op& op) noexcept {
    op.scope = Scope::mirrored;
    if (exclude_.empty()) return Status();
    const Result<bool> was_local = locality_of(op.object);
    if (!was_local.ok()) return was_local.status();
    const Result<bool> becomes_local = is_excluded(op.parent, op.name, false);
    if (!becomes_local.ok()) return becomes_local.status();
    if (was_local.value() == becomes_local.value()) {
        if (was_local.value()) op.scope = Scope::local;
        return Status();
    }
    // A nameless file changes sides with its first name; an object can't have names on both.
    if (!orphans_.contains(op.object)) return Status::from_errno(EXDEV);
    op.scope = was_local.value() ? Scope::publishes : Scope::withdraws;
    return Status();
}

Result<bool> TreeVolume::are_places_equal(const Op& op) noexcept {
    if (exclude_.is_placeless()) return true;
    const Result<ExcludeList::Place> from = place_of(op.parent);
    if (!from.ok()) return from.status();
    const Result<ExcludeList::Place> to = place_of(op.new_parent);
    if (!to.ok()) return to.status();
    return exclude_.below(from.value(), op.name) == exclude_.below(to.value(), op.new_name);
}

Status TreeVolume::judge_rename(Op& op, const RenameSides& sides) noexcept {
    op.scope = Scope::mirrored;
    if (exclude_.empty() || is_private(op.parent)) return Status();
    const Status across = Status::from_errno(EXDEV);
    const Found& source = sides.source;
    const bool exchange = (op.flags & RENAME_EXCHANGE) != 0;
    const Result<bool> becomes_local =
        is_excluded(op.new_parent, op.new_name, source.is_directory());
    if (!becomes_local.ok()) return becomes_local.status();
    bool moves_directory = source.is_directory();
    if (exchange && sides.target.has_value()) {
        const Result<bool> target_becomes_local =
            is_excluded(op.parent, op.name, sides.target->is_directory());
        if (!target_becomes_local.ok()) return target_becomes_local.status();
        if (sides.target->local != target_becomes_local.value()) return across;
        if (sides.target->local != source.local) return across;
        moves_directory = moves_directory || sides.target->is_directory();
    }
    if (source.local != becomes_local.value()) {
        if (source.is_directory() || exchange || !source.is_last_name()) return across;
        op.scope = source.local ? Scope::publishes : Scope::withdraws;
        return Status();
    }
    if (source.local) {
        op.scope = Scope::local;
        return Status();
    }
    if (!moves_directory) return Status();
    const Result<bool> equal = are_places_equal(op);
    if (!equal.ok()) return equal.status();
    return equal.value() ? Status() : across;
}

Status TreeVolume::disown(ObjectId id) noexcept {
    if (!is_local(id)) return Status();
    GEMEL_PROBE("volume: a local object gives its id up");
    const Result<Fd> file = object_fd(id);
    if (!file.ok()) return file.status();
    GEMEL_TRY(vfs_.remove_xattr(file.value(), kIdentityAttribute));
    GEMEL_TRY(index_.erase(id));
    object_gone(id);
    return Status();
}

Status TreeVolume::carry_out_quietly(Op& op) noexcept {
    struct Kept {
        ObjectId directory;
        WallTime modified;
    };
    std::array<Kept, 2> kept;
    std::size_t count = 0;
    // Where a mirrored name comes or goes.
    ObjectId changed;
    if (op.scope == Scope::publishes) {
        changed = op.kind == OpKind::rename ? op.new_parent : op.parent;
    } else if (op.scope == Scope::withdraws && op.kind == OpKind::rename) {
        changed = op.parent;
    }
    for (const ObjectId directory : {op.parent, op.new_parent}) {
        if (directory.is_none() || directory == changed || is_local(directory)) continue;
        const Result<Fd> fd = directory_fd(directory);
        if (!fd.ok()) return fd.status();
        const Result<FileStat> stat = vfs_.stat(fd.value());
        if (!stat.ok()) return stat.status();
        kept[count++] = {directory, stat->modified};
    }
    const Status done = carry_out(op);
    for (std::size_t i = 0; i < count; ++i) {
        const Result<Fd> fd = directory_fd(kept[i].directory);
        const Status status = fd.ok() ? set_modified(fd.value(), kept[i].modified) : fd.status();
        if (status.ok()) continue;
        // What has been done stays done, and a refusal would say that it has not been.
        log_.log(LogLevel::warning, "volume: a directory's time follows an excluded name: " +
                                        hex_name(kept[i].directory) + ": " + status.to_string());
    }
    return done;
}

}  // namespace gemel
