// SPDX-License-Identifier: Apache-2.0
// File-system calls of one node, as the engine makes them: synchronous, POSIX-like, on descriptors
// and single names, never on whole paths (so that PATH_MAX does not exist). `uring/` makes the real
// system calls; `sim/` keeps the trees in memory with a durable and a volatile state and can kill
// the node between any two calls (every later call then answers cancelled and changes nothing).
//
// Call it from the loop for what the page cache answers in microseconds, from a Job (loop.hpp) for
// what may wait for a disk. Calls on different descriptors may run on different threads.
// Errors are Status::from_errno with Linux's errno unless a method names another.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace gemel {

// An open file description of one Vfs. Plain value; whoever opened it closes it (or hands it to a
// ScopedFd). Production: the kernel's descriptor number.
struct Fd {
    int value = -1;

    [[nodiscard]] constexpr bool is_open() const noexcept { return value >= 0; }
    friend constexpr auto operator<=>(Fd, Fd) noexcept = default;
};

// A file handle as name_to_handle_at(2) gives it: names an inode and its generation for as long as
// the inode lives, across renames, remounts and reboots. MAX_HANDLE_SZ of the kernel is 128; ext4
// uses 8 bytes, XFS 12, btrfs 20 (40 with a parent, which is not asked for).
struct FileHandle {
    static constexpr std::size_t kSizeMax = 40;

    std::int32_t type = 0;
    std::uint8_t size = 0;
    std::array<std::uint8_t, kSizeMax> bytes{};

    friend bool operator==(const FileHandle&, const FileHandle&) noexcept = default;
};

// What statx(2) answers; mode includes the file type (S_IFMT).
struct FileStat {
    std::uint64_t inode = 0;
    std::uint64_t device = 0;
    std::uint32_t mode = 0;
    std::uint32_t link_count = 0;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint64_t special_device = 0;  // st_rdev as makedev(3) packs it
    std::uint64_t size = 0;
    std::uint64_t blocks_512 = 0;
    std::uint32_t block_size = 0;
    WallTime accessed, modified, changed, born;  // born is zero where the file system has none
};

struct FileSystemStat {
    std::uint64_t blocks = 0, blocks_free = 0, blocks_available = 0;
    std::uint64_t files = 0, files_free = 0;
    std::uint32_t block_size = 0, fragment_size = 0, name_size_max = 0;
    std::uint64_t magic = 0;  // statfs f_type: EXT4_SUPER_MAGIC, ...
};

struct DirectoryEntry {
    std::string name;  // never "." or ".."
    std::uint64_t inode = 0;
    std::uint8_t type = 0;   // DT_REG, DT_DIR, ..., DT_UNKNOWN where the file system does not say
    std::uint64_t next = 0;  // position to continue after this entry (d_off)
};

// [begin, end) of a file's bytes.
struct FileRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

// A time to set: the given one, or "leave as it is" when !set.
struct TimeChange {
    bool set = false;
    WallTime time;
};

class Vfs {
   public:
    virtual ~Vfs() = default;

    // Opens a directory by absolute path (the only whole path there is): O_RDONLY | O_DIRECTORY.
    virtual Result<Fd> open_directory(std::string_view absolute_path) noexcept = 0;
    // `name` is one component of at most 255 bytes, without '/' and NUL, or "." for `directory`
    // itself. Never follows a symbolic link. `flags` are Linux's O_* (O_PATH, O_TMPFILE with name
    // ".", O_NOATIME, O_CREAT|O_EXCL, ...); O_NOFOLLOW | O_CLOEXEC are added.
    virtual Result<Fd> open_at(Fd directory, std::string_view name, int flags,
                               mode_t mode) noexcept = 0;
    // `root` is any descriptor on the file system. ESTALE: the inode is gone.
    virtual Result<Fd> open_by_handle(Fd root, const FileHandle& handle, int flags) noexcept = 0;
    virtual Result<FileHandle> handle_of(Fd file) noexcept = 0;
    virtual void close(Fd file) noexcept = 0;
    // Closes it soon, away from this thread: for the last descriptor of a removed file, which gives
    // back what the file held and may take long. From any thread.
    virtual void close_later(Fd file) noexcept = 0;
    // Waits until everything handed to close_later() is closed. True: there was something, so an
    // ENOSPC may have been premature.
    virtual bool finish_closing() noexcept = 0;

    virtual Result<FileStat> stat(Fd file) noexcept = 0;
    virtual Result<FileStat> stat_at(Fd directory, std::string_view name) noexcept = 0;
    virtual Result<FileSystemStat> stat_file_system(Fd file) noexcept = 0;

    // May be short; 0 is the end of the file.
    virtual Result<std::size_t> pread(Fd file, MutableBytes buffer,
                                      std::uint64_t offset) noexcept = 0;
    // May be short, then at least one byte was written.
    virtual Result<std::size_t> pwrite(Fd file, Bytes data, std::uint64_t offset) noexcept = 0;
    virtual Status truncate(Fd file, std::uint64_t size) noexcept = 0;
    // `mode`: FALLOC_FL_* of <linux/falloc.h>.
    virtual Status allocate(Fd file, int mode, std::uint64_t offset,
                            std::uint64_t size) noexcept = 0;
    // `whence`: SEEK_DATA or SEEK_HOLE. ENXIO: beyond the end, or no data after `offset`.
    virtual Result<std::uint64_t> seek(Fd file, std::uint64_t offset, int whence) noexcept = 0;
    // What of the range is allocated but was never written, sorted. To seek() it is a hole, but
    // data as long as the page cache holds pages of it, which a mere read puts there. What waits to
    // be written to such a place is written first, waiting for the disk. Empty also where it can't
    // be told.
    virtual std::vector<FileRange> unwritten(Fd, FileRange) noexcept { return {}; }
    virtual Result<std::size_t> copy_range(Fd source, std::uint64_t source_offset, Fd target,
                                           std::uint64_t target_offset,
                                           std::size_t size) noexcept = 0;
    // The regular file `target` becomes what `source` is, size included, at once: both share what
    // is on the disk until one of them changes (FICLONE, ioctl_ficlone(2)). EOPNOTSUPP, EINVAL: not
    // on this file system; EXDEV: not on the same one; then `target` is empty.
    virtual Status clone(Fd source, Fd target) noexcept = 0;
    // Waits for the disk. ok: everything that completed before the call is durable.
    virtual Status sync(Fd file, bool data_only) noexcept = 0;
    virtual Status sync_file_system(Fd file) noexcept = 0;
    // Forgets what is cached of the file and not waiting to be written: the next read is the
    // disk's. After a failed sync the cache shows what the disk has lost, as clean.
    virtual Status drop_cache(Fd file) noexcept = 0;
    // Begins to bring the range into the cache, without waiting: a hint, which has no other effect
    // and may have none. True: nothing of the range was cached before (forget_cached may follow).
    virtual bool read_ahead(Fd, std::uint64_t /*offset*/, std::uint64_t /*size*/) noexcept {
        return false;
    }
    // A hint that the disk may begin to write what was changed of the range. Promises nothing.
    virtual void begin_writing(Fd, std::uint64_t /*offset*/, std::uint64_t /*size*/) noexcept {}
    // A hint that what is cached of the range, and not waiting to be written, is not needed soon.
    virtual void forget_cached(Fd, std::uint64_t /*offset*/, std::uint64_t /*size*/) noexcept {}

    virtual Status make_directory(Fd parent, std::string_view name, mode_t mode) noexcept = 0;
    // Regular file, fifo, socket or device node by the type in `mode`.
    virtual Status make_node(Fd parent, std::string_view name, mode_t mode,
                             std::uint64_t special_device) noexcept = 0;
    virtual Status make_symlink(Fd parent, std::string_view name, Bytes target) noexcept = 0;
    // Gives the open (perhaps O_TMPFILE, perhaps O_PATH) `file` another name.
    virtual Status link(Fd file, Fd parent, std::string_view name) noexcept = 0;
    // `directory`: remove an empty directory (AT_REMOVEDIR) instead of another kind of object.
    virtual Status unlink(Fd parent, std::string_view name, bool directory) noexcept = 0;
    // `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT.
    virtual Status rename(Fd parent, std::string_view name, Fd new_parent,
                          std::string_view new_name, unsigned flags) noexcept = 0;
    virtual Result<ByteBuffer> read_link(Fd symlink) noexcept = 0;
    // Appends at most `count_max` entries that follow `position` (0: the start) to `entries`;
    // appending none means the end.
    virtual Status read_directory(Fd directory, std::uint64_t position, std::size_t count_max,
                                  std::vector<DirectoryEntry>& entries) noexcept = 0;
    // Where an open directory is now: its parent (caller closes) and its name there.
    struct Location {
        Fd parent;
        std::string name;
    };
    virtual Result<Location> locate(Fd directory) noexcept = 0;

    // These work on O_PATH descriptors too, of symbolic links and special files included.
    virtual Status set_mode(Fd file, mode_t mode) noexcept = 0;
    // Clears set-id bits of non-directories, as chown(2) does; callers set the mode afterwards.
    virtual Status set_owner(Fd file, std::uint32_t uid, std::uint32_t gid) noexcept = 0;
    virtual Status set_times(Fd file, TimeChange accessed, TimeChange modified) noexcept = 0;
    // Returns the value's size; with an empty buffer only the size. ENODATA: not there.
    // ERANGE: the buffer is too small.
    virtual Result<std::size_t> get_xattr(Fd file, std::string_view name,
                                          MutableBytes buffer) noexcept = 0;
    // `flags`: 0, XATTR_CREATE or XATTR_REPLACE.
    virtual Status set_xattr(Fd file, std::string_view name, Bytes value, int flags) noexcept = 0;
    virtual Status remove_xattr(Fd file, std::string_view name) noexcept = 0;
    virtual Result<std::vector<std::string>> list_xattrs(Fd file) noexcept = 0;
};

// Closes at the end of the scope. Requires: the Vfs outlives it.
class ScopedFd {
   public:
    ScopedFd() noexcept = default;
    ScopedFd(Vfs& vfs, Fd fd) noexcept : vfs_(&vfs), fd_(fd) {}
    ScopedFd(ScopedFd&& other) noexcept : vfs_(other.vfs_), fd_(other.release()) {}
    ScopedFd& operator=(ScopedFd&& other) noexcept {
        if (this != &other) {
            reset();
            vfs_ = other.vfs_;
            fd_ = other.release();
        }
        return *this;
    }
    ~ScopedFd() { reset(); }

    [[nodiscard]] Fd get() const noexcept { return fd_; }
    [[nodiscard]] bool is_open() const noexcept { return fd_.is_open(); }
    Fd release() noexcept { return std::exchange(fd_, Fd{}); }
    void reset() noexcept {
        if (fd_.is_open()) vfs_->close(release());
    }

   private:
    Vfs* vfs_ = nullptr;
    Fd fd_;
};

}  // namespace gemel
