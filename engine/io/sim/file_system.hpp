// SPDX-License-Identifier: Apache-2.0
// One simulated file system: a tree of inodes in memory with Linux's (ext4's) answers, and what the
// disk has of it (durability.hpp). It knows no descriptors: SimVfs opens and closes inodes.
//
// Left out on purpose: permission checks (the engine runs as root, umask 0), set-id bits cleared by
// writes (a privileged writer keeps them), the default ACL's effect on a new object's mode (a new
// directory inherits the attribute system.posix_acl_default as it is, nothing else does), and a
// limit on the xattrs of one inode. Inode numbers are used again at once, with another generation.
#pragma once

#include "engine/base/prng.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/sim/durability.hpp"
#include "engine/io/sim/inode.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <memory>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace gemel::sim {

struct FileSystemOptions {
    std::uint64_t capacity = kGiB;  // bytes, multiple of kPageSize
    std::uint64_t inodes_max = 1'000'000;
    std::uint64_t device = 0x801;  // st_dev of the first; the next mounts count on
    bool has_trusted_xattrs = true;
    bool has_handles = true;
};

class FileSystem {
   public:
    FileSystem(const FileSystemOptions& options, Prng prng);
    ~FileSystem();
    FileSystem(const FileSystem&) = delete;
    FileSystem& operator=(const FileSystem&) = delete;

    [[nodiscard]] const FileSystemOptions& options() const noexcept { return options_; }
    // Bytes. Below what is used now: everything that needs space answers ENOSPC.
    void set_capacity(std::uint64_t bytes) noexcept { options_.capacity = bytes; }
    // mkdir -p, durable.
    void make_directories(std::string_view path, WallTime now) noexcept;
    // The cache forgets pages lost at a failed sync: see fault_policy.hpp.
    void evict_lost_pages() noexcept;
    void evict_lost_pages(Inode& file) noexcept;
    // Everything not synced is settled as durability.hpp says. Requires: nothing is open.
    void power_cut() noexcept;
    [[nodiscard]] std::uint64_t inode_count() const noexcept { return inode_count_; }
    // True when everything is on disk.
    [[nodiscard]] bool is_clean() const noexcept;

    // --- Names -------------------------------------------------------------------------------
    [[nodiscard]] Inode& root() noexcept { return inode(kRoot); }
    // Requires: it exists, perhaps without names.
    [[nodiscard]] Inode& inode(std::uint64_t number) noexcept { return *inodes_[number]; }
    // Null: it is gone.
    [[nodiscard]] Inode* find(std::uint64_t number, std::uint32_t generation) noexcept;
    // ENOTDIR, ENOENT, ENAMETOOLONG.
    Result<Inode*> lookup(Inode& directory, std::string_view name) noexcept;
    struct NewInode {
        std::uint32_t mode = 0;  // with the type
        std::uint64_t special_device = 0;
        Bytes link_target;
    };
    Result<Inode*> make(Inode& directory, std::string_view name, const NewInode& what,
                        WallTime now) noexcept;
    Result<Inode*> make_unnamed(Inode& directory, std::uint32_t mode, bool may_be_linked,
                                WallTime now) noexcept;
    // A block device, durable; its content takes none of this file system's space.
    struct NewDevice {
        std::uint64_t special_device = 0;
        std::uint64_t size = 0;  // bytes, a multiple of logical_block
        std::uint32_t logical_block = 512;
    };
    Inode& make_device(Inode& directory, std::string_view name, const NewDevice& what,
                       WallTime now) noexcept;
    Status link(Inode& inode, Inode& directory, std::string_view name, WallTime now) noexcept;
    Status unlink(Inode& directory, std::string_view name, bool removes_directory,
                  WallTime now) noexcept;
    struct RenameEnd {
        Inode* directory;
        std::string_view name;
    };
    Status rename(RenameEnd source, RenameEnd target, unsigned flags, WallTime now) noexcept;
    void list(const Inode& directory, std::uint64_t position, std::size_t count_max,
              std::vector<DirectoryEntry>& entries) noexcept;

    // --- Content -----------------------------------------------------------------------------
    // EINVAL: a transfer of a device that is no multiple of its block.
    Result<std::size_t> read(Inode& file, MutableBytes buffer, std::uint64_t offset) noexcept;
    Result<std::size_t> write(Inode& file, Bytes data, std::uint64_t offset, WallTime now) noexcept;
    Status truncate(Inode& file, std::uint64_t size, WallTime now) noexcept;
    Status allocate(Inode& file, int mode, std::uint64_t offset, std::uint64_t size,
                    WallTime now) noexcept;
    // FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE.
    Status shift(Inode& file, int mode, std::uint64_t offset, std::uint64_t size,
                 WallTime now) noexcept;
    Result<std::uint64_t> seek(const Inode& file, std::uint64_t offset, int whence) noexcept;

    // --- Attributes --------------------------------------------------------------------------
    [[nodiscard]] FileStat stat(const Inode& inode) const noexcept;
    [[nodiscard]] FileSystemStat stat_file_system() const noexcept;
    void set_mode(Inode& inode, std::uint32_t mode, WallTime now) noexcept;
    void set_owner(Inode& inode, std::uint32_t uid, std::uint32_t gid, WallTime now) noexcept;
    void set_times(Inode& inode, TimeChange accessed, TimeChange modified, WallTime now) noexcept;
    Status set_xattr(Inode& inode, std::string_view name, Bytes value, int flags,
                     WallTime now) noexcept;
    Status remove_xattr(Inode& inode, std::string_view name, WallTime now) noexcept;
    // Null: ENODATA.
    static const ByteBuffer* find_xattr(const Inode& inode, std::string_view name) noexcept;
    // Whether the name is one that this kind of inode can have here.
    [[nodiscard]] Status check_xattr_name(const Inode& inode, std::string_view name,
                                          bool is_write) const noexcept;

    // --- Durability --------------------------------------------------------------------------
    void sync(Inode& inode) noexcept;
    void sync_all() noexcept;
    // A sync that fails and loses what it should have written (only the pages; names are a
    // journal's business, and a journal that fails makes the file system read-only).
    void fail_sync(Inode& inode) noexcept { inode.content.lose_dirty(); }
    void fail_sync_all() noexcept;

    // --- For SimVfs and MetaLog --------------------------------------------------------------
    void opened(Inode& inode) noexcept { ++inode.open_count; }
    void closed(Inode& inode) noexcept;
    void free_if_gone(std::uint64_t number) noexcept;
    void undo_name(const NameChange& change) noexcept;

   private:
    static constexpr std::uint64_t kRoot = 2;
    static constexpr std::uint64_t kFirstInode = 11;
    static constexpr std::uint64_t kFileSizeMax = std::uint64_t{1} << 44;  // ext4's with 4 KiB

    Result<Inode*> new_inode(const Inode& directory, const NewInode& what, WallTime now) noexcept;
    Result<std::size_t> write_device(Inode& device, Bytes data, std::uint64_t offset) noexcept;
    Status zero_device(Inode& device, int mode, std::uint64_t offset, std::uint64_t size) noexcept;
    Status check_new_name(Inode& directory, std::string_view name) noexcept;
    Status check_rename(RenameEnd source, RenameEnd target, Inode& moved, Inode* replaced,
                        unsigned flags) noexcept;
    [[nodiscard]] bool is_ancestor(const Inode& ancestor, const Inode& directory) noexcept;
    // Puts `number` (0: nothing) under the name and keeps the counts of all concerned.
    void set_entry(Inode& directory, std::string_view name, std::uint64_t number) noexcept;
    void detach(Inode& directory, std::string_view name, Inode& inode) noexcept;
    void attach(Inode& directory, std::string_view name, Inode& inode) noexcept;
    void name_changed(Inode& directory, Inode* inode, WallTime now) noexcept;
    void write_back_some() noexcept;
    void release_if_gone(Inode& inode) noexcept;
    void touch_data(Inode& inode) noexcept;
    void touch_meta(Inode& inode, WallTime now) noexcept;
    void content_changed(Inode& file, WallTime now) noexcept;
    void drop_capability(Inode& file) noexcept;
    void list_dirty(Inode& inode) noexcept;
    void sync_data(Inode& inode) noexcept;
    void settle_inode(Inode& inode, Survival survival) noexcept;
    [[nodiscard]] std::uint64_t pages_free() const noexcept;
    [[nodiscard]] static std::uint64_t position_of(std::string_view name) noexcept;

    FileSystemOptions options_;
    Prng prng_;
    MetaLog log_{*this};
    std::vector<std::unique_ptr<Inode>> inodes_;  // by number
    std::vector<std::uint64_t> free_numbers_;
    std::vector<std::uint64_t> dirty_;  // numbers; some may be clean or gone by now
    std::uint64_t inode_count_ = 0;
    std::uint64_t pages_used_ = 0;
    std::uint32_t next_generation_;
};

}  // namespace gemel::sim
