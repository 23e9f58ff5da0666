// SPDX-License-Identifier: Apache-2.0
// From ids and names to inodes, and the rules of identity (protocol.md 14).
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kNameSizeMax = 255;
// O_NONBLOCK: an open of the wrong kind of object must not wait (a fifo, a lease).
constexpr int kDataFlags = O_RDWR | O_NOATIME | O_NONBLOCK;
constexpr int kReadFlags = O_RDONLY | O_NOATIME | O_NONBLOCK;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOATIME;

}  // namespace

void TreeVolume::begin_call() noexcept {
    const Status status = cache_.trim(eviction_sync_);
    if (status.ok()) return;
    log_.log(LogLevel::error, "volume: sync of written files failed: " + status.to_string());
    if (writeback_failure_) writeback_failure_(status);
}

Fd TreeVolume::fixed_fd(ObjectId id) const noexcept {
    if (id == kRootObject) return root_;
    if (id == kOrphanDirectory) return orphan_directory_;
    if (id == kDetachedDirectory) return detached_directory_;
    if (id == kIncomingDirectory) return incoming_;
    return {};
}

bool TreeVolume::is_hidden(ObjectId parent, std::string_view name) noexcept {
    return parent == kRootObject && (name == ".gemel" || name == "lost+found");
}

Status TreeVolume::check_name(std::string_view name) noexcept {
    if (name.size() > kNameSizeMax) return Status::from_errno(ENAMETOOLONG);
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
        name.find('\0') != std::string_view::npos) {
        return Status::from_errno(EINVAL);
    }
    return Status();
}

Status TreeVolume::check_new_name(ObjectId parent, std::string_view name) noexcept {
    GEMEL_TRY(check_name(name));
    return is_hidden(parent, name) ? Status::from_errno(EPERM) : Status();
}

Result<Fd> TreeVolume::object_fd(ObjectId id) noexcept {
    return open_object(id, FdCache::Kind::path);
}

Result<Fd> TreeVolume::directory_fd(ObjectId id) noexcept {
    return open_object(id, FdCache::Kind::directory);
}

Result<Fd> TreeVolume::open_object(ObjectId id, FdCache::Kind wanted) noexcept {
    if (id.is_none()) return Status::from_errno(ENOENT);
    if (is_fixed(id)) {
        if (wanted == FdCache::Kind::data) return Status::from_errno(EISDIR);
        return fixed_fd(id);
    }
    if (const Fd cached = cache_.find(id, wanted); cached.is_open()) return cached;
    const Result<ObjectIndex::Record> record = find_record(id);
    if (!record.ok()) {
        return record.status().code() == Code::not_found ? Status::from_errno(ESTALE)
                                                         : record.status();
    }
    // A directory is always opened for its entries: it serves for everything.
    if (wanted == FdCache::Kind::path && S_ISDIR(record->type)) wanted = FdCache::Kind::directory;
    const Result<Fd> opened = open_content(record.value(), wanted);
    if (!opened.ok()) return opened.status();
    ScopedFd scoped(vfs_, opened.value());
    const Result<bool> local = verify_identity(opened.value(), id, record->handle);
    if (!local.ok()) return local.status();
    // A pinned or better descriptor would have been found, so what is there is a path descriptor.
    cache_.insert(id, scoped.release(), wanted);
    cache_.set_local(id, local.value());
    return opened.value();
}

Result<Fd> TreeVolume::open_content(const ObjectIndex::Record& record,
                                    FdCache::Kind wanted) noexcept {
    switch (wanted) {
        case FdCache::Kind::path:
            return vfs_.open_by_handle(root_, record.handle, O_PATH);
        case FdCache::Kind::directory:
            if (!S_ISDIR(record.type)) return Status::from_errno(ENOTDIR);
            return vfs_.open_by_handle(root_, record.handle, kDirectoryFlags);
        case FdCache::Kind::data:
            break;
    }
    if (S_ISDIR(record.type)) return Status::from_errno(EISDIR);
    if (!S_ISREG(record.type)) return Status::from_errno(EINVAL);
    Result<Fd> opened = vfs_.open_by_handle(root_, record.handle, kDataFlags);
    // Immutable and append-only files can still be read.
    if (!opened.ok() && opened.status().is_errno(EPERM)) {
        opened = vfs_.open_by_handle(root_, record.handle, kReadFlags);
    }
    return opened;
}

// The index is not believed alone: it survives crashes that the attribute did not, and ids are
// given anew by adopt().
Result<bool> TreeVolume::verify_identity(Fd file, ObjectId id, const FileHandle& handle) noexcept {
    const Result<Identity> identity = read_identity(vfs_, file);
    if (!identity.ok() && identity.status().code() != Code::not_found) return identity.status();
    if (identity.ok() && identity->volume == volume_id_ && identity->object == id &&
        identity->handle == handle) {
        return identity->local;
    }
    GEMEL_PROBE("volume: index record of an object that has another id");
    return Status::from_errno(ESTALE);
}

// "There is none" would be a lie: of an object that passes for gone no difference is marked. So it
// is not said while records may lack either, and a copy whose index can't be rebuilt has failed.
Result<ObjectIndex::Record> TreeVolume::find_record(ObjectId id) noexcept {
    Result<ObjectIndex::Record> record = index_.find(id);
    const bool is_damaged = record.status().code() == Code::corrupt;
    if (record.ok() || (!is_damaged && !index_.may_lack_records())) return record;
    if (index_is_lost_) return Code::corrupt;
    GEMEL_PROBE("volume: a damaged record of the index");
    log_.log(LogLevel::warning, "the index of file handles is damaged, at object " + hex_name(id) +
                                    ": it is rebuilt from the tree");
    Status rebuilt = index_.distrust();
    if (rebuilt.ok()) rebuilt = rebuild_index();
    if (rebuilt.ok()) return index_.find(id);
    index_is_lost_ = true;
    log_.log(LogLevel::error, "the index could not be rebuilt: " + rebuilt.to_string());
    if (writeback_failure_) writeback_failure_(rebuilt);
    return Code::corrupt;
}

Result<FileHandle> TreeVolume::known_handle(ObjectId id) noexcept {
    const Result<ObjectIndex::Record> record = find_record(id);
    if (!record.ok()) return record.status();
    return record->handle;
}

Result<DirectoryVolume::ChangedObject> TreeVolume::find_changed(const FileHandle& handle) noexcept {
    const Result<Fd> opened = vfs_.open_by_handle(root_, handle, O_PATH);
    if (opened.status().is_errno(ESTALE)) return Code::not_found;
    if (!opened.ok()) return opened.status();
    ChangedObject changed{kNoObject, ScopedFd(vfs_, opened.value())};
    // Who changes attributes or names holds the lock of the inode meanwhile. Removing an attribute
    // that nobody has takes it too, and changes nothing.
    const Status waited = vfs_.remove_xattr(opened.value(), "trusted.gemel.none");
    if (!waited.ok() && !waited.is_errno(ENODATA) && !waited.is_errno(EPERM)) return waited;
    const Result<Identity> identity = read_identity(vfs_, opened.value());
    if (!identity.ok()) return identity.status();
    // As the volume's own calls give it: the one at hand may be another form of it.
    const Result<FileHandle> own = vfs_.handle_of(opened.value());
    if (!own.ok()) return own.status();
    if (identity->volume != volume_id_ || !(identity->handle == own.value()) || identity->local) {
        return Code::not_found;
    }
    // The other node's copy has the same ids, and may lie on the same file system; it may have been
    // sent an object already that is not made here yet.
    const bool is_root = identity->object == kRootObject;
    const Result<FileHandle> known =
        is_root ? vfs_.handle_of(root_) : known_handle(identity->object);
    if (known.ok() && !(known.value() == own.value())) return Code::not_found;
    if (!known.ok() && !is_root && index_.lacks(identity->object)) return Code::not_found;
    changed.id = identity->object;
    return changed;
}

Result<TreeVolume::Found> TreeVolume::find_at(Fd directory, std::string_view name) noexcept {
    const Result<Fd> opened = vfs_.open_at(directory, name, O_PATH, 0);
    if (!opened.ok()) return opened.status();
    Found found;
    found.file = ScopedFd(vfs_, opened.value());
    const Result<FileStat> stat = vfs_.stat(opened.value());
    if (!stat.ok()) return stat.status();
    if (stat->device != device_) return Status::from_errno(EXDEV);
    found.stat = stat.value();
    GEMEL_TRY(identify(found));
    return found;
}

Status TreeVolume::identify(Found& found) noexcept {
    const Result<FileHandle> handle = vfs_.handle_of(found.file.get());
    if (!handle.ok()) return handle.status();
    found.handle = handle.value();
    const Result<Identity> identity = read_identity(vfs_, found.file.get());
    if (!identity.ok()) {
        return identity.status().code() == Code::not_found ? Status() : identity.status();
    }
    if (identity->volume != volume_id_ || identity->handle != found.handle ||
        is_fixed(identity->object)) {
        return Status();
    }
    // Given while another node served: void as soon as this one gives ids that hold everywhere.
    if (allotment_tag_ != 0 && identity->object.tag() == kGuestTag) return Status();
    found.id = identity->object;
    found.local = identity->local;
    return Status();
}

Result<TreeVolume::Found> TreeVolume::find_named(ObjectId parent, std::string_view name,
                                                 Fd& directory) noexcept {
    GEMEL_TRY(check_name(name));
    const Result<Fd> opened = directory_fd(parent);
    if (!opened.ok()) return opened.status();
    directory = opened.value();
    if (is_hidden(parent, name)) return Status::from_errno(ENOENT);
    Result<Found> found = find_at(directory, name);
    if (!found.ok()) return found;
    if (keeps_names() || found->local) GEMEL_TRY(settle_locality(parent, name, found.value()));
    if (found->id.is_none()) {
        if (allotment_tag_ != 0) {
            GEMEL_TRY(allot(found.value()));
        } else if (found->local) {
            GEMEL_TRY(allot_guest(found.value()));
        }
    } else if (!cache_.find(found->id, FdCache::Kind::path).is_open()) {
        // Seen by name, so the record can be made right at once if it is not.
        const ObjectIndex::Record record{found->handle, found->stat.mode & S_IFMT};
        const Result<ObjectIndex::Record> known = index_.find(found->id);
        if (!known.ok() || known.value() != record) {
            GEMEL_PROBE("volume: index record repaired from a name");
            GEMEL_TRY(index_.put(found->id, record));
        }
    }
    return found;
}

Status TreeVolume::allot(Found& found) noexcept {
    const ObjectId id = next_id();
    GEMEL_TRY(give_identity(found.file.get(), {volume_id_, id, found.handle, found.local},
                            found.stat.mode));
    ++allotment_next_;
    found.id = id;
    if (object_found_ && !found.local) object_found_(id);
    return Status();
}

Status TreeVolume::give_identity(Fd file, const Identity& identity, std::uint32_t mode) noexcept {
    GEMEL_TRY(write_identity(vfs_, file, identity));
    return index_.put(identity.object, {identity.handle, mode & S_IFMT});
}

// Names that applications never see do not count as links for them.
FileStat TreeVolume::shown_stat(ObjectId id, FileStat stat) const noexcept {
    if (id == kRootObject && stat.link_count >= 2 + hidden_directory_count_) {
        stat.link_count -= hidden_directory_count_;
    }
    if (orphans_.contains(id) && stat.link_count > 0) --stat.link_count;
    return stat;
}

Result<ByteBuffer> TreeVolume::read_xattr(Fd file, std::string_view name) noexcept {
    std::array<std::byte, 256> small;
    const Result<std::size_t> first = vfs_.get_xattr(file, name, small);
    if (first.ok()) {
        return ByteBuffer(small.begin(),
                          small.begin() + static_cast<std::ptrdiff_t>(first.value()));
    }
    if (first.status().is_errno(ENODATA) || first.status().is_errno(EOPNOTSUPP)) {
        return ByteBuffer();
    }
    if (!first.status().is_errno(ERANGE)) return first.status();
    const Result<std::size_t> size = vfs_.get_xattr(file, name, {});
    if (!size.ok()) return size.status();
    ByteBuffer value(size.value());
    const Result<std::size_t> second = vfs_.get_xattr(file, name, value);
    if (!second.ok()) return second.status();
    value.resize(second.value());
    return value;
}

void TreeVolume::note_name(ObjectId child, ObjectId parent) noexcept {
    std::vector<NewName>& names = new_names_[child];
    ++change_mark_;
    const auto known = std::find_if(names.begin(), names.end(),
                                    [&](const NewName& name) { return name.parent == parent; });
    if (known != names.end()) {
        known->mark = change_mark_;
    } else {
        names.push_back({parent, change_mark_});
    }
}

void TreeVolume::object_gone(ObjectId id) noexcept {
    cache_.forget(id);
    places_.erase(id);
    new_names_.erase(id);
}

Status TreeVolume::drop_record(Found& found) noexcept {
    if (!found.is_directory() && !found.is_last_name()) return Status();
    if (found.going.is_open()) {
        found.file.reset();  // first, or it would be the last one
        vfs_.close_later(found.going.release());
    }
    if (found.id.is_none()) return Status();
    // The id may be another inode's by now.
    const Result<ObjectIndex::Record> known = index_.find(found.id);
    if (known.ok() && known->handle != found.handle) return Status();
    if (!known.ok() && known.status().code() != Code::corrupt) {
        return known.status().code() == Code::not_found ? Status() : known.status();
    }
    const Status erased = index_.erase(found.id);
    // For want of space: a record that stays leads nowhere, and is not believed.
    return erased.is_errno(ENOSPC) || erased.is_errno(EDQUOT) ? Status() : erased;
}

}  // namespace gemel
