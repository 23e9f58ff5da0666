// SPDX-License-Identifier: Apache-2.0
// Names: lookup, make, link, unlink, rename, list.
#include "engine/io/sim/file_system.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"

#include <algorithm>
#include <linux/fs.h>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kNameSizeMax = 255;

Status error(int number) noexcept { return Status::from_errno(number); }

// A name is one component: anything else is a bug of the caller's.
Status check_name(std::string_view name) noexcept {
    GEMEL_ASSERT(name.find('/') == std::string_view::npos);
    GEMEL_ASSERT(name.find('\0') == std::string_view::npos);
    GEMEL_ASSERT(name != "..");
    if (name.empty()) return error(ENOENT);
    if (name.size() > kNameSizeMax) return error(ENAMETOOLONG);
    return {};
}

std::uint8_t entry_type(const Inode& inode) noexcept {
    return static_cast<std::uint8_t>((inode.meta.mode & S_IFMT) >> 12);  // DT_*
}

}  // namespace

FileSystem::FileSystem(const FileSystemOptions& options, Prng prng)
    : options_(options), prng_(prng), next_generation_(static_cast<std::uint32_t>(prng_.next())) {
    inodes_.resize(kFirstInode);
    inodes_[kRoot] = std::make_unique<Inode>();
    Inode& root = *inodes_[kRoot];
    root.number = kRoot;
    root.generation = ++next_generation_;
    root.meta.mode = S_IFDIR | 0755;
    root.names = 1;
    root.directory = std::make_unique<Directory>();
    inode_count_ = 1;
}

FileSystem::~FileSystem() = default;

std::uint64_t FileSystem::position_of(std::string_view name) noexcept {
    // Positive as an off_t, and never 0, which means the start.
    return (checksum64(as_bytes(name)) >> 2) + 1;
}

Inode* FileSystem::find(std::uint64_t number, std::uint32_t generation) noexcept {
    if (number >= inodes_.size() || inodes_[number] == nullptr) return nullptr;
    Inode& inode = *inodes_[number];
    return inode.generation == generation && !inode.is_gone() ? &inode : nullptr;
}

Result<Inode*> FileSystem::lookup(Inode& directory, std::string_view name) noexcept {
    if (directory.directory == nullptr) return error(ENOTDIR);
    GEMEL_TRY(check_name(name));
    if (name == ".") return &directory;
    const auto entry = directory.directory->entries.find(position_of(name));
    if (entry == directory.directory->entries.end()) return error(ENOENT);
    GEMEL_ASSERT(entry->second.name == name);  // else two names have one 62-bit hash
    return &inode(entry->second.inode);
}

// --- Making ------------------------------------------------------------------------------------

Status FileSystem::check_new_name(Inode& directory, std::string_view name) noexcept {
    auto found = lookup(directory, name);
    if (found.ok()) return error(EEXIST);
    if (!found.status().is_errno(ENOENT) || name.empty()) return found.status();
    if (directory.names == 0) return error(ENOENT);  // it has been removed
    return {};
}

Result<Inode*> FileSystem::new_inode(const Inode& directory, const NewInode& what,
                                     WallTime now) noexcept {
    if (inode_count_ >= options_.inodes_max || pages_free() == 0) return error(ENOSPC);
    std::uint64_t number = inodes_.size();
    if (free_numbers_.empty()) {
        inodes_.emplace_back();
    } else {
        number = free_numbers_.back();
        free_numbers_.pop_back();
    }
    inodes_[number] = std::make_unique<Inode>();
    Inode& inode = *inodes_[number];
    ++inode_count_;
    inode.number = number;
    inode.generation = ++next_generation_;
    inode.meta.mode = what.mode;
    if ((directory.meta.mode & S_ISGID) != 0) inode.meta.gid = directory.meta.gid;
    inode.special_device = what.special_device;
    inode.data.accessed = inode.data.modified = inode.data.changed = inode.born = now;
    if (S_ISDIR(what.mode)) {
        inode.directory = std::make_unique<Directory>();
        inode.meta.mode |= directory.meta.mode & S_ISGID;
        if (const ByteBuffer* acl = find_xattr(directory, "system.posix_acl_default")) {
            auto xattrs = std::make_shared<XattrMap>();
            xattrs->emplace("system.posix_acl_default", *acl);
            inode.meta.xattrs = std::move(xattrs);
        }
    }
    touch_data(inode);
    inode.link_target.assign(what.link_target.begin(), what.link_target.end());
    if (S_ISLNK(what.mode)) inode.data.size = inode.durable_data->size = what.link_target.size();
    return &inode;
}

Result<Inode*> FileSystem::make(Inode& directory, std::string_view name, const NewInode& what,
                                WallTime now) noexcept {
    GEMEL_TRY(check_new_name(directory, name));
    if (S_ISLNK(what.mode) && what.link_target.empty()) return error(ENOENT);
    if (S_ISLNK(what.mode) && what.link_target.size() >= kPageSize) return error(ENAMETOOLONG);
    auto made = new_inode(directory, what, now);
    if (!made.ok()) return made.status();
    set_entry(directory, name, made.value()->number);
    log_.add_names({{directory.number, std::string(name), 0, made.value()->number}});
    name_changed(directory, nullptr, now);
    write_back_some();
    return made;
}

Inode& FileSystem::make_device(Inode& directory, std::string_view name, const NewDevice& what,
                               WallTime now) noexcept {
    auto made = make(directory, name, {S_IFBLK | 0600, what.special_device, {}}, now);
    GEMEL_ASSERT(made.ok() && what.logical_block != 0 && what.size % what.logical_block == 0);
    Inode& device = *made.value();
    device.logical_block = what.logical_block;
    device.data.size = what.size;
    sync_all();
    return device;
}

Result<Inode*> FileSystem::make_unnamed(Inode& directory, std::uint32_t mode, bool may_be_linked,
                                        WallTime now) noexcept {
    if (directory.directory == nullptr) return error(ENOTDIR);
    if (directory.names == 0) return error(ENOENT);
    auto made = new_inode(directory, {S_IFREG | (mode & 07777U), 0, {}}, now);
    if (made.ok()) made.value()->may_be_linked = may_be_linked;
    return made;
}

Status FileSystem::link(Inode& inode, Inode& directory, std::string_view name,
                        WallTime now) noexcept {
    GEMEL_TRY(check_new_name(directory, name));
    if (inode.directory != nullptr) return error(EPERM);
    if (inode.names == 0 && !inode.may_be_linked) return error(ENOENT);
    if (inode.names >= 65000) return error(EMLINK);
    if (pages_free() == 0) return error(ENOSPC);
    inode.may_be_linked = false;
    set_entry(directory, name, inode.number);
    log_.add_names({{directory.number, std::string(name), 0, inode.number}});
    name_changed(directory, &inode, now);
    write_back_some();
    return {};
}

Status FileSystem::unlink(Inode& directory, std::string_view name, bool removes_directory,
                          WallTime now) noexcept {
    if (name == ".") return error(removes_directory ? EINVAL : EISDIR);
    auto found = lookup(directory, name);
    if (!found.ok()) return found.status();
    Inode& inode = *found.value();
    const bool is_directory = inode.directory != nullptr;
    if (removes_directory && !is_directory) return error(ENOTDIR);
    if (!removes_directory && is_directory) return error(EISDIR);
    if (is_directory && !inode.directory->entries.empty()) return error(ENOTEMPTY);
    set_entry(directory, name, 0);
    log_.add_names({{directory.number, std::string(name), inode.number, 0}});
    name_changed(directory, &inode, now);
    release_if_gone(inode);
    write_back_some();
    return {};
}

// --- Renaming ----------------------------------------------------------------------------------

bool FileSystem::is_ancestor(const Inode& ancestor, const Inode& directory) noexcept {
    for (std::uint64_t at = directory.number; at != 0; at = inode(at).directory->parent) {
        if (at == ancestor.number) return true;
    }
    return false;
}

Status FileSystem::check_rename(RenameEnd source, RenameEnd target, Inode& moved, Inode* replaced,
                                unsigned flags) noexcept {
    const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
    if (moved.directory != nullptr && is_ancestor(moved, *target.directory)) return error(EINVAL);
    if (replaced == nullptr) return exchanges ? error(ENOENT) : Status();
    if ((flags & RENAME_NOREPLACE) != 0) return error(EEXIST);
    if (replaced->directory != nullptr && is_ancestor(*replaced, *source.directory)) {
        return error(exchanges ? EINVAL : ENOTEMPTY);
    }
    if (exchanges || replaced == &moved) return {};
    if (moved.directory != nullptr && replaced->directory == nullptr) return error(ENOTDIR);
    if (moved.directory == nullptr && replaced->directory != nullptr) return error(EISDIR);
    if (replaced->directory != nullptr && !replaced->directory->entries.empty()) {
        return error(ENOTEMPTY);
    }
    return {};
}

Status FileSystem::rename(RenameEnd source, RenameEnd target, unsigned flags,
                          WallTime now) noexcept {
    const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
    const bool whites_out = (flags & RENAME_WHITEOUT) != 0;
    const unsigned known = RENAME_EXCHANGE | RENAME_NOREPLACE | RENAME_WHITEOUT;
    if ((flags & ~known) != 0) return error(EINVAL);
    if (exchanges && flags != RENAME_EXCHANGE) return error(EINVAL);
    if (source.name == "." || target.name == ".") return error(EBUSY);
    auto found = lookup(*source.directory, source.name);
    if (!found.ok()) return found.status();
    Inode& moved = *found.value();
    auto existing = lookup(*target.directory, target.name);
    if (!existing.ok() && !existing.status().is_errno(ENOENT)) return existing.status();
    if (target.directory->names == 0 || target.name.empty()) return error(ENOENT);
    Inode* replaced = existing.ok() ? existing.value() : nullptr;
    GEMEL_TRY(check_rename(source, target, moved, replaced, flags));
    if (replaced == &moved) return {};

    std::uint64_t left_behind = exchanges ? replaced->number : 0;
    if (whites_out) {
        auto whiteout = new_inode(*source.directory, {S_IFCHR, 0, {}}, now);
        if (!whiteout.ok()) return whiteout.status();
        left_behind = whiteout.value()->number;
    }
    set_entry(*source.directory, source.name, left_behind);
    set_entry(*target.directory, target.name, moved.number);
    log_.add_names({{source.directory->number, std::string(source.name), moved.number, left_behind},
                    {target.directory->number, std::string(target.name),
                     replaced == nullptr ? 0 : replaced->number, moved.number}});
    name_changed(*source.directory, &moved, now);
    name_changed(*target.directory, replaced, now);
    if (replaced != nullptr) release_if_gone(*replaced);
    write_back_some();
    return {};
}

// --- Entries -----------------------------------------------------------------------------------

void FileSystem::detach(Inode& directory, std::string_view name, Inode& inode) noexcept {
    GEMEL_ASSERT(inode.names > 0);
    --inode.names;
    if (inode.directory == nullptr) return;
    --directory.directory->subdirectories;
    Directory& own = *inode.directory;
    if (own.parent == directory.number && own.name == name) own.parent = 0;
}

void FileSystem::attach(Inode& directory, std::string_view name, Inode& inode) noexcept {
    ++inode.names;
    if (inode.directory == nullptr) return;
    ++directory.directory->subdirectories;
    inode.directory->parent = directory.number;
    inode.directory->name = name;
}

void FileSystem::set_entry(Inode& directory, std::string_view name, std::uint64_t number) noexcept {
    auto& entries = directory.directory->entries;
    const std::uint64_t position = position_of(name);
    const auto entry = entries.find(position);
    if (entry != entries.end()) {
        detach(directory, name, inode(entry->second.inode));
        if (number == 0) {
            entries.erase(entry);
            return;
        }
        entry->second.inode = number;
    } else if (number != 0) {
        entries.emplace(position, Entry{std::string(name), number});
    }
    if (number != 0) attach(directory, name, inode(number));
}

void FileSystem::undo_name(const NameChange& change) noexcept {
    Inode& directory = inode(change.directory);
    const auto& entries = directory.directory->entries;
    const auto entry = entries.find(position_of(change.name));
    // What the log's rules about order are for.
    GEMEL_ASSERT((entry == entries.end() ? 0 : entry->second.inode) == change.after);
    set_entry(directory, change.name, change.before);
}

void FileSystem::name_changed(Inode& directory, Inode* inode, WallTime now) noexcept {
    touch_data(directory);
    directory.data.modified = directory.data.changed = now;
    if (inode != nullptr) {
        touch_data(*inode);
        inode->data.changed = now;
    }
}

// Last in an operation: it may free what the operation has removed.
void FileSystem::write_back_some() noexcept {
    if (prng_.one_in(32)) log_.commit_some(prng_);
}

void FileSystem::list(const Inode& directory, std::uint64_t position, std::size_t count_max,
                      std::vector<DirectoryEntry>& entries) noexcept {
    const auto& all = directory.directory->entries;
    for (auto at = all.upper_bound(position); at != all.end() && count_max > 0; ++at) {
        const Inode& child = inode(at->second.inode);
        entries.push_back({at->second.name, child.number, entry_type(child), at->first});
        --count_max;
    }
}

void FileSystem::make_directories(std::string_view path, WallTime now) noexcept {
    Inode* at = &root();
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view name = path.substr(0, slash);
        path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
        if (name.empty()) continue;
        auto next = lookup(*at, name);
        if (!next.ok()) next = make(*at, name, {S_IFDIR | 0755, 0, {}}, now);
        at = next.value();
    }
    sync_all();
}

// --- Life of inodes ----------------------------------------------------------------------------

void FileSystem::closed(Inode& inode) noexcept {
    GEMEL_ASSERT(inode.open_count > 0);
    --inode.open_count;
    release_if_gone(inode);
}

// Its space is free as soon as nobody can reach it; the inode itself stays while the metadata log
// may still bring it back.
void FileSystem::release_if_gone(Inode& inode) noexcept {
    if (!inode.is_gone()) return;
    if (inode.logical_block == 0) pages_used_ -= inode.content.page_count();
    --inode_count_;
    free_if_gone(inode.number);
}

void FileSystem::free_if_gone(std::uint64_t number) noexcept {
    const Inode& inode = *inodes_[number];
    if (!inode.is_gone() || inode.log_count > 0) return;
    inodes_[number].reset();
    free_numbers_.push_back(number);
}

}  // namespace gemel::sim
