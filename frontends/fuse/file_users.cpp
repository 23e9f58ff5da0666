// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/file_users.hpp"

#include "frontends/fuse/mount_table.hpp"

#include <charconv>
#include <climits>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace gemel {

namespace {

struct CloseDirectory {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::string link_target(const std::string& link) {
    char target[PATH_MAX];
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size > 0 ? std::string(target, static_cast<std::size_t>(size)) : std::string();
}

std::string whole_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {};
    std::string text;
    char chunk[4096];
    for (ssize_t size = 0; (size = ::read(fd, chunk, sizeof chunk)) > 0;) {
        text.append(chunk, static_cast<std::size_t>(size));
    }
    ::close(fd);
    return text;
}

// The path that a line of /proc/PID/maps ends with, or nothing.
std::string_view mapped_path(std::string_view line) noexcept {
    const std::size_t slash = line.find('/');
    return slash == std::string_view::npos ? std::string_view() : line.substr(slash);
}

void collect_of(int pid, std::string_view path, std::vector<FileUser>& users) {
    const std::string base = "/proc/" + std::to_string(pid);
    std::vector<std::string> held;
    const auto note = [&](std::string target) {
        if (!is_inside(target, path)) return;
        if (held.empty() || held.back() != target) held.push_back(std::move(target));
    };
    for (const char* link : {"/cwd", "/root", "/exe"}) note(link_target(base + link));
    if (const Directory fds(::opendir((base + "/fd").c_str())); fds != nullptr) {
        while (const dirent* entry = ::readdir(fds.get())) {
            note(link_target(base + "/fd/" + entry->d_name));
        }
    }
    const std::string maps = whole_file(base + "/maps");
    for (std::string_view rest = maps; !rest.empty();) {
        const std::size_t end = rest.find('\n');
        note(std::string(mapped_path(rest.substr(0, end))));
        if (end == std::string_view::npos) break;
        rest.remove_prefix(end + 1);
    }
    if (held.empty()) return;
    std::string command = whole_file(base + "/comm");
    while (!command.empty() && command.back() == '\n') command.pop_back();
    for (std::string& target : held) users.push_back({pid, command, std::move(target)});
}

}  // namespace

std::vector<FileUser> find_file_users(std::string_view path) {
    std::vector<FileUser> users;
    const Directory proc(::opendir("/proc"));
    if (proc == nullptr) return users;
    while (const dirent* entry = ::readdir(proc.get())) {
        int pid = 0;
        const char* end = entry->d_name + std::strlen(entry->d_name);
        if (std::from_chars(entry->d_name, end, pid).ptr != end || pid == ::getpid()) continue;
        collect_of(pid, path, users);
    }
    return users;
}

}  // namespace gemel
