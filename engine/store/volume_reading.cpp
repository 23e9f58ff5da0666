// SPDX-License-Identifier: Apache-2.0
// What does not change the volume (but for ids given to names that have none).
#include "engine/base/assert.hpp"
#include "engine/store/volume_impl.hpp"

#include <utility>

namespace gemel {

Result<Attributes> TreeVolume::lookup(ObjectId parent, std::string_view name) noexcept {
    begin_call();
    Fd directory;
    const Result<Found> found = find_named(parent, name, directory);
    if (!found.ok()) return found.status();
    if (found->id.is_none()) return Code::corrupt;
    return Attributes{found->id, shown_stat(found->id, found->stat)};
}

Result<Attributes> TreeVolume::lookup_raw(ObjectId parent, std::string_view name) noexcept {
    begin_call();
    GEMEL_TRY(check_name(name));
    const Result<Fd> directory = directory_fd(parent);
    if (!directory.ok()) return directory.status();
    if (is_hidden(parent, name)) return Status::from_errno(ENOENT);
    Result<Found> found = find_at(directory.value(), name);
    if (!found.ok()) return found.status();
    if (keeps_names() || found->local) GEMEL_TRY(settle_locality(parent, name, found.value()));
    return Attributes{found->id, found->stat};
}

Result<Attributes> TreeVolume::attributes(ObjectId object) noexcept {
    begin_call();
    const Result<Fd> file = object_fd(object);
    if (!file.ok()) return file.status();
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    return Attributes{object, shown_stat(object, stat.value())};
}

bool TreeVolume::exists(ObjectId id) noexcept {
    begin_call();
    const Result<Fd> file = object_fd(id);
    // What can't be looked at may be there.
    if (!file.ok()) return !file.status().is_errno(ESTALE) && !file.status().is_errno(ENOENT);
    const Result<FileStat> stat = vfs_.stat(file.value());
    return !stat.ok() || (stat->link_count > 0 && !is_local(id));
}

Result<ByteBuffer> TreeVolume::read_link(ObjectId object) noexcept {
    begin_call();
    const Result<Fd> file = object_fd(object);
    if (!file.ok()) return file.status();
    const Result<FileStat> before = vfs_.stat(file.value());
    if (!before.ok()) return before.status();
    Result<ByteBuffer> target = vfs_.read_link(file.value());
    // O_NOATIME does not exist for symbolic links; where reading moved the time it is put back.
    const Result<FileStat> after = vfs_.stat(file.value());
    if (after.ok() && after->accessed != before->accessed) {
        GEMEL_TRY(vfs_.set_times(file.value(), {true, before->accessed}, {}));
    }
    return target;
}

Status TreeVolume::list(ObjectId directory, std::uint64_t position, std::size_t count_max,
                        std::vector<ListedEntry>& entries) noexcept {
    begin_call();
    const Result<Fd> fd = directory_fd(directory);
    if (!fd.ok()) return fd.status();
    const std::size_t before = entries.size();
    std::vector<DirectoryEntry> names;
    // Repeated while everything read was hidden: nothing appended means the end to the caller.
    while (entries.size() == before) {
        names.clear();
        GEMEL_TRY(vfs_.read_directory(fd.value(), position, count_max, names));
        if (names.empty()) return Status();
        position = names.back().next;
        for (DirectoryEntry& name : names) {
            Fd parent;
            const Result<Found> found = find_named(directory, name.name, parent);
            if (!found.ok()) {
                // Hidden, gone meanwhile, or another file system: not a name of this volume.
                if (found.status().is_errno(ENOENT) || found.status().is_errno(EXDEV)) continue;
                return found.status();
            }
            const FileStat stat = shown_stat(found->id, found->stat);
            entries.push_back(
                {std::move(name.name), found->id, stat.mode, name.next, stat, found->local});
        }
    }
    return Status();
}

Result<Fd> TreeVolume::data_fd(ObjectId object) noexcept {
    begin_call();
    return open_object(object, FdCache::Kind::data);
}

Result<Fd> TreeVolume::pin(ObjectId object) noexcept {
    begin_call();
    const Result<Fd> file = open_object(object, FdCache::Kind::data);
    if (file.ok()) cache_.pin(object);
    return file.ok() ? Result<Fd>(file.value()) : Result<Fd>(file.status());
}

void TreeVolume::unpin(ObjectId object) noexcept { cache_.unpin(object); }

Result<std::size_t> TreeVolume::get_xattr(ObjectId object, std::string_view name,
                                          MutableBytes buffer) noexcept {
    begin_call();
    if (name.starts_with(kPrivateAttributePrefix)) return Status::from_errno(ENODATA);
    const Result<Fd> file = object_fd(object);
    if (!file.ok()) return file.status();
    return vfs_.get_xattr(file.value(), name, buffer);
}

Result<std::vector<std::string>> TreeVolume::list_xattrs(ObjectId object) noexcept {
    begin_call();
    const Result<Fd> file = object_fd(object);
    if (!file.ok()) return file.status();
    Result<std::vector<std::string>> names = vfs_.list_xattrs(file.value());
    if (!names.ok()) return names;
    std::erase_if(names.value(), [](const std::string& name) {
        return name.starts_with(kPrivateAttributePrefix);
    });
    return names;
}

Result<FileSystemStat> TreeVolume::stat_file_system() noexcept {
    return vfs_.stat_file_system(root_);
}

Result<std::uint64_t> TreeVolume::seek(ObjectId object, std::uint64_t offset, int whence) noexcept {
    begin_call();
    const Result<Fd> file = open_object(object, FdCache::Kind::data);
    if (!file.ok()) return file.status();
    return vfs_.seek(file.value(), offset, whence);
}

void TreeVolume::set_allotment(std::uint32_t tag, std::uint64_t first_sequence) noexcept {
    GEMEL_ASSERT(tag == 0 || first_sequence >= kFirstObject.value);
    allotment_tag_ = tag;
    allotment_next_ = first_sequence;
}

ObjectId TreeVolume::next_id() const noexcept {
    GEMEL_ASSERT(allotment_tag_ != 0);
    return ObjectId::make(allotment_tag_, allotment_next_);
}

}  // namespace gemel
