// SPDX-License-Identifier: Apache-2.0
// The Vfs of one simulated process: a table of descriptors over the node's file systems. Calls take
// no virtual time. A call may fail as the node's FaultPolicy says; the process may be made to die
// at any chosen call (Node::die_at_vfs_call), which then and for ever answers cancelled.
//
// Where Linux would wait or follow, it does not: a FIFO opens at once (reading it through the
// loop waits for ever, until cancelled), sockets, character devices and nodes of block devices
// that are not there answer ENXIO. O_EXCL without O_CREAT claims a block device.
#pragma once

#include "engine/io/sim/fault_policy.hpp"
#include "engine/io/sim/file_system.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel::sim {

class Node;
class SimLoop;

class SimVfs final : public Vfs {
   public:
    // RLIMIT_NOFILE of the simulated process.
    static constexpr std::size_t kOpenFilesMax = 20'000;

    explicit SimVfs(SimLoop& loop) noexcept;
    ~SimVfs() override;
    SimVfs(const SimVfs&) = delete;
    SimVfs& operator=(const SimVfs&) = delete;

    // Calls made so far, for choosing where to die.
    [[nodiscard]] std::uint64_t call_count() const noexcept { return call_count_; }
    [[nodiscard]] std::size_t open_count() const noexcept { return open_count_; }

    Result<Fd> open_directory(std::string_view absolute_path) noexcept override;
    Result<Fd> open_at(Fd directory, std::string_view name, int flags,
                       mode_t mode) noexcept override;
    Result<Fd> open_by_handle(Fd root, const FileHandle& handle, int flags) noexcept override;
    Result<FileHandle> handle_of(Fd file) noexcept override;
    void close(Fd file) noexcept override;
    void close_later(Fd file) noexcept override;
    bool finish_closing() noexcept override;

    Result<FileStat> stat(Fd file) noexcept override;
    Result<FileStat> stat_at(Fd directory, std::string_view name) noexcept override;
    Result<FileSystemStat> stat_file_system(Fd file) noexcept override;

    Result<std::size_t> pread(Fd file, MutableBytes buffer, std::uint64_t offset) noexcept override;
    Result<std::size_t> pwrite(Fd file, Bytes data, std::uint64_t offset) noexcept override;
    Status truncate(Fd file, std::uint64_t size) noexcept override;
    Status allocate(Fd file, int mode, std::uint64_t offset, std::uint64_t size) noexcept override;
    Result<std::uint64_t> seek(Fd file, std::uint64_t offset, int whence) noexcept override;
    Result<std::size_t> copy_range(Fd source, std::uint64_t source_offset, Fd target,
                                   std::uint64_t target_offset, std::size_t size) noexcept override;
    Status clone(Fd source, Fd target) noexcept override;
    Status sync(Fd file, bool data_only) noexcept override;
    Status sync_file_system(Fd file) noexcept override;
    Status drop_cache(Fd file) noexcept override;

    Status make_directory(Fd parent, std::string_view name, mode_t mode) noexcept override;
    Status make_node(Fd parent, std::string_view name, mode_t mode,
                     std::uint64_t special_device) noexcept override;
    Status make_symlink(Fd parent, std::string_view name, Bytes target) noexcept override;
    Status link(Fd file, Fd parent, std::string_view name) noexcept override;
    Status unlink(Fd parent, std::string_view name, bool directory) noexcept override;
    Status rename(Fd parent, std::string_view name, Fd new_parent, std::string_view new_name,
                  unsigned flags) noexcept override;
    Result<ByteBuffer> read_link(Fd symlink) noexcept override;
    Status read_directory(Fd directory, std::uint64_t position, std::size_t count_max,
                          std::vector<DirectoryEntry>& entries) noexcept override;
    Result<Location> locate(Fd directory) noexcept override;

    Status set_mode(Fd file, mode_t mode) noexcept override;
    Status set_owner(Fd file, std::uint32_t uid, std::uint32_t gid) noexcept override;
    Status set_times(Fd file, TimeChange accessed, TimeChange modified) noexcept override;
    Result<std::size_t> get_xattr(Fd file, std::string_view name,
                                  MutableBytes buffer) noexcept override;
    Status set_xattr(Fd file, std::string_view name, Bytes value, int flags) noexcept override;
    Status remove_xattr(Fd file, std::string_view name) noexcept override;
    Result<std::vector<std::string>> list_xattrs(Fd file) noexcept override;

    // --- For the parts of the simulation -----------------------------------------------------
    void die_at_call(std::uint64_t n, bool power) noexcept;
    // Closes everything: the process has died.
    void release_all() noexcept;
    [[nodiscard]] bool is_pipe(Fd file) const noexcept;

   private:
    struct OpenFile {
        FileSystem* file_system = nullptr;  // null: not open
        Inode* inode = nullptr;
        int flags = 0;
    };
    struct Transfer {
        std::uint64_t offset, size;
    };

    // Counts the call, lets the process die here, looks the descriptor up, asks the fault policy.
    Result<OpenFile*> enter(VfsCall call, Fd file, Transfer transfer = {0, 0}) noexcept;
    // The same for a call on content: with the access mode it needs, and a limit by the policy.
    Result<OpenFile*> enter_transfer(VfsCall call, Fd file, Transfer& transfer) noexcept;
    [[nodiscard]] OpenFile* find(Fd file) noexcept;
    [[nodiscard]] bool count_call(VfsCall call, std::uint64_t inode) noexcept;
    [[nodiscard]] VfsFault fault_of(const VfsFaultPoint& point) noexcept;
    Result<Fd> add(FileSystem& file_system, Inode& inode, int flags) noexcept;
    Result<Fd> open_inode(FileSystem& file_system, Inode& inode, int flags) noexcept;
    Result<Fd> create(OpenFile& directory, std::string_view name, int flags, mode_t mode) noexcept;
    Status make(Fd parent, std::string_view name, const FileSystem::NewInode& what) noexcept;
    Status sync_as(VfsCall call, Fd file) noexcept;
    void let_go(OpenFile& open) noexcept;
    void close_oldest() noexcept;
    [[nodiscard]] WallTime now() const noexcept;

    SimLoop& loop_;
    Node& node_;
    std::vector<OpenFile> files_;
    std::vector<int> free_;
    std::vector<Fd> closed_later_;  // oldest first; not counted as open
    std::size_t open_count_ = 0;
    std::uint64_t call_count_ = 0;
    std::uint64_t calls_left_ = 0;  // 0: no limit
    bool dies_of_power_ = false;
};

}  // namespace gemel::sim
