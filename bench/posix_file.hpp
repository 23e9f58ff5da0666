// SPDX-License-Identifier: Apache-2.0
// System calls of the benchmarks: each does the whole of what was asked or throws a
// std::system_error that names the path. Not the engine's Vfs, so that what is measured is what an
// application does.
#pragma once

#include "engine/base/bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <utility>

namespace gemel::bench {

// Throws for errno `error`.
[[noreturn]] void fail(const std::string& what, int error);

class PosixFile {
   public:
    // As open(2); O_CLOEXEC is added.
    PosixFile(std::filesystem::path path, int flags, mode_t mode = 0644);
    // A file without a path, gone with its descriptor.
    static PosixFile in_memory(const char* name);
    PosixFile(PosixFile&& other) noexcept;
    PosixFile& operator=(PosixFile&&) = delete;
    ~PosixFile();

    void write_at(Bytes data, std::uint64_t offset) const;
    void read_at(MutableBytes data, std::uint64_t offset) const;
    void sync() const;       // fsync
    void sync_data() const;  // fdatasync
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

   private:
    PosixFile(std::filesystem::path path, int descriptor, std::nullptr_t) noexcept
        : path_(std::move(path)), descriptor_(descriptor) {}

    std::filesystem::path path_;
    int descriptor_ = -1;
};

// Page-aligned memory filled with bytes that do not compress.
class Buffer {
   public:
    Buffer(std::size_t size, std::uint64_t seed);
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Differs from what earlier calls gave, in its first bytes.
    [[nodiscard]] Bytes next() noexcept;
    [[nodiscard]] MutableBytes space() noexcept { return {data_, size_}; }

   private:
    std::byte* data_;
    std::size_t size_;
    std::uint64_t number_ = 0;
};

// A directory of its own below `parent`, removed with its content at the end unless it is kept.
class WorkDirectory {
   public:
    WorkDirectory(const std::filesystem::path& parent, bool keep);
    ~WorkDirectory();
    WorkDirectory(const WorkDirectory&) = delete;
    WorkDirectory& operator=(const WorkDirectory&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

   private:
    std::filesystem::path path_;
    bool keep_;
};

// The kernel forgets every clean page of every file system. False where that is not allowed.
bool drop_page_cache();

}  // namespace gemel::bench
