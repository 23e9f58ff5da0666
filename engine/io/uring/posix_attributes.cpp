// SPDX-License-Identifier: Apache-2.0
// PosixVfs: modes, owners, times and extended attributes. fchownat and utimensat take AT_EMPTY_PATH
// (Linux 5.8), so they work on O_PATH descriptors by themselves; chmod and the xattr calls answer
// EBADF there and are repeated through /proc.
#include "engine/io/uring/posix_call.hpp"
#include "engine/io/uring/posix_vfs.hpp"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel {
namespace {

// Calls by descriptor, and by path when the descriptor is O_PATH.
template <typename ByFd, typename ByPath>
auto through_o_path(Fd file, ByFd by_fd, ByPath by_path) noexcept {
    auto result = uninterrupted([&] { return by_fd(file.value); });
    if (result == -1 && errno == EBADF) {
        const ProcPath path(file);
        result = uninterrupted([&] { return by_path(path.text()); });
    }
    return result;
}

timespec time_to_set(TimeChange change) noexcept {
    if (!change.set) return {0, UTIME_OMIT};
    return {change.time.seconds, static_cast<long>(change.time.nanoseconds)};
}

ssize_t list_into(Fd file, char* buffer, std::size_t size) noexcept {
    return through_o_path(
        file, [&](int fd) { return ::flistxattr(fd, buffer, size); },
        [&](const char* path) { return ::listxattr(path, buffer, size); });
}

std::vector<std::string> split_names(std::string_view list) {
    std::vector<std::string> names;
    while (!list.empty()) {
        const std::size_t end = list.find('\0');
        GEMEL_ASSERT(end != std::string_view::npos);
        names.emplace_back(list.substr(0, end));
        list.remove_prefix(end + 1);
    }
    return names;
}

}  // namespace

Status PosixVfs::set_mode(Fd file, mode_t mode) noexcept {
    const int result = through_o_path(
        file, [&](int fd) { return ::fchmod(fd, mode); },
        [&](const char* path) { return ::chmod(path, mode); });
    return result == -1 ? last_error() : Status();
}

Status PosixVfs::set_owner(Fd file, std::uint32_t uid, std::uint32_t gid) noexcept {
    return status_of([&] { return ::fchownat(file.value, "", uid, gid, AT_EMPTY_PATH); });
}

Status PosixVfs::set_times(Fd file, TimeChange accessed, TimeChange modified) noexcept {
    const timespec times[2] = {time_to_set(accessed), time_to_set(modified)};
    return status_of([&] { return ::utimensat(file.value, "", times, AT_EMPTY_PATH); });
}

Result<std::size_t> PosixVfs::get_xattr(Fd file, std::string_view name,
                                        MutableBytes buffer) noexcept {
    const CName c_name(name, CName::Kind::xattr);
    GEMEL_TRY(c_name.status());
    const ssize_t size = through_o_path(
        file, [&](int fd) { return ::fgetxattr(fd, c_name.text(), buffer.data(), buffer.size()); },
        [&](const char* path) {
            return ::getxattr(path, c_name.text(), buffer.data(), buffer.size());
        });
    if (size == -1) return last_error();
    return static_cast<std::size_t>(size);
}

Status PosixVfs::set_xattr(Fd file, std::string_view name, Bytes value, int flags) noexcept {
    const CName c_name(name, CName::Kind::xattr);
    GEMEL_TRY(c_name.status());
    const int result = through_o_path(
        file,
        [&](int fd) { return ::fsetxattr(fd, c_name.text(), value.data(), value.size(), flags); },
        [&](const char* path) {
            return ::setxattr(path, c_name.text(), value.data(), value.size(), flags);
        });
    return result == -1 ? last_error() : Status();
}

Status PosixVfs::remove_xattr(Fd file, std::string_view name) noexcept {
    const CName c_name(name, CName::Kind::xattr);
    GEMEL_TRY(c_name.status());
    const int result = through_o_path(
        file, [&](int fd) { return ::fremovexattr(fd, c_name.text()); },
        [&](const char* path) { return ::removexattr(path, c_name.text()); });
    return result == -1 ? last_error() : Status();
}

Result<std::vector<std::string>> PosixVfs::list_xattrs(Fd file) noexcept {
    char small[1024];
    ssize_t size = list_into(file, small, sizeof small);
    if (size != -1) return split_names({small, static_cast<std::size_t>(size)});
    if (errno != ERANGE) return last_error();
    std::vector<char> large(XATTR_LIST_MAX);  // 64 KiB; the kernel gives no longer list
    size = list_into(file, large.data(), large.size());
    if (size == -1) return last_error();
    return split_names({large.data(), static_cast<std::size_t>(size)});
}

}  // namespace gemel
