// SPDX-License-Identifier: Apache-2.0
// New objects. The order is protocol.md 7 and 13: made without a visible name, then id, owner,
// ACLs, mode, times, and only then the name; a crash at any point leaves no half-made object
// in sight.
//
// A regular file is an O_TMPFILE of its directory, so that the file system places it there; other
// kinds, and regular files where O_TMPFILE is not supported, are made in `staging/` and moved.
// Owner, set-group-id and ACL inheritance are computed here for all kinds alike.
//
// To make an O_TMPFILE is most of the work of a creation. Where a directory is being filled with
// files, the next one is made as soon as the last one has been answered or acknowledged.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/posix_acl.hpp"
#include "engine/store/volume_impl.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::uint32_t kPermissions = 07777;

}  // namespace

// Nobody else can open it before it has a name, so it may have its mode at once.
Result<Fd> TreeVolume::open_unnamed(Fd near, std::uint32_t mode) noexcept {
    return vfs_.open_at(near, ".", O_TMPFILE | O_RDWR | O_NOATIME | O_NONBLOCK, mode & 0777);
}

// After what this turn sends, and after what the next one finds to do.
void TreeVolume::prepare_file_later(ObjectId directory, std::uint32_t mode) noexcept {
    const bool is_being_filled = directory == last_filled_;
    last_filled_ = directory;
    if (!is_being_filled || is_preparing_ || !tmpfile_works_) return;
    is_preparing_ = true;
    loop_.post([this, alive = alive_, directory, mode] {
        loop_.post([this, alive, directory, mode] {
            if (*alive) prepare_file(directory, mode);
        });
    });
}

// What goes wrong here will go wrong again for whoever asks for the file.
void TreeVolume::prepare_file(ObjectId directory, std::uint32_t mode) noexcept {
    is_preparing_ = false;
    begin_call();
    const Result<Fd> near = directory_fd(directory);
    if (!near.ok()) return;
    // The file would inherit an ACL, which may not be the directory's any more when it is needed.
    const Result<ByteBuffer> acl = read_xattr(near.value(), kDefaultAclAttribute);
    if (!acl.ok() || !acl->empty()) return;
    const Result<Fd> file = open_unnamed(near.value(), mode);
    if (!file.ok()) return;
    prepared_ = ScopedFd(vfs_, file.value());
    prepared_in_ = directory;
    prepared_at_ = loop_.now();
}

// Its birth time can't be set, so an old one is not used.
void TreeVolume::drop_old_prepared() noexcept {
    if (prepared_.is_open() && loop_.now() - prepared_at_ > kPreparedFor) prepared_.reset();
}

// The unnamed or staged file, dressed, with its identity; open with the best descriptor there is.
Result<Fd> TreeVolume::make_unnamed(NewObject spec, Fd near, bool& staged) noexcept {
    Result<Fd> file = Status::from_errno(EOPNOTSUPP);
    staged = true;
    if (S_ISREG(spec.mode) && tmpfile_works_) {
        drop_old_prepared();
        if (prepared_.is_open() && prepared_in_ == spec.parent) {
            GEMEL_PROBE("volume: a file was there before it was asked for");
            file = prepared_.release();
            const TimeChange now{true, loop_.wall_time()};
            if (!spec.accessed.set) spec.accessed = now;
            if (!spec.modified.set) spec.modified = now;
        } else {
            prepared_.reset();
            file = open_unnamed(near, spec.mode);
        }
        staged = !file.ok();
        if (staged) {
            if (!file.status().is_errno(EOPNOTSUPP) && !file.status().is_errno(EISDIR)) {
                return file;
            }
            GEMEL_PROBE("volume: no O_TMPFILE here");
            tmpfile_works_ = false;
        }
    }
    if (staged) file = make_staged(spec, hex_name(spec.id));
    if (!file.ok()) return file;
    ScopedFd scoped(vfs_, file.value());
    const Status dressed = dress(spec, file.value());
    if (!dressed.ok()) {
        if (staged) discard_staged(spec);
        return dressed;
    }
    return scoped.release();
}

Result<Fd> TreeVolume::make_staged(const NewObject& spec, std::string_view name) noexcept {
    Result<Fd> file = Status::from_errno(EINVAL);
    Status made;
    int flags = O_PATH;
    switch (spec.mode & S_IFMT) {
        case S_IFREG:
            file = vfs_.open_at(staging_, name, O_CREAT | O_EXCL | O_RDWR | O_NOATIME | O_NONBLOCK,
                                0600);
            return file;
        case S_IFDIR:
            made = vfs_.make_directory(staging_, name, 0700);
            flags = O_RDONLY | O_DIRECTORY | O_NOATIME;
            break;
        case S_IFLNK:
            made = vfs_.make_symlink(staging_, name, spec.target);
            break;
        case S_IFIFO:
        case S_IFSOCK:
        case S_IFBLK:
        case S_IFCHR:
            made = vfs_.make_node(staging_, name, (spec.mode & S_IFMT) | 0600, spec.special_device);
            break;
        default:
            return file;
    }
    if (!made.ok()) return made;
    file = vfs_.open_at(staging_, name, flags, 0);
    if (!file.ok()) discard_staged(spec);
    return file;
}

void TreeVolume::discard_staged(const NewObject& spec) noexcept {
    const Status removed = vfs_.unlink(staging_, hex_name(spec.id), S_ISDIR(spec.mode));
    if (!removed.ok()) {
        log_.log(LogLevel::warning, "volume: left in staging until the next start: " +
                                        hex_name(spec.id) + ": " + removed.to_string());
    }
}

Status TreeVolume::dress(const NewObject& spec, Fd file) noexcept {
    const Result<FileHandle> handle = vfs_.handle_of(file);
    if (!handle.ok()) return handle.status();
    GEMEL_TRY(give_identity(file, {volume_id_, spec.id, handle.value(), spec.local}, spec.mode));
    // Mostly right already, and asking costs less than a change, which goes through the journal.
    const Result<FileStat> now = vfs_.stat(file);
    if (!now.ok()) return now.status();
    bool is_right = now->uid == spec.uid && now->gid == spec.gid;
    if (!is_right) GEMEL_TRY(vfs_.set_owner(file, spec.uid, spec.gid));
    if (!S_ISLNK(spec.mode)) {
        if (spec.access_acl != nullptr && !spec.access_acl->empty()) {
            GEMEL_TRY(vfs_.set_xattr(file, kAccessAclAttribute, *spec.access_acl, 0));
            is_right = false;
        }
        if (spec.default_acl != nullptr && !spec.default_acl->empty()) {
            GEMEL_TRY(vfs_.set_xattr(file, kDefaultAclAttribute, *spec.default_acl, 0));
        }
        // Another owner takes set-id bits away, an ACL changes the group's permissions.
        const std::uint32_t wanted = spec.mode & kPermissions;
        if (!is_right || (now->mode & kPermissions) != wanted) {
            GEMEL_TRY(vfs_.set_mode(file, wanted));
        }
    }
    if (!spec.accessed.set && !spec.modified.set) return Status();
    return vfs_.set_times(file, spec.accessed, spec.modified);
}

// Makes the object and gives it the name in `directory`; `near` is where the file system should
// place it. The descriptor goes into the cache.
Result<Fd> TreeVolume::make_object(const NewObject& spec, Fd near, Fd directory,
                                   std::string_view name) noexcept {
    GEMEL_ASSERT(!spec.id.is_none() && !is_fixed(spec.id));
    bool staged = false;
    const Result<Fd> file = make_unnamed(spec, near, staged);
    if (!file.ok()) return file.status();
    ScopedFd scoped(vfs_, file.value());
    const Status named =
        staged ? vfs_.rename(staging_, hex_name(spec.id), directory, name, RENAME_NOREPLACE)
               : vfs_.link(file.value(), directory, name);
    if (!named.ok()) {
        if (staged) discard_staged(spec);
        return named;
    }
    FdCache::Kind kind = FdCache::Kind::path;
    if (S_ISREG(spec.mode)) kind = FdCache::Kind::data;
    if (S_ISDIR(spec.mode)) kind = FdCache::Kind::directory;
    cache_.forget(spec.id);  // an id that was allotted before to something that failed
    cache_.insert(spec.id, scoped.release(), kind);
    cache_.set_local(spec.id, spec.local);
    return file.value();
}

Status TreeVolume::create(const Op& op, const NewObject& spec, Fd parent) noexcept {
    if (op.name.empty()) {
        if (!S_ISREG(spec.mode)) return Status::from_errno(EINVAL);
        const Result<Fd> made = make_object(spec, parent, orphan_directory_, hex_name(spec.id));
        if (!made.ok()) return made.status();
        orphans_.insert(spec.id);
        return Status();
    }
    const Result<Fd> made = make_object(spec, parent, parent, op.name);
    if (!made.ok()) return made.status();
    note_name(spec.id, op.parent);
    if (S_ISREG(spec.mode)) prepare_file_later(op.parent, spec.mode);
    return Status();
}

Status TreeVolume::execute_create(Op& op) noexcept {
    if (!op.name.empty()) GEMEL_TRY(check_new_name(op.parent, op.name));
    const Result<Fd> parent = directory_fd(op.parent);
    if (!parent.ok()) return parent.status();
    const Result<FileStat> parent_stat = vfs_.stat(parent.value());
    if (!parent_stat.ok()) return parent_stat.status();
    NewObject spec;
    spec.id = next_id();
    spec.parent = op.parent;
    spec.local = op.scope == Scope::local;
    spec.mode = op.mode;
    spec.uid = op.uid;
    spec.gid = op.gid;
    spec.special_device = op.special_device;
    spec.target = op.data;
    InheritedAcl inherited;
    if (!S_ISLNK(op.mode)) {
        const Result<ByteBuffer> acl = read_xattr(parent.value(), kDefaultAclAttribute);
        if (!acl.ok()) return acl.status();
        if (acl->empty()) {
            spec.mode &= ~(op.umask & 0777U);
        } else {
            Result<InheritedAcl> result = inherit_acl(acl.value(), op.mode);
            if (!result.ok()) return result.status();
            inherited = std::move(result).value();
            spec.mode = inherited.mode;
        }
    }
    if ((parent_stat->mode & S_ISGID) != 0) {
        spec.gid = parent_stat->gid;
        if (S_ISDIR(spec.mode)) spec.mode |= S_ISGID;
    }
    spec.access_acl = &inherited.access;
    spec.default_acl = &inherited.default_acl;
    GEMEL_TRY(create(op, spec, parent.value()));
    ++allotment_next_;
    op.object = spec.id;
    op.resolved.access_acl = std::move(inherited.access);
    op.resolved.default_acl = std::move(inherited.default_acl);
    const Result<Fd> file = object_fd(spec.id);
    if (!file.ok()) return file.status();
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    resolve_object(stat.value(), op);
    const Result<FileStat> after = vfs_.stat(parent.value());
    if (!after.ok()) return after.status();
    op.resolved.parent_modified = after->modified;
    return Status();
}

Status TreeVolume::apply_create(const Op& op) noexcept {
    if (op.object.is_none() || is_fixed(op.object)) return Status(Code::corrupt);
    if (!op.name.empty()) GEMEL_TRY(check_new_name(op.parent, op.name));
    GEMEL_TRY(disown(op.object));
    if (!op.name.empty()) GEMEL_TRY(clear_way(op.parent, op.name));
    const Result<Fd> parent = directory_fd(op.parent);
    if (!parent.ok()) return parent.status();
    NewObject spec;
    spec.id = op.object;
    spec.parent = op.parent;
    spec.mode = op.resolved.mode & (S_IFMT | kPermissions);
    spec.uid = op.resolved.uid;
    spec.gid = op.resolved.gid;
    spec.special_device = op.special_device;
    spec.target = op.data;
    spec.access_acl = &op.resolved.access_acl;
    spec.default_acl = &op.resolved.default_acl;
    spec.accessed = {true, op.resolved.accessed};
    spec.modified = {true, op.resolved.modified};
    GEMEL_TRY(create(op, spec, parent.value()));
    return op.name.empty() ? Status() : set_modified(parent.value(), op.resolved.parent_modified);
}

}  // namespace gemel
