// SPDX-License-Identifier: Apache-2.0
// The kernel's FUSE protocol, version 7.31 to 7.45, as far as it is spoken here. It stands here
// because the C library's kernel headers are older (6.1: 7.38) than the kernels we run on.
//
// Source of every number and layout: include/uapi/linux/fuse.h of Linux 6.18 (7.45); where a later
// version of the protocol added something, the version and the kernel are named beside it. All
// fields have the machine's byte order. Requests are: InHeader, the opcode's struct, then names
// (each ended by a NUL) or data; replies: OutHeader, then the opcode's struct or data.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gemel::fuse {

inline constexpr std::uint32_t kMajorVersion = 7;
inline constexpr std::uint32_t kMinorVersion = 45;     // 6.18
inline constexpr std::uint32_t kMinorVersionMin = 31;  // 5.4: the oldest we talk to
inline constexpr std::uint64_t kRootNode = 1;          // FUSE_ROOT_ID
inline constexpr std::size_t kReadBufferMin = 8192;    // FUSE_MIN_READ_BUFFER

enum class Opcode : std::uint32_t {
    lookup = 1,
    forget = 2,  // no reply
    getattr = 3,
    setattr = 4,
    readlink = 5,
    symlink = 6,
    mknod = 8,
    mkdir = 9,
    unlink = 10,
    rmdir = 11,
    rename = 12,
    link = 13,
    open = 14,
    read = 15,
    write = 16,
    statfs = 17,
    release = 18,
    fsync = 20,
    setxattr = 21,
    getxattr = 22,
    listxattr = 23,
    removexattr = 24,
    flush = 25,
    init = 26,
    opendir = 27,
    readdir = 28,
    releasedir = 29,
    fsyncdir = 30,
    getlk = 31,
    setlk = 32,
    setlkw = 33,
    access = 34,
    create = 35,
    interrupt = 36,  // no reply
    bmap = 37,
    destroy = 38,
    ioctl = 39,
    poll = 40,
    notify_reply = 41,
    batch_forget = 42,  // no reply
    fallocate = 43,
    readdirplus = 44,
    rename2 = 45,
    lseek = 46,
    copy_file_range = 47,
    setupmapping = 48,
    removemapping = 49,
    syncfs = 50,
    tmpfile = 51,             // 7.37, Linux 6.2
    statx = 52,               // 7.39, Linux 6.6
    copy_file_range_64 = 53,  // 7.45, Linux 6.18
};
inline constexpr std::uint32_t kOpcodeCount = 54;

// Flags of INIT (FUSE_ASYNC_READ and so on); bits 32 and up travel in flags2 (7.36, Linux 5.17).
enum InitFlag : std::uint64_t {
    kInitAsyncRead = 1U << 0,
    kInitExportSupport = 1U << 4,
    kInitBigWrites = 1U << 5,
    kInitDontMask = 1U << 6,
    kInitDoReaddirplus = 1U << 13,
    kInitReaddirplusAuto = 1U << 14,
    kInitAsyncDio = 1U << 15,
    kInitParallelDirops = 1U << 18,
    kInitPosixAcl = 1U << 20,
    kInitAbortError = 1U << 21,
    kInitMaxPages = 1U << 22,
    kInitCacheSymlinks = 1U << 23,
    kInitExplicitInvalData = 1U << 25,
    kInitHandleKillprivV2 = 1U << 28,
    kInitSetxattrExt = 1U << 29,
    kInitExt = 1U << 30,
    kInitDirectIoAllowMmap = std::uint64_t{1} << 36,  // 7.39, Linux 6.6
};

// setattr_in.valid (FATTR_*)
enum SetattrValid : std::uint32_t {
    kSetattrMode = 1U << 0,
    kSetattrUid = 1U << 1,
    kSetattrGid = 1U << 2,
    kSetattrSize = 1U << 3,
    kSetattrAtime = 1U << 4,
    kSetattrMtime = 1U << 5,
    kSetattrFh = 1U << 6,
    kSetattrAtimeNow = 1U << 7,
    kSetattrMtimeNow = 1U << 8,
    kSetattrLockOwner = 1U << 9,
    kSetattrCtime = 1U << 10,
    kSetattrKillSuidgid = 1U << 11,
};

// open_out.open_flags (FOPEN_*)
enum OpenReply : std::uint32_t {
    kOpenDirectIo = 1U << 0,
    kOpenKeepCache = 1U << 1,
    kOpenCacheDir = 1U << 3,
    kOpenNoFlush = 1U << 5,               // 7.35, Linux 5.16
    kOpenParallelDirectWrites = 1U << 6,  // 7.38, Linux 6.3
};

inline constexpr std::uint32_t kWriteCache = 1U << 0;        // FUSE_WRITE_CACHE
inline constexpr std::uint32_t kWriteKillSuidgid = 1U << 2;  // FUSE_WRITE_KILL_SUIDGID
inline constexpr std::uint32_t kSetxattrAclKillSgid = 1U << 0;
inline constexpr std::uint32_t kFsyncDataOnly = 1U << 0;  // FUSE_FSYNC_FDATASYNC

// Codes of notifications (OutHeader.error, with unique 0).
inline constexpr std::int32_t kNotifyInvalInode = 2;

struct InHeader {
    std::uint32_t len, opcode;
    std::uint64_t unique, nodeid;
    std::uint32_t uid, gid, pid;
    std::uint16_t total_extlen, padding;
};
static_assert(sizeof(InHeader) == 40);

struct OutHeader {
    std::uint32_t len;
    std::int32_t error;  // 0 or a negative errno; of a notification: its code
    std::uint64_t unique;
};
static_assert(sizeof(OutHeader) == 16);

struct Attr {
    std::uint64_t ino, size, blocks;
    std::uint64_t atime, mtime, ctime;
    std::uint32_t atimensec, mtimensec, ctimensec;
    std::uint32_t mode, nlink, uid, gid, rdev, blksize, flags;
};
static_assert(sizeof(Attr) == 88);

struct EntryOut {
    std::uint64_t nodeid, generation;
    std::uint64_t entry_valid, attr_valid;  // seconds
    std::uint32_t entry_valid_nsec, attr_valid_nsec;
    Attr attr;
};
static_assert(sizeof(EntryOut) == 128);

struct AttrOut {
    std::uint64_t attr_valid;
    std::uint32_t attr_valid_nsec, dummy;
    Attr attr;
};
static_assert(sizeof(AttrOut) == 104);

struct InitIn {
    std::uint32_t major, minor, max_readahead, flags;
    // From 7.36 on, when flags has kInitExt: flags2 and 11 unused words.
};
static_assert(sizeof(InitIn) == 16);

struct InitOut {
    std::uint32_t major, minor, max_readahead, flags;
    std::uint16_t max_background, congestion_threshold;
    std::uint32_t max_write, time_gran;
    std::uint16_t max_pages, map_alignment;
    std::uint32_t flags2, max_stack_depth;
    std::uint16_t request_timeout, unused[11];
};
static_assert(sizeof(InitOut) == 64);

struct ForgetIn {
    std::uint64_t nlookup;
};
struct GetattrIn {
    std::uint32_t getattr_flags, dummy;
    std::uint64_t fh;
};
static_assert(sizeof(GetattrIn) == 16);

struct SetattrIn {
    std::uint32_t valid, padding;
    std::uint64_t fh, size, lock_owner;
    std::uint64_t atime, mtime, ctime;
    std::uint32_t atimensec, mtimensec, ctimensec;
    std::uint32_t mode, unused4, uid, gid, unused5;
};
static_assert(sizeof(SetattrIn) == 88);

struct MknodIn {  // name follows
    std::uint32_t mode, rdev, umask, padding;
};
static_assert(sizeof(MknodIn) == 16);
struct MkdirIn {  // name follows
    std::uint32_t mode, umask;
};
static_assert(sizeof(MkdirIn) == 8);
struct RenameIn {  // old name, new name follow
    std::uint64_t newdir;
};
struct Rename2In {
    std::uint64_t newdir;
    std::uint32_t flags, padding;
};
static_assert(sizeof(Rename2In) == 16);
struct LinkIn {  // name follows; InHeader.nodeid is the directory
    std::uint64_t oldnodeid;
};

struct OpenIn {
    std::uint32_t flags, open_flags;
};
struct CreateIn {  // name follows (TMPFILE: a name to ignore)
    std::uint32_t flags, mode, umask, open_flags;
};
static_assert(sizeof(CreateIn) == 16);
struct OpenOut {
    std::uint64_t fh;
    std::uint32_t open_flags;
    std::int32_t backing_id;  // 7.40, Linux 6.9; padding before
};
static_assert(sizeof(OpenOut) == 16);
struct ReleaseIn {
    std::uint64_t fh;
    std::uint32_t flags, release_flags;
    std::uint64_t lock_owner;
};
static_assert(sizeof(ReleaseIn) == 24);

struct ReadIn {  // READ, READDIR, READDIRPLUS
    std::uint64_t fh, offset;
    std::uint32_t size, read_flags;
    std::uint64_t lock_owner;
    std::uint32_t flags, padding;
};
static_assert(sizeof(ReadIn) == 40);
struct WriteIn {  // data follows
    std::uint64_t fh, offset;
    std::uint32_t size, write_flags;
    std::uint64_t lock_owner;
    std::uint32_t flags, padding;  // flags: O_* of the open file, O_DSYNC where asked for
};
static_assert(sizeof(WriteIn) == 40);
struct WriteOut {
    std::uint32_t size, padding;
};
static_assert(sizeof(WriteOut) == 8);

struct StatfsOut {
    std::uint64_t blocks, bfree, bavail, files, ffree;
    std::uint32_t bsize, namelen, frsize, padding, spare[6];
};
static_assert(sizeof(StatfsOut) == 80);

struct FsyncIn {
    std::uint64_t fh;
    std::uint32_t fsync_flags, padding;
};
static_assert(sizeof(FsyncIn) == 16);

// name and value follow. Without kInitSetxattrExt the kernel sends the first 8 bytes only.
struct SetxattrIn {
    std::uint32_t size, flags, setxattr_flags, padding;
};
static_assert(sizeof(SetxattrIn) == 16);
inline constexpr std::size_t kSetxattrInCompatSize = 8;
struct GetxattrIn {  // GETXATTR: name follows; also LISTXATTR
    std::uint32_t size, padding;
};
struct GetxattrOut {  // the answer to size 0
    std::uint32_t size, padding;
};
static_assert(sizeof(GetxattrIn) == 8 && sizeof(GetxattrOut) == 8);

struct FallocateIn {
    std::uint64_t fh, offset, length;
    std::uint32_t mode, padding;
};
static_assert(sizeof(FallocateIn) == 32);
struct LseekIn {
    std::uint64_t fh, offset;
    std::uint32_t whence, padding;
};
static_assert(sizeof(LseekIn) == 24);
struct LseekOut {
    std::uint64_t offset;
};
struct CopyFileRangeIn {  // InHeader.nodeid is the source
    std::uint64_t fh_in, off_in, nodeid_out, fh_out, off_out, len, flags;
};
static_assert(sizeof(CopyFileRangeIn) == 56);
struct CopyFileRangeOut {  // of COPY_FILE_RANGE_64; the older one answers WriteOut
    std::uint64_t bytes_copied;
};

// Statx (7.39): bit for bit struct statx of statx(2).
struct StatxTime {
    std::int64_t tv_sec;
    std::uint32_t tv_nsec;
    std::int32_t reserved;
};
struct Statx {
    std::uint32_t mask, blksize;
    std::uint64_t attributes;
    std::uint32_t nlink, uid, gid;
    std::uint16_t mode, spare0[1];
    std::uint64_t ino, size, blocks, attributes_mask;
    StatxTime atime, btime, ctime, mtime;
    std::uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    std::uint64_t spare2[14];
};
static_assert(sizeof(Statx) == 256);
struct StatxIn {
    std::uint32_t getattr_flags, reserved;
    std::uint64_t fh;
    std::uint32_t sx_flags, sx_mask;
};
static_assert(sizeof(StatxIn) == 24);
struct StatxOut {
    std::uint64_t attr_valid;
    std::uint32_t attr_valid_nsec, flags;
    std::uint64_t spare[2];
    Statx stat;
};
static_assert(sizeof(StatxOut) == 288);

// One record of READDIR; the name follows, then zeros up to a multiple of 8. READDIRPLUS puts an
// EntryOut before each record.
struct Dirent {
    std::uint64_t ino, off;
    std::uint32_t namelen, type;
};
static_assert(sizeof(Dirent) == 24);
inline constexpr std::size_t dirent_size(std::size_t name_size) noexcept {
    return (sizeof(Dirent) + name_size + 7) & ~std::size_t{7};
}
// Inode number shown for an entry whose own is not known (libfuse's FUSE_UNKNOWN_INO): not 0, which
// the C library takes for a deleted entry.
inline constexpr std::uint64_t kUnknownInode = 0xffffffff;

struct NotifyInvalInodeOut {
    std::uint64_t ino;
    std::int64_t off, len;  // off < 0: attributes only
};
static_assert(sizeof(NotifyInvalInodeOut) == 24);

}  // namespace gemel::fuse
