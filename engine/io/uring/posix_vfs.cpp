// SPDX-License-Identifier: Apache-2.0
// What works on data and on names; attributes are in posix_attributes.cpp, directories in
// posix_directory.cpp, extents in posix_extents.cpp. O_NOFOLLOW stands in every open because names
// come from applications.
#include "engine/io/uring/posix_vfs.hpp"

#include "engine/io/uring/posix_call.hpp"

#include <algorithm>
#include <climits>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace gemel {
namespace {

// The kernel moves at most this many bytes in a call (MAX_RW_COUNT of <linux/fs.h>).
constexpr std::size_t kTransferMax = 0x7ffff000;

Result<Fd> fd_of(int descriptor) noexcept {
    if (descriptor == -1) return last_error();
    return Fd{descriptor};
}

Result<std::size_t> count_of(ssize_t count) noexcept {
    if (count == -1) return last_error();
    return static_cast<std::size_t>(count);
}

off_t offset_of(std::uint64_t offset) noexcept { return static_cast<off_t>(offset); }

WallTime time_of(const struct statx_timestamp& time) noexcept {
    return {time.tv_sec, time.tv_nsec};
}

Result<FileStat> stat_of(int directory, const char* name, int flags) noexcept {
    struct statx raw;
    if (::statx(directory, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &raw) ==
        -1) {
        return last_error();
    }
    FileStat stat;
    stat.inode = raw.stx_ino;
    stat.device = makedev(raw.stx_dev_major, raw.stx_dev_minor);
    stat.mode = raw.stx_mode;
    stat.link_count = raw.stx_nlink;
    stat.uid = raw.stx_uid;
    stat.gid = raw.stx_gid;
    stat.special_device = makedev(raw.stx_rdev_major, raw.stx_rdev_minor);
    stat.size = raw.stx_size;
    stat.blocks_512 = raw.stx_blocks;
    stat.block_size = raw.stx_blksize;
    stat.accessed = time_of(raw.stx_atime);
    stat.modified = time_of(raw.stx_mtime);
    stat.changed = time_of(raw.stx_ctime);
    if ((raw.stx_mask & STATX_BTIME) != 0) stat.born = time_of(raw.stx_btime);
    return stat;
}

// struct file_handle of <fcntl.h> ends in a flexible array; this one has the room.
struct alignas(file_handle) HandleBuffer {
    unsigned handle_bytes = FileHandle::kSizeMax;
    int handle_type = 0;
    unsigned char handle[FileHandle::kSizeMax] = {};

    file_handle* raw() noexcept { return reinterpret_cast<file_handle*>(this); }
};
static_assert(offsetof(HandleBuffer, handle) == offsetof(file_handle, f_handle));

// A block device is all data, but does not say so (blkdev_llseek of Linux knows no SEEK_DATA).
Result<std::uint64_t> seek_in_device(Fd file, std::uint64_t offset, int whence) noexcept {
    const off_t size = ::lseek(file.value, 0, SEEK_END);
    struct stat what {};
    if (size == -1 || ::fstat(file.value, &what) == -1) return last_error();
    if (!S_ISBLK(what.st_mode)) return Status::from_errno(EINVAL);
    if (offset >= static_cast<std::uint64_t>(size)) return Status::from_errno(ENXIO);
    return whence == SEEK_HOLE ? static_cast<std::uint64_t>(size) : offset;
}

// Whether the page cache holds anything of the range; true also where that cannot be told. By
// mincore(2): cachestat(2) came with Linux 6.5.
bool any_cached(Fd file, std::uint64_t offset, std::uint64_t size) noexcept {
    constexpr std::uint64_t kPageSize = 4096;
    const std::uint64_t begin = offset / kPageSize * kPageSize;
    const std::uint64_t length = offset + size - begin;
    void* const pages =
        ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file.value, offset_of(begin));
    if (pages == MAP_FAILED) return true;
    std::vector<unsigned char> resident((length + kPageSize - 1) / kPageSize);
    const bool known = ::mincore(pages, length, resident.data()) == 0;
    ::munmap(pages, length);
    return !known || std::any_of(resident.begin(), resident.end(),
                                 [](unsigned char one) { return (one & 1) != 0; });
}

}  // namespace

PosixVfs::PosixVfs() noexcept { ::umask(0); }

Result<Fd> PosixVfs::open_directory(std::string_view absolute_path) noexcept {
    const std::string path(absolute_path);
    return fd_of(
        uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
}

Result<Fd> PosixVfs::open_at(Fd directory, std::string_view name, int flags, mode_t mode) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    return fd_of(uninterrupted([&] {
        return ::openat(directory.value, c_name.text(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
    }));
}

Result<Fd> PosixVfs::open_by_handle(Fd root, const FileHandle& handle, int flags) noexcept {
    HandleBuffer buffer;
    GEMEL_ASSERT(handle.size <= FileHandle::kSizeMax);
    buffer.handle_bytes = handle.size;
    buffer.handle_type = handle.type;
    std::memcpy(buffer.handle, handle.bytes.data(), handle.size);
    // While somebody is just making an inode of this number, iget_locked() of Linux finds neither
    // the inode nor that there is none, and ext4 answers ENOMEM. That passes within microseconds;
    // what remains after all pauses, 0.1 s together, is a want of memory.
    for (timespec pause{0, 50'000};; pause.tv_nsec *= 2) {
        Result<Fd> opened = fd_of(uninterrupted([&] {
            return ::open_by_handle_at(root.value, buffer.raw(), flags | O_NOFOLLOW | O_CLOEXEC);
        }));
        if (opened.ok() || !opened.status().is_errno(ENOMEM)) return opened;
        if (pause.tv_nsec > 50'000'000) return opened;
        ::nanosleep(&pause, nullptr);
    }
}

Result<FileHandle> PosixVfs::handle_of(Fd file) noexcept {
    HandleBuffer buffer;
    int mount_id = 0;
    if (::name_to_handle_at(file.value, "", buffer.raw(), &mount_id, AT_EMPTY_PATH) == -1) {
        if (errno == EOVERFLOW) return Code::too_large;
        return last_error();
    }
    FileHandle handle;
    handle.type = buffer.handle_type;
    handle.size = static_cast<std::uint8_t>(buffer.handle_bytes);
    std::memcpy(handle.bytes.data(), buffer.handle, buffer.handle_bytes);
    return handle;
}

void PosixVfs::close(Fd file) noexcept { close_descriptor(file.value); }

Result<FileStat> PosixVfs::stat(Fd file) noexcept { return stat_of(file.value, "", AT_EMPTY_PATH); }

Result<FileStat> PosixVfs::stat_at(Fd directory, std::string_view name) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    return stat_of(directory.value, c_name.text(), AT_SYMLINK_NOFOLLOW);
}

Result<FileSystemStat> PosixVfs::stat_file_system(Fd file) noexcept {
    struct statfs raw;
    if (uninterrupted([&] { return ::fstatfs(file.value, &raw); }) == -1) return last_error();
    FileSystemStat stat;
    stat.blocks = raw.f_blocks;
    stat.blocks_free = raw.f_bfree;
    stat.blocks_available = raw.f_bavail;
    stat.files = raw.f_files;
    stat.files_free = raw.f_ffree;
    stat.block_size = static_cast<std::uint32_t>(raw.f_bsize);
    stat.fragment_size = static_cast<std::uint32_t>(raw.f_frsize);
    stat.name_size_max = static_cast<std::uint32_t>(raw.f_namelen);
    stat.magic = static_cast<std::uint64_t>(raw.f_type);
    return stat;
}

Result<std::size_t> PosixVfs::pread(Fd file, MutableBytes buffer, std::uint64_t offset) noexcept {
    const std::size_t size = std::min(buffer.size(), kTransferMax);
    return count_of(
        uninterrupted([&] { return ::pread(file.value, buffer.data(), size, offset_of(offset)); }));
}

Result<std::size_t> PosixVfs::pwrite(Fd file, Bytes data, std::uint64_t offset) noexcept {
    const std::size_t size = std::min(data.size(), kTransferMax);
    return count_of(
        uninterrupted([&] { return ::pwrite(file.value, data.data(), size, offset_of(offset)); }));
}

Status PosixVfs::truncate(Fd file, std::uint64_t size) noexcept {
    return status_of([&] { return ::ftruncate(file.value, offset_of(size)); });
}

Status PosixVfs::allocate(Fd file, int mode, std::uint64_t offset, std::uint64_t size) noexcept {
    return status_of(
        [&] { return ::fallocate(file.value, mode, offset_of(offset), offset_of(size)); });
}

Result<std::uint64_t> PosixVfs::seek(Fd file, std::uint64_t offset, int whence) noexcept {
    GEMEL_ASSERT(whence == SEEK_DATA || whence == SEEK_HOLE);
    const off_t found = ::lseek(file.value, offset_of(offset), whence);
    if (found == -1 && errno == EINVAL) return seek_in_device(file, offset, whence);
    if (found == -1) return last_error();
    return static_cast<std::uint64_t>(found);
}

Result<std::size_t> PosixVfs::copy_range(Fd source, std::uint64_t source_offset, Fd target,
                                         std::uint64_t target_offset, std::size_t size) noexcept {
    off_t from = offset_of(source_offset);
    off_t to = offset_of(target_offset);
    return count_of(uninterrupted([&] {
        return ::copy_file_range(source.value, &from, target.value, &to,
                                 std::min(size, kTransferMax), 0);
    }));
}

Status PosixVfs::clone(Fd source, Fd target) noexcept {
    // A longer target keeps what lies behind the source's end.
    GEMEL_TRY(truncate(target, 0));
    return status_of([&] { return ::ioctl(target.value, FICLONE, source.value); });
}

Status PosixVfs::sync(Fd file, bool data_only) noexcept {
    return status_of([&] { return data_only ? ::fdatasync(file.value) : ::fsync(file.value); });
}

Status PosixVfs::sync_file_system(Fd file) noexcept {
    return status_of([&] { return ::syncfs(file.value); });
}

Status PosixVfs::drop_cache(Fd file) noexcept {
    // What is not written stays, and may keep its neighbours in the same folio.
    if (::fdatasync(file.value) != 0) return Status::from_errno(errno);
    const int error = ::posix_fadvise(file.value, 0, 0, POSIX_FADV_DONTNEED);
    return error == 0 ? Status() : Status::from_errno(error);
}

bool PosixVfs::read_ahead(Fd file, std::uint64_t offset, std::uint64_t size) noexcept {
    // To look at a small range costs more than its pages do.
    constexpr std::uint64_t kLookedAtMin = 128 * kKiB;
    const bool was_cached = size < kLookedAtMin || any_cached(file, offset, size);
    ::posix_fadvise(file.value, offset_of(offset), offset_of(size), POSIX_FADV_WILLNEED);
    return !was_cached;
}

void PosixVfs::begin_writing(Fd file, std::uint64_t offset, std::uint64_t size) noexcept {
    ::sync_file_range(file.value, offset_of(offset), offset_of(size), SYNC_FILE_RANGE_WRITE);
}

void PosixVfs::forget_cached(Fd file, std::uint64_t offset, std::uint64_t size) noexcept {
    ::posix_fadvise(file.value, offset_of(offset), offset_of(size), POSIX_FADV_DONTNEED);
}

Status PosixVfs::make_directory(Fd parent, std::string_view name, mode_t mode) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    return status_of([&] { return ::mkdirat(parent.value, c_name.text(), mode); });
}

Status PosixVfs::make_node(Fd parent, std::string_view name, mode_t mode,
                           std::uint64_t special_device) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    return status_of([&] { return ::mknodat(parent.value, c_name.text(), mode, special_device); });
}

Status PosixVfs::make_symlink(Fd parent, std::string_view name, Bytes target) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    const std::string c_target(as_text(target));
    if (c_target.size() >= PATH_MAX) return Status::from_errno(ENAMETOOLONG);
    return status_of([&] { return ::symlinkat(c_target.c_str(), parent.value, c_name.text()); });
}

Status PosixVfs::link(Fd file, Fd parent, std::string_view name) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    return status_of(
        [&] { return ::linkat(file.value, "", parent.value, c_name.text(), AT_EMPTY_PATH); });
}

Status PosixVfs::unlink(Fd parent, std::string_view name, bool directory) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    return status_of(
        [&] { return ::unlinkat(parent.value, c_name.text(), directory ? AT_REMOVEDIR : 0); });
}

Status PosixVfs::rename(Fd parent, std::string_view name, Fd new_parent, std::string_view new_name,
                        unsigned flags) noexcept {
    const CName c_name(name);
    GEMEL_TRY(c_name.status());
    const CName c_new_name(new_name);
    GEMEL_TRY(c_new_name.status());
    return status_of([&] {
        return ::renameat2(parent.value, c_name.text(), new_parent.value, c_new_name.text(), flags);
    });
}

Result<ByteBuffer> PosixVfs::read_link(Fd symlink) noexcept {
    char target[PATH_MAX];
    const ssize_t size = ::readlinkat(symlink.value, "", target, sizeof target);
    if (size == -1) return last_error();
    const Bytes bytes = as_bytes({target, static_cast<std::size_t>(size)});
    return ByteBuffer(bytes.begin(), bytes.end());
}

}  // namespace gemel
