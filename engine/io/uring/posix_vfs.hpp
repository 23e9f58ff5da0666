// SPDX-License-Identifier: Apache-2.0
// Vfs by real system calls. Any thread may call it.
//
// Calls that the kernel refuses on O_PATH descriptors (xattrs, chmod) are repeated through the
// magic link /proc/self/fd/N, which names the inode itself, a symbolic link included; so /proc must
// be mounted. Handles and linking by descriptor need CAP_DAC_READ_SEARCH.
#pragma once

#include "engine/io/uring/background_closer.hpp"
#include "engine/io/vfs.hpp"

namespace gemel {

class PosixVfs final : public Vfs {
   public:
    // Sets the process's umask to 0: modes are those that the caller gives.
    PosixVfs() noexcept;

    Result<Fd> open_directory(std::string_view absolute_path) noexcept override;
    Result<Fd> open_at(Fd directory, std::string_view name, int flags,
                       mode_t mode) noexcept override;
    Result<Fd> open_by_handle(Fd root, const FileHandle& handle, int flags) noexcept override;
    // too_large: a file system whose handles exceed FileHandle::kSizeMax.
    Result<FileHandle> handle_of(Fd file) noexcept override;
    void close(Fd file) noexcept override;
    void close_later(Fd file) noexcept override { closer_.close(file.value); }
    bool finish_closing() noexcept override { return closer_.finish(); }

    Result<FileStat> stat(Fd file) noexcept override;
    Result<FileStat> stat_at(Fd directory, std::string_view name) noexcept override;
    Result<FileSystemStat> stat_file_system(Fd file) noexcept override;

    Result<std::size_t> pread(Fd file, MutableBytes buffer, std::uint64_t offset) noexcept override;
    Result<std::size_t> pwrite(Fd file, Bytes data, std::uint64_t offset) noexcept override;
    Status truncate(Fd file, std::uint64_t size) noexcept override;
    Status allocate(Fd file, int mode, std::uint64_t offset, std::uint64_t size) noexcept override;
    Result<std::uint64_t> seek(Fd file, std::uint64_t offset, int whence) noexcept override;
    std::vector<FileRange> unwritten(Fd file, FileRange range) noexcept override;
    Result<std::size_t> copy_range(Fd source, std::uint64_t source_offset, Fd target,
                                   std::uint64_t target_offset, std::size_t size) noexcept override;
    Status clone(Fd source, Fd target) noexcept override;
    Status sync(Fd file, bool data_only) noexcept override;
    Status sync_file_system(Fd file) noexcept override;
    Status drop_cache(Fd file) noexcept override;
    bool read_ahead(Fd file, std::uint64_t offset, std::uint64_t size) noexcept override;
    void begin_writing(Fd file, std::uint64_t offset, std::uint64_t size) noexcept override;
    void forget_cached(Fd file, std::uint64_t offset, std::uint64_t size) noexcept override;

    Status make_directory(Fd parent, std::string_view name, mode_t mode) noexcept override;
    Status make_node(Fd parent, std::string_view name, mode_t mode,
                     std::uint64_t special_device) noexcept override;
    Status make_symlink(Fd parent, std::string_view name, Bytes target) noexcept override;
    Status link(Fd file, Fd parent, std::string_view name) noexcept override;
    Status unlink(Fd parent, std::string_view name, bool directory) noexcept override;
    Status rename(Fd parent, std::string_view name, Fd new_parent, std::string_view new_name,
                  unsigned flags) noexcept override;
    Result<ByteBuffer> read_link(Fd symlink) noexcept override;
    // Moves the descriptor's position, so one directory descriptor belongs to one thread at a time.
    Status read_directory(Fd directory, std::uint64_t position, std::size_t count_max,
                          std::vector<DirectoryEntry>& entries) noexcept override;
    // ENOENT: it has been removed, or is the root of everything.
    Result<Location> locate(Fd directory) noexcept override;

    Status set_mode(Fd file, mode_t mode) noexcept override;
    Status set_owner(Fd file, std::uint32_t uid, std::uint32_t gid) noexcept override;
    Status set_times(Fd file, TimeChange accessed, TimeChange modified) noexcept override;
    Result<std::size_t> get_xattr(Fd file, std::string_view name,
                                  MutableBytes buffer) noexcept override;
    Status set_xattr(Fd file, std::string_view name, Bytes value, int flags) noexcept override;
    Status remove_xattr(Fd file, std::string_view name) noexcept override;
    Result<std::vector<std::string>> list_xattrs(Fd file) noexcept override;

   private:
    BackgroundCloser closer_;
};

}  // namespace gemel
