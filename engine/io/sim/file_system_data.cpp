// SPDX-License-Identifier: Apache-2.0
// Content, attributes and durability of a simulated file system.
#include "engine/base/assert.hpp"
#include "engine/io/sim/file_system.hpp"

#include <algorithm>
#include <limits>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/xattr.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kXattrNameSizeMax = 255;
constexpr std::size_t kXattrSizeMax = 65536;

Status error(int number) noexcept { return Status::from_errno(number); }

// Whether a transfer is one that a block device takes with O_DIRECT; anything else has no blocks.
bool fits(const Inode& file, std::uint64_t offset, std::uint64_t size) noexcept {
    const std::uint32_t block = file.logical_block;
    return block == 0 || (offset % block == 0 && size % block == 0);
}

}  // namespace

std::uint64_t FileSystem::pages_free() const noexcept {
    const std::uint64_t pages = options_.capacity / kPageSize;
    return pages > pages_used_ ? pages - pages_used_ : 0;
}

// --- Content -----------------------------------------------------------------------------------

void FileSystem::list_dirty(Inode& inode) noexcept {
    if (inode.is_listed) return;
    inode.is_listed = true;
    dirty_.push_back(inode.number);
}

void FileSystem::touch_data(Inode& inode) noexcept {
    list_dirty(inode);
    if (inode.durable_data.has_value() && !prng_.one_in(16)) return;
    // New, or written back by the kernel unasked.
    if (inode.durable_data.has_value()) inode.content.sync_cuts();
    inode.durable_data = inode.data;
}

void FileSystem::drop_capability(Inode& file) noexcept {
    if (find_xattr(file, "security.capability") == nullptr) return;
    log_.add_meta(file);
    auto xattrs = std::make_shared<XattrMap>(*file.meta.xattrs);
    xattrs->erase("security.capability");
    file.meta.xattrs = std::move(xattrs);
}

void FileSystem::content_changed(Inode& file, WallTime now) noexcept {
    drop_capability(file);
    file.data.modified = file.data.changed = now;
}

Result<std::size_t> FileSystem::read(Inode& file, MutableBytes buffer,
                                     std::uint64_t offset) noexcept {
    if (!fits(file, offset, buffer.size())) return error(EINVAL);
    if (offset >= file.data.size) return std::size_t{0};
    const std::size_t size = std::min<std::uint64_t>(buffer.size(), file.data.size - offset);
    if (prng_.one_in(16)) evict_lost_pages(file);
    file.content.read(offset, buffer.first(size));
    return size;
}

Result<std::size_t> FileSystem::write_device(Inode& device, Bytes data,
                                             std::uint64_t offset) noexcept {
    if (!fits(device, offset, data.size())) return error(EINVAL);
    if (offset >= device.data.size) return error(ENOSPC);
    const std::uint64_t size = std::min<std::uint64_t>(data.size(), device.data.size - offset);
    touch_data(device);
    device.content.write(offset, data.first(size), prng_);
    return size;
}

// As blkdev_fallocate of Linux (block/fops.c): nothing beyond the end, the size stays.
Status FileSystem::zero_device(Inode& device, int mode, std::uint64_t offset,
                               std::uint64_t size) noexcept {
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) return error(EOPNOTSUPP);
    if (!fits(device, offset, size) || size == 0) return error(EINVAL);
    if (offset > device.data.size || size > device.data.size - offset) return error(EINVAL);
    touch_data(device);
    device.content.zero(offset, offset + size, kind == FALLOC_FL_ZERO_RANGE, prng_);
    return {};
}

Result<std::size_t> FileSystem::write(Inode& file, Bytes data, std::uint64_t offset,
                                      WallTime now) noexcept {
    if (data.empty()) return std::size_t{0};
    if (file.logical_block != 0) return write_device(file, data, offset);
    if (offset >= kFileSizeMax) return error(EFBIG);
    std::uint64_t size = std::min<std::uint64_t>(data.size(), kFileSizeMax - offset);
    size = file.content.writable(offset, size, pages_free());
    if (size == 0) return error(ENOSPC);
    touch_data(file);
    const std::uint64_t pages = file.content.page_count();
    file.content.write(offset, data.first(size), prng_);
    pages_used_ += file.content.page_count() - pages;
    file.data.size = std::max(file.data.size, offset + size);
    content_changed(file, now);
    return size;
}

Status FileSystem::truncate(Inode& file, std::uint64_t size, WallTime now) noexcept {
    if (size > kFileSizeMax) return error(EFBIG);
    touch_data(file);
    const std::uint64_t pages = file.content.page_count();
    // When it grows, pages allocated beyond the end (FALLOC_FL_KEEP_SIZE) stay, as in ext4.
    if (size <= file.data.size) file.content.truncate(size, prng_);
    pages_used_ -= pages - file.content.page_count();
    file.data.size = size;
    content_changed(file, now);
    return {};
}

Status FileSystem::allocate(Inode& file, int mode, std::uint64_t offset, std::uint64_t size,
                            WallTime now) noexcept {
    if (file.logical_block != 0) return zero_device(file, mode, offset, size);
    const bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    if (mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE) {
        return shift(file, mode, offset, size, now);
    }
    if (kind != 0 && kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
        return error(EOPNOTSUPP);
    }
    if (kind == FALLOC_FL_PUNCH_HOLE && !keeps_size) return error(EOPNOTSUPP);
    if (size == 0) return error(EINVAL);
    if (offset > kFileSizeMax || size > kFileSizeMax - offset) return error(EFBIG);
    std::uint64_t end = offset + size;
    if (kind == FALLOC_FL_PUNCH_HOLE) {
        end = std::min(end, (file.data.size + kPageSize - 1) / kPageSize * kPageSize);
        if (offset >= end) return {};
    } else if (file.content.holes_in(offset, end) > pages_free()) {
        return error(ENOSPC);
    }
    touch_data(file);
    const std::uint64_t pages = file.content.page_count();
    if (kind != 0) file.content.zero(offset, end, kind == FALLOC_FL_ZERO_RANGE, prng_);
    if (kind != FALLOC_FL_PUNCH_HOLE) file.content.allocate(offset, end, prng_);
    pages_used_ += file.content.page_count() - pages;  // wraps when there are fewer: intended
    if (!keeps_size) file.data.size = std::max(file.data.size, end);
    content_changed(file, now);
    return {};
}

Status FileSystem::shift(Inode& file, int mode, std::uint64_t offset, std::uint64_t size,
                         WallTime now) noexcept {
    const std::uint64_t old_size = file.data.size;
    if (size == 0 || offset % kPageSize != 0 || size % kPageSize != 0) return error(EINVAL);
    if (offset >= old_size) return error(EINVAL);
    const std::uint64_t pages = file.content.page_count();
    if (mode == FALLOC_FL_COLLAPSE_RANGE) {
        if (size >= old_size - offset) return error(EINVAL);
        file.content.collapse(offset / kPageSize, size / kPageSize);
        file.data.size -= size;
    } else {
        if (size > kFileSizeMax - old_size) return error(EFBIG);
        file.content.insert(offset / kPageSize, size / kPageSize);
        file.data.size += size;
    }
    pages_used_ -= pages - file.content.page_count();
    content_changed(file, now);
    file.durable_data.reset();
    return {};
}

Result<std::uint64_t> FileSystem::seek(const Inode& file, std::uint64_t offset,
                                       int whence) noexcept {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return error(EINVAL);
    const std::uint64_t size = file.data.size;
    if (offset >= size) return error(ENXIO);
    if (file.logical_block != 0) return whence == SEEK_HOLE ? size : offset;
    if (whence == SEEK_HOLE) return file.content.next_hole(offset, size);
    const std::uint64_t found = file.content.next_data(offset, size);
    if (found == size) return error(ENXIO);
    return found;
}

// --- Attributes --------------------------------------------------------------------------------

FileStat FileSystem::stat(const Inode& inode) const noexcept {
    FileStat stat;
    stat.inode = inode.number;
    stat.device = options_.device;
    stat.mode = inode.meta.mode;
    stat.uid = inode.meta.uid;
    stat.gid = inode.meta.gid;
    stat.link_count = inode.names;
    stat.special_device = inode.special_device;
    stat.size = inode.logical_block == 0 ? inode.data.size : 0;
    if (inode.directory != nullptr) {
        stat.link_count = inode.names == 0 ? 0 : 2 + inode.directory->subdirectories;
        stat.size = kPageSize;
    }
    stat.blocks_512 = inode.content.page_count() * (kPageSize / 512);
    stat.block_size = kPageSize;
    stat.accessed = inode.data.accessed;
    stat.modified = inode.data.modified;
    stat.changed = inode.data.changed;
    stat.born = inode.born;
    return stat;
}

FileSystemStat FileSystem::stat_file_system() const noexcept {
    FileSystemStat stat;
    stat.blocks = options_.capacity / kPageSize;
    stat.blocks_free = stat.blocks_available = pages_free();
    stat.files = options_.inodes_max;
    stat.files_free = options_.inodes_max - std::min(options_.inodes_max, inode_count_);
    stat.block_size = stat.fragment_size = kPageSize;
    stat.name_size_max = 255;
    stat.magic = EXT4_SUPER_MAGIC;
    return stat;
}

void FileSystem::touch_meta(Inode& inode, WallTime now) noexcept {
    log_.add_meta(inode);
    touch_data(inode);
    inode.data.changed = now;
}

void FileSystem::set_mode(Inode& inode, std::uint32_t mode, WallTime now) noexcept {
    touch_meta(inode, now);
    inode.meta.mode = (inode.meta.mode & S_IFMT) | (mode & 07777U);
}

void FileSystem::set_owner(Inode& inode, std::uint32_t uid, std::uint32_t gid,
                           WallTime now) noexcept {
    constexpr std::uint32_t kUnchanged = std::numeric_limits<std::uint32_t>::max();
    touch_meta(inode, now);
    if (uid != kUnchanged) inode.meta.uid = uid;
    if (gid != kUnchanged) inode.meta.gid = gid;
    if (inode.directory != nullptr) return;
    inode.meta.mode &= ~static_cast<std::uint32_t>(S_ISUID);
    // Without group execution S_ISGID once meant mandatory locking and is left alone.
    if ((inode.meta.mode & S_IXGRP) != 0) inode.meta.mode &= ~static_cast<std::uint32_t>(S_ISGID);
    drop_capability(inode);
}

void FileSystem::set_times(Inode& inode, TimeChange accessed, TimeChange modified,
                           WallTime now) noexcept {
    touch_data(inode);
    if (accessed.set) inode.data.accessed = accessed.time;
    if (modified.set) inode.data.modified = modified.time;
    inode.data.changed = now;
}

const ByteBuffer* FileSystem::find_xattr(const Inode& inode, std::string_view name) noexcept {
    if (inode.meta.xattrs == nullptr) return nullptr;
    const auto at = inode.meta.xattrs->find(name);
    return at == inode.meta.xattrs->end() ? nullptr : &at->second;
}

Status FileSystem::check_xattr_name(const Inode& inode, std::string_view name,
                                    bool is_write) const noexcept {
    if (name.empty() || name.size() > kXattrNameSizeMax) return error(ERANGE);
    if (name == "system.posix_acl_access" || name == "system.posix_acl_default") {
        if (S_ISLNK(inode.meta.mode)) return error(EOPNOTSUPP);
        const bool is_default = name.ends_with("default");
        if (is_default && is_write && inode.directory == nullptr) return error(EACCES);
        return {};
    }
    const bool is_user = name.starts_with("user.");
    const bool is_trusted = name.starts_with("trusted.") && options_.has_trusted_xattrs;
    if (!is_user && !is_trusted && !name.starts_with("security.")) return error(EOPNOTSUPP);
    if (name.back() == '.' && name.find('.') == name.size() - 1) return error(EINVAL);
    if (is_user && !S_ISREG(inode.meta.mode) && !S_ISDIR(inode.meta.mode)) {
        return error(is_write ? EPERM : ENODATA);
    }
    return {};
}

Status FileSystem::set_xattr(Inode& inode, std::string_view name, Bytes value, int flags,
                             WallTime now) noexcept {
    GEMEL_TRY(check_xattr_name(inode, name, true));
    if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) return error(EINVAL);
    if (value.size() > kXattrSizeMax) return error(E2BIG);
    const bool exists = find_xattr(inode, name) != nullptr;
    if (exists && (flags & XATTR_CREATE) != 0) return error(EEXIST);
    if (!exists && (flags & XATTR_REPLACE) != 0) return error(ENODATA);
    if (!exists && pages_free() == 0) return error(ENOSPC);
    touch_meta(inode, now);
    auto xattrs = inode.meta.xattrs == nullptr ? std::make_shared<XattrMap>()
                                               : std::make_shared<XattrMap>(*inode.meta.xattrs);
    xattrs->insert_or_assign(std::string(name), ByteBuffer(value.begin(), value.end()));
    inode.meta.xattrs = std::move(xattrs);
    return {};
}

Status FileSystem::remove_xattr(Inode& inode, std::string_view name, WallTime now) noexcept {
    GEMEL_TRY(check_xattr_name(inode, name, true));
    if (find_xattr(inode, name) == nullptr) return error(ENODATA);
    touch_meta(inode, now);
    auto xattrs = std::make_shared<XattrMap>(*inode.meta.xattrs);
    xattrs->erase(xattrs->find(name));
    inode.meta.xattrs = std::move(xattrs);
    return {};
}

// --- Durability --------------------------------------------------------------------------------

void FileSystem::sync_data(Inode& inode) noexcept {
    inode.content.sync();
    inode.durable_data.reset();
}

void FileSystem::sync(Inode& inode) noexcept {
    sync_data(inode);
    const std::uint64_t manner = prng_.below(3);
    if (manner == 0) {
        log_.commit_all();
        return;
    }
    if (inode.directory != nullptr) log_.commit_directory(inode.number);
    log_.commit_inode(inode, manner == 1);
}

void FileSystem::sync_all() noexcept {
    log_.commit_all();
    for (const std::uint64_t number : dirty_) {
        if (inodes_[number] == nullptr) continue;
        sync_data(inode(number));
        inode(number).is_listed = false;
    }
    dirty_.clear();
}

void FileSystem::fail_sync_all() noexcept {
    for (const std::uint64_t number : dirty_) {
        if (inodes_[number] != nullptr) fail_sync(inode(number));
    }
}

void FileSystem::evict_lost_pages(Inode& file) noexcept {
    const std::uint64_t pages = file.content.page_count();
    file.content.evict_lost();
    // What is gone, or a device's, is counted no more.
    if (file.is_gone() || file.logical_block != 0) return;
    pages_used_ -= pages - file.content.page_count();  // wraps when there are more: intended
}

void FileSystem::evict_lost_pages() noexcept {
    for (const auto& inode : inodes_) {
        if (inode != nullptr) evict_lost_pages(*inode);
    }
}

bool FileSystem::is_clean() const noexcept {
    if (!log_.empty()) return false;
    for (const std::uint64_t number : dirty_) {
        const Inode* inode = inodes_[number].get();
        if (inode == nullptr) continue;
        if (inode->durable_data.has_value() || inode->content.is_dirty()) return false;
    }
    return true;
}

void FileSystem::settle_inode(Inode& inode, Survival survival) noexcept {
    bool survives = survival != Survival::none;
    if (survival == Survival::some || survival == Survival::torn) survives = prng_.one_in(2);
    if (!inode.durable_data.has_value()) survives = true;
    if (!survives) inode.data = *inode.durable_data;
    inode.durable_data.reset();
    inode.content.power_cut(survival, survives, prng_);
    inode.content.truncate(inode.data.size, prng_);
    inode.content.sync();
}

void FileSystem::power_cut() noexcept {
    log_.power_cut(prng_);
    const auto survival = static_cast<Survival>(prng_.below(4));
    // Every inode, not only the listed ones: lost pages are on none of the lists.
    pages_used_ = inode_count_ = 0;
    for (std::uint64_t number = 0; number < inodes_.size(); ++number) {
        if (inodes_[number] == nullptr) continue;
        Inode& one = inode(number);
        GEMEL_ASSERT(one.open_count == 0);
        one.may_be_linked = false;
        one.is_listed = false;
        settle_inode(one, survival);
        pages_used_ += one.content.page_count();
        ++inode_count_;
    }
    dirty_.clear();
}

}  // namespace gemel::sim
