// SPDX-License-Identifier: Apache-2.0
// SimVfs: names and attributes.
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/vfs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

Status error(int number) noexcept { return Status::from_errno(number); }

}  // namespace

Result<FileStat> SimVfs::stat(Fd file) noexcept {
    auto entered = enter(VfsCall::stat, file);
    if (!entered.ok()) return entered.status();
    return entered.value()->file_system->stat(*entered.value()->inode);
}

Result<FileStat> SimVfs::stat_at(Fd directory, std::string_view name) noexcept {
    auto entered = enter(VfsCall::stat, directory);
    if (!entered.ok()) return entered.status();
    FileSystem& file_system = *entered.value()->file_system;
    auto found = file_system.lookup(*entered.value()->inode, name);
    if (!found.ok()) return found.status();
    return file_system.stat(*found.value());
}

Result<FileSystemStat> SimVfs::stat_file_system(Fd file) noexcept {
    auto entered = enter(VfsCall::stat_file_system, file);
    if (!entered.ok()) return entered.status();
    return entered.value()->file_system->stat_file_system();
}

// --- Names ---------------------------------------------------------------------------------------

Status SimVfs::make(Fd parent, std::string_view name, const FileSystem::NewInode& what) noexcept {
    auto entered = enter(VfsCall::make, parent);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    return open.file_system->make(*open.inode, name, what, now()).status();
}

Status SimVfs::make_directory(Fd parent, std::string_view name, mode_t mode) noexcept {
    return make(parent, name, {S_IFDIR | (mode & 07777U), 0, {}});
}

Status SimVfs::make_node(Fd parent, std::string_view name, mode_t mode,
                         std::uint64_t special_device) noexcept {
    std::uint32_t type = mode & S_IFMT;
    if (type == 0) type = S_IFREG;
    if (type == S_IFDIR) return error(EPERM);
    if (type == S_IFLNK) return error(EINVAL);
    const bool is_device = type == S_IFCHR || type == S_IFBLK;
    return make(parent, name, {type | (mode & 07777U), is_device ? special_device : 0, {}});
}

Status SimVfs::make_symlink(Fd parent, std::string_view name, Bytes target) noexcept {
    return make(parent, name, {S_IFLNK | 0777, 0, target});
}

Status SimVfs::link(Fd file, Fd parent, std::string_view name) noexcept {
    auto entered = enter(VfsCall::link, parent);
    if (!entered.ok()) return entered.status();
    OpenFile& directory = *entered.value();
    OpenFile* open = find(file);
    if (open == nullptr) return error(EBADF);
    if (open->file_system != directory.file_system) return error(EXDEV);
    return open->file_system->link(*open->inode, *directory.inode, name, now());
}

Status SimVfs::unlink(Fd parent, std::string_view name, bool directory) noexcept {
    auto entered = enter(VfsCall::unlink, parent);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    return open.file_system->unlink(*open.inode, name, directory, now());
}

Status SimVfs::rename(Fd parent, std::string_view name, Fd new_parent, std::string_view new_name,
                      unsigned flags) noexcept {
    auto entered = enter(VfsCall::rename, parent);
    if (!entered.ok()) return entered.status();
    OpenFile& from = *entered.value();
    OpenFile* to = find(new_parent);
    if (to == nullptr) return error(EBADF);
    if (from.file_system != to->file_system) return error(EXDEV);
    return from.file_system->rename({from.inode, name}, {to->inode, new_name}, flags, now());
}

Result<ByteBuffer> SimVfs::read_link(Fd symlink) noexcept {
    auto entered = enter(VfsCall::read_link, symlink);
    if (!entered.ok()) return entered.status();
    const Inode& inode = *entered.value()->inode;
    // readlinkat with an empty path answers ENOENT for anything else (fs/stat.c, do_readlinkat).
    if (!S_ISLNK(inode.meta.mode)) return error(ENOENT);
    return ByteBuffer(inode.link_target);
}

Status SimVfs::read_directory(Fd directory, std::uint64_t position, std::size_t count_max,
                              std::vector<DirectoryEntry>& entries) noexcept {
    auto entered = enter(VfsCall::list, directory);
    if (!entered.ok()) return entered.status();
    const OpenFile& open = *entered.value();
    if ((open.flags & O_PATH) != 0) return error(EBADF);
    if (open.inode->directory == nullptr) return error(ENOTDIR);
    if (open.inode->names == 0) return error(ENOENT);
    open.file_system->list(*open.inode, position, count_max, entries);
    return {};
}

Result<Vfs::Location> SimVfs::locate(Fd directory) noexcept {
    auto entered = enter(VfsCall::locate, directory);
    if (!entered.ok()) return entered.status();
    const OpenFile& open = *entered.value();
    if (open.inode->directory == nullptr) return error(ENOTDIR);
    const Directory& own = *open.inode->directory;
    if (own.parent == 0) return error(ENOENT);
    std::string name = own.name;
    auto parent = add(*open.file_system, open.file_system->inode(own.parent), O_PATH);
    if (!parent.ok()) return parent.status();
    return Location{parent.value(), std::move(name)};
}

// --- Attributes ----------------------------------------------------------------------------------

Status SimVfs::set_mode(Fd file, mode_t mode) noexcept {
    auto entered = enter(VfsCall::set_attributes, file);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    if (S_ISLNK(open.inode->meta.mode)) return error(EOPNOTSUPP);
    open.file_system->set_mode(*open.inode, mode, now());
    return {};
}

Status SimVfs::set_owner(Fd file, std::uint32_t uid, std::uint32_t gid) noexcept {
    auto entered = enter(VfsCall::set_attributes, file);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    open.file_system->set_owner(*open.inode, uid, gid, now());
    return {};
}

Status SimVfs::set_times(Fd file, TimeChange accessed, TimeChange modified) noexcept {
    auto entered = enter(VfsCall::set_attributes, file);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    constexpr std::uint32_t kNanosecondsMax = 999'999'999;
    if ((accessed.set && accessed.time.nanoseconds > kNanosecondsMax) ||
        (modified.set && modified.time.nanoseconds > kNanosecondsMax)) {
        return error(EINVAL);
    }
    open.file_system->set_times(*open.inode, accessed, modified, now());
    return {};
}

Result<std::size_t> SimVfs::get_xattr(Fd file, std::string_view name,
                                      MutableBytes buffer) noexcept {
    auto entered = enter(VfsCall::get_xattr, file);
    if (!entered.ok()) return entered.status();
    const OpenFile& open = *entered.value();
    GEMEL_TRY(open.file_system->check_xattr_name(*open.inode, name, false));
    const ByteBuffer* value = FileSystem::find_xattr(*open.inode, name);
    if (value == nullptr) return error(ENODATA);
    if (buffer.empty()) return value->size();
    if (buffer.size() < value->size()) return error(ERANGE);
    std::copy(value->begin(), value->end(), buffer.begin());
    return value->size();
}

Status SimVfs::set_xattr(Fd file, std::string_view name, Bytes value, int flags) noexcept {
    auto entered = enter(VfsCall::set_xattr, file);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    return open.file_system->set_xattr(*open.inode, name, value, flags, now());
}

Status SimVfs::remove_xattr(Fd file, std::string_view name) noexcept {
    auto entered = enter(VfsCall::set_xattr, file);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    return open.file_system->remove_xattr(*open.inode, name, now());
}

Result<std::vector<std::string>> SimVfs::list_xattrs(Fd file) noexcept {
    auto entered = enter(VfsCall::get_xattr, file);
    if (!entered.ok()) return entered.status();
    std::vector<std::string> names;
    const Inode& inode = *entered.value()->inode;
    if (inode.meta.xattrs != nullptr) {
        for (const auto& [name, value] : *inode.meta.xattrs) names.push_back(name);
    }
    return names;
}

}  // namespace gemel::sim
