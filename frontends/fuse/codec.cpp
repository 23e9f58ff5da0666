// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/codec.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace gemel::fuse {

namespace {

constexpr std::size_t kNameSizeMax = 255;

// Bits of Statx::mask: STATX_BASIC_STATS and STATX_BTIME of <linux/stat.h>.
constexpr std::uint32_t kStatxBasic = 0x7ffU;
constexpr std::uint32_t kStatxBirth = 0x800U;

StatxTime statx_time(WallTime time) noexcept { return {time.seconds, time.nanoseconds, 0}; }

}  // namespace

std::string_view Body::string() noexcept {
    const auto end = std::find(data_.begin(), data_.end(), std::byte{0});
    if (end == data_.end()) failed_ = true;
    if (failed_) return {};
    const auto size = static_cast<std::size_t>(end - data_.begin());
    const Bytes text = data_.first(size);
    data_ = data_.subspan(size + 1);
    return as_text(text);
}

Bytes Body::bytes(std::size_t size) noexcept {
    if (size > data_.size()) failed_ = true;
    if (failed_) return {};
    const Bytes result = data_.first(size);
    data_ = data_.subspan(size);
    return result;
}

int name_error(std::string_view name) noexcept {
    if (name.empty()) return ENOENT;
    if (name.size() > kNameSizeMax) return ENAMETOOLONG;
    if (name == "." || name == ".." || name.find('/') != std::string_view::npos) return EINVAL;
    return 0;
}

std::uint32_t encode_device(std::uint64_t device) noexcept {
    const std::uint32_t major_number = ::major(device), minor_number = ::minor(device);
    return (minor_number & 0xffU) | ((major_number & 0xfffU) << 8) |
           ((minor_number & ~std::uint32_t{0xff}) << 12);
}

std::uint64_t decode_device(std::uint32_t device) noexcept {
    const std::uint32_t major_number = (device & 0xfff00U) >> 8;
    const std::uint32_t minor_number = (device & 0xffU) | ((device >> 12) & 0xfff00U);
    return ::makedev(major_number, minor_number);
}

void fill_attr(const Attributes& from, Attr& to) noexcept {
    const FileStat& stat = from.stat;
    to = {};
    to.ino = from.id.value;
    to.size = stat.size;
    to.blocks = stat.blocks_512;
    to.atime = static_cast<std::uint64_t>(stat.accessed.seconds);
    to.mtime = static_cast<std::uint64_t>(stat.modified.seconds);
    to.ctime = static_cast<std::uint64_t>(stat.changed.seconds);
    to.atimensec = stat.accessed.nanoseconds;
    to.mtimensec = stat.modified.nanoseconds;
    to.ctimensec = stat.changed.nanoseconds;
    to.mode = stat.mode;
    to.nlink = stat.link_count;
    to.uid = stat.uid;
    to.gid = stat.gid;
    to.rdev = encode_device(stat.special_device);
    to.blksize = stat.block_size;
}

void fill_statx(const Attributes& from, Statx& to) noexcept {
    const FileStat& stat = from.stat;
    to = {};
    to.mask = kStatxBasic;
    if (stat.born != WallTime{}) to.mask |= kStatxBirth;
    to.blksize = stat.block_size;
    to.nlink = stat.link_count;
    to.uid = stat.uid;
    to.gid = stat.gid;
    to.mode = static_cast<std::uint16_t>(stat.mode);
    to.ino = from.id.value;
    to.size = stat.size;
    to.blocks = stat.blocks_512;
    to.atime = statx_time(stat.accessed);
    to.btime = statx_time(stat.born);
    to.ctime = statx_time(stat.changed);
    to.mtime = statx_time(stat.modified);
    to.rdev_major = ::major(stat.special_device);
    to.rdev_minor = ::minor(stat.special_device);
}

void fill_statfs(const FileSystemStat& from, StatfsOut& to) noexcept {
    to = {};
    to.blocks = from.blocks;
    to.bfree = from.blocks_free;
    to.bavail = from.blocks_available;
    to.files = from.files;
    to.ffree = from.files_free;
    to.bsize = from.block_size;
    to.frsize = from.fragment_size;
    to.namelen = std::min<std::uint32_t>(from.name_size_max, kNameSizeMax);
}

std::uint32_t without_set_id(std::uint32_t mode) noexcept {
    mode &= ~std::uint32_t{S_ISUID};
    if ((mode & S_IXGRP) != 0) mode &= ~std::uint32_t{S_ISGID};
    return mode;
}

bool DirentWriter::add(std::string_view name, std::uint64_t inode, std::uint32_t mode,
                       std::uint64_t next, const EntryOut& entry) noexcept {
    const std::size_t head = plus_ ? sizeof entry : 0;
    const std::size_t size = head + dirent_size(name.size());
    if (size > space_.size() - size_) return false;
    std::byte* to = space_.data() + size_;
    if (plus_) std::memcpy(to, &entry, sizeof entry);
    Dirent record{};
    record.ino = inode;
    record.off = next;
    record.namelen = static_cast<std::uint32_t>(name.size());
    record.type = (mode & S_IFMT) >> 12;  // DT_* of <dirent.h>
    std::memcpy(to + head, &record, sizeof record);
    std::memcpy(to + head + sizeof record, name.data(), name.size());
    const std::size_t used = head + sizeof record + name.size();
    std::memset(to + used, 0, size - used);
    size_ += size;
    return true;
}

std::size_t DirentWriter::capacity_estimate() const noexcept {
    constexpr std::size_t kShortName = 16;
    const std::size_t each = dirent_size(kShortName) + (plus_ ? sizeof(EntryOut) : 0);
    return (space_.size() - size_) / each;
}

}  // namespace gemel::fuse
