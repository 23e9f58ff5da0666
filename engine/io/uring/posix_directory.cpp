// SPDX-License-Identifier: Apache-2.0
// PosixVfs: reading directories, and finding where an open directory stands.
#include "engine/io/uring/posix_call.hpp"
#include "engine/io/uring/posix_vfs.hpp"

#include <climits>
#include <dirent.h>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace gemel {
namespace {

constexpr std::size_t kBatchSize = 32 * kKiB;

bool is_dots(const char* name) noexcept {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

// Calls take(entry) for each entry of one batch until it answers false. Returns the bytes that the
// kernel gave, 0 at the end.
template <typename Take>
Result<std::size_t> read_batch(Fd directory, Take take) noexcept {
    alignas(dirent64) char buffer[kBatchSize];
    const ssize_t size =
        uninterrupted([&] { return ::getdents64(directory.value, buffer, sizeof buffer); });
    if (size == -1) return last_error();
    for (ssize_t at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
        at += entry->d_reclen;
        if (!is_dots(entry->d_name) && !take(*entry)) break;
    }
    return static_cast<std::size_t>(size);
}

bool same_inode(const FileStat& a, const FileStat& b) noexcept {
    return a.inode == b.inode && a.device == b.device;
}

// Searching it should leave no access time, which only its owner and root may ask for.
Fd open_parent(Fd directory) noexcept {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int fd = uninterrupted([&] { return ::openat(directory.value, "..", kFlags | O_NOATIME); });
    if (fd == -1 && errno == EPERM) {
        fd = uninterrupted([&] { return ::openat(directory.value, "..", kFlags); });
    }
    return Fd{fd};
}

// The last component of the path that the kernel knows for it, while that path fits a page.
std::optional<std::string> name_from_proc(Fd directory) {
    char path[PATH_MAX];
    const ssize_t size = ::readlink(ProcPath(directory).text(), path, sizeof path);
    if (size == -1) return std::nullopt;
    const std::string_view text(path, static_cast<std::size_t>(size));
    const std::size_t slash = text.rfind('/');
    if (slash == std::string_view::npos || slash + 1 == text.size()) return std::nullopt;
    return std::string(text.substr(slash + 1));
}

}  // namespace

Status PosixVfs::read_directory(Fd directory, std::uint64_t position, std::size_t count_max,
                                std::vector<DirectoryEntry>& entries) noexcept {
    if (::lseek(directory.value, static_cast<off_t>(position), SEEK_SET) == -1) {
        return last_error();
    }
    std::size_t count = 0;
    // A batch of nothing but "." and ".." is not the end.
    while (count == 0 && count_max > 0) {
        const auto size = read_batch(directory, [&](const dirent64& entry) {
            entries.push_back(
                {entry.d_name, entry.d_ino, entry.d_type, static_cast<std::uint64_t>(entry.d_off)});
            return ++count < count_max;
        });
        if (!size.ok()) return size.status();
        if (size.value() == 0) break;
    }
    return Status();
}

Result<Vfs::Location> PosixVfs::locate(Fd directory) noexcept {
    const auto self = stat(directory);
    if (!self.ok()) return self.status();
    const Fd up = open_parent(directory);
    if (!up.is_open()) return last_error();
    ScopedFd parent(*this, up);

    // The path may be out of date by the time it is read, end in " (deleted)", or be too long for
    // the kernel to say; so it is a guess that is checked, and the parent is searched otherwise.
    const auto is_there = [&](std::string_view name) noexcept {
        const auto found = stat_at(parent.get(), name);
        return found.ok() && same_inode(found.value(), self.value());
    };
    if (auto name = name_from_proc(directory); name.has_value() && is_there(*name)) {
        return Location{parent.release(), std::move(*name)};
    }
    std::vector<DirectoryEntry> entries;
    for (std::uint64_t position = 0;; position = entries.back().next) {
        entries.clear();
        GEMEL_TRY(read_directory(parent.get(), position, 1024, entries));
        if (entries.empty()) return Status::from_errno(ENOENT);
        for (DirectoryEntry& entry : entries) {
            if (entry.inode == self.value().inode && is_there(entry.name)) {
                return Location{parent.release(), std::move(entry.name)};
            }
        }
    }
}

}  // namespace gemel
