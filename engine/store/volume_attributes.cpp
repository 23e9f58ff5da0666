// SPDX-License-Identifier: Apache-2.0
// Mode, owner, times, extended attributes and ACLs. The owner is set before the mode, because
// chown(2) clears set-id bits and capabilities; times are set last, because the rest changes them.
#include "engine/store/posix_acl.hpp"
#include "engine/store/volume_impl.hpp"

#include <algorithm>
#include <fcntl.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::uint32_t kPermissions = 07777;

}  // namespace

void TreeVolume::resolve_object(const FileStat& stat, Op& op) noexcept {
    op.resolved.mode = stat.mode;
    op.resolved.uid = stat.uid;
    op.resolved.gid = stat.gid;
    op.resolved.accessed = stat.accessed;
    op.resolved.modified = stat.modified;
}

Status TreeVolume::change_attributes(Fd file, const Op& op, const FileStat& wanted) noexcept {
    if ((op.mask & kSetOwner) != 0) GEMEL_TRY(vfs_.set_owner(file, wanted.uid, wanted.gid));
    if ((op.mask & kSetMode) != 0) GEMEL_TRY(vfs_.set_mode(file, wanted.mode & kPermissions));
    if ((op.mask & (kSetAccessed | kSetModified)) == 0) return Status();
    return vfs_.set_times(file, {(op.mask & kSetAccessed) != 0, wanted.accessed},
                          {(op.mask & kSetModified) != 0, wanted.modified});
}

Status TreeVolume::execute_attributes(Op& op) noexcept {
    const Result<Fd> file = object_fd(op.object);
    if (!file.ok()) return file.status();
    const Result<FileStat> before = vfs_.stat(file.value());
    if (!before.ok()) return before.status();
    // A change of owner takes capabilities away, even one to the same owner.
    const bool loses_capability = (op.mask & kSetOwner) != 0 && has_capability(file.value());
    FileStat wanted = before.value();
    wanted.mode = op.mode;
    wanted.uid = op.uid;
    wanted.gid = op.gid;
    wanted.accessed = op.accessed;
    wanted.modified = op.modified;
    const Status changed = change_attributes(file.value(), op, wanted);
    if (!changed.ok()) {
        // Errors leave the object as it was: what came before the failing step is taken back.
        Op undo = op;
        undo.mask = op.mask & (kSetOwner | kSetMode);
        if (undo.mask != 0 && !S_ISLNK(before->mode)) undo.mask = kSetOwner | kSetMode;
        const Status undone = change_attributes(file.value(), undo, before.value());
        if (!undone.ok()) {
            log_.log(LogLevel::warning, "volume: half of a change of attributes stays: " +
                                            hex_name(op.object) + ": " + undone.to_string());
        }
        return changed;
    }
    const Result<FileStat> after = vfs_.stat(file.value());
    if (!after.ok()) return after.status();
    resolve_object(after.value(), op);
    op.resolved.nothing_changed = !loses_capability && after->mode == before->mode &&
                                  after->uid == before->uid && after->gid == before->gid &&
                                  after->accessed == before->accessed &&
                                  after->modified == before->modified;
    return Status();
}

bool TreeVolume::has_capability(Fd file) noexcept {
    return vfs_.get_xattr(file, kCapabilityAttribute, {}).ok();
}

Status TreeVolume::apply_attributes(const Op& op) noexcept {
    const Result<Fd> file = object_fd(op.object);
    if (!file.ok()) return file.status();
    FileStat wanted;
    wanted.mode = op.resolved.mode;
    wanted.uid = op.resolved.uid;
    wanted.gid = op.resolved.gid;
    wanted.accessed = op.resolved.accessed;
    wanted.modified = op.resolved.modified;
    Op exact = op;
    // What a change of owner cleared on the serving node is cleared by the mode it shipped.
    if ((op.mask & kSetOwner) != 0 && !S_ISLNK(op.resolved.mode)) exact.mask |= kSetMode;
    return change_attributes(file.value(), exact, wanted);
}

Status TreeVolume::change_xattr(Fd file, const Op& op) noexcept {
    if (op.name.starts_with(kPrivateAttributePrefix)) return Status::from_errno(EPERM);
    if (op.kind == OpKind::remove_xattr) return vfs_.remove_xattr(file, op.name);
    return vfs_.set_xattr(file, op.name, op.data, static_cast<int>(op.flags));
}

Status TreeVolume::execute_xattr(Op& op) noexcept {
    const Result<Fd> file = object_fd(op.object);
    if (!file.ok()) return file.status();
    GEMEL_TRY(change_xattr(file.value(), op));
    Result<FileStat> after = vfs_.stat(file.value());
    if (!after.ok()) return after.status();
    // An ACL set by somebody outside the group takes the set-group-id bit away (acl(5)).
    if (op.clear_set_id && op.name == kAccessAclAttribute && (after->mode & S_ISGID) != 0) {
        GEMEL_TRY(
            vfs_.set_mode(file.value(), after->mode & kPermissions & ~std::uint32_t{S_ISGID}));
        after = vfs_.stat(file.value());
        if (!after.ok()) return after.status();
    }
    resolve_object(after.value(), op);
    return Status();
}

Status TreeVolume::apply_xattr(const Op& op) noexcept {
    const Result<Fd> file = object_fd(op.object);
    if (!file.ok()) return file.status();
    GEMEL_TRY(change_xattr(file.value(), op));
    if (op.name != kAccessAclAttribute) return Status();
    return vfs_.set_mode(file.value(), op.resolved.mode & kPermissions);
}

Result<DirectoryVolume::FullAttributes> TreeVolume::full_attributes(ObjectId id) noexcept {
    begin_call();
    // Whoever asks for all of a file's attributes most likely reads its content next.
    Result<Fd> file = open_object(id, FdCache::Kind::data);
    if (!file.ok()) file = object_fd(id);
    if (!file.ok()) return file.status();
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    FullAttributes attributes;
    attributes.stat = stat.value();
    const Result<std::vector<std::string>> names = list_xattrs(id);
    if (!names.ok()) {
        if (names.status().is_errno(EOPNOTSUPP)) return attributes;
        return names.status();
    }
    for (const std::string& name : names.value()) {
        Result<ByteBuffer> value = read_xattr(file.value(), name);
        if (!value.ok()) return value.status();
        attributes.xattrs.emplace_back(name, std::move(value).value());
    }
    return attributes;
}

Status TreeVolume::replace_xattrs(Fd file, const FullAttributes& attributes) noexcept {
    const Result<std::vector<std::string>> present = vfs_.list_xattrs(file);
    if (!present.ok()) {
        return present.status().is_errno(EOPNOTSUPP) && attributes.xattrs.empty()
                   ? Status()
                   : present.status();
    }
    for (const std::string& name : present.value()) {
        if (name.starts_with(kPrivateAttributePrefix)) continue;
        const bool wanted = std::any_of(attributes.xattrs.begin(), attributes.xattrs.end(),
                                        [&](const auto& xattr) { return xattr.first == name; });
        if (wanted) continue;
        const Status removed = vfs_.remove_xattr(file, name);
        // Some go with others: a removed ACL takes nothing, but a capability may be gone already.
        if (!removed.ok() && !removed.is_errno(ENODATA)) return removed;
    }
    for (const auto& [name, value] : attributes.xattrs) {
        if (name.starts_with(kPrivateAttributePrefix)) return Status(Code::corrupt);
        GEMEL_TRY(vfs_.set_xattr(file, name, value, 0));
    }
    return Status();
}

Status TreeVolume::set_full_attributes(ObjectId id, const FullAttributes& attributes) noexcept {
    begin_call();
    const FileStat& wanted = attributes.stat;
    const bool regular = S_ISREG(wanted.mode);
    const Result<Fd> file = regular ? open_object(id, FdCache::Kind::data) : object_fd(id);
    if (!file.ok()) return file.status();
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    if ((stat->mode & S_IFMT) != (wanted.mode & S_IFMT)) return Status(Code::corrupt);
    if (regular && stat->size != wanted.size) {
        cache_.note_write(id, ++change_mark_);
        GEMEL_TRY(vfs_.truncate(file.value(), wanted.size));
    }
    GEMEL_TRY(vfs_.set_owner(file.value(), wanted.uid, wanted.gid));
    GEMEL_TRY(replace_xattrs(file.value(), attributes));
    if (!S_ISLNK(wanted.mode)) {
        GEMEL_TRY(vfs_.set_mode(file.value(), wanted.mode & kPermissions));
    }
    return vfs_.set_times(file.value(), {true, wanted.accessed}, {true, wanted.modified});
}

}  // namespace gemel
