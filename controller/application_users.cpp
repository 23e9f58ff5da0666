// SPDX-License-Identifier: Apache-2.0
#include "controller/application_users.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

namespace fs = std::filesystem;
using Devices = std::vector<std::uint64_t>;

constexpr std::chrono::milliseconds kLookAgain{20};

bool has(const Devices& devices, std::uint64_t device) {
    return std::find(devices.begin(), devices.end(), device) != devices.end();
}

// Mount points are written with blanks, tabs, line ends and backslashes as \ooo.
std::string decode_path(std::string_view text) {
    std::string path;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 3 >= text.size()) {
            path += text[i];
            continue;
        }
        path += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                  (text[i + 3] - '0'));
        i += 3;
    }
    return path;
}

// Follows a link like /proc/PID/cwd to its object without asking the object's file system.
bool leads_to(const fs::path& link, const Devices& devices) {
    struct statx info {};
    if (statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &info) != 0) {
        return false;
    }
    return has(devices, makedev(info.stx_dev_major, info.stx_dev_minor));
}

bool has_descriptor_on(const fs::path& process, const Devices& devices) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(process / "fd", error)) {
        if (leads_to(entry.path(), devices)) return true;
    }
    return false;
}

bool has_mapping_on(const fs::path& process, const Devices& devices) {
    std::ifstream maps(process / "maps");
    for (std::string line; std::getline(maps, line);) {
        unsigned major = 0;
        unsigned minor = 0;
        // "55e0c8a00000-55e0c8a02000 r--p 00000000 fd:01 1835 /usr/bin/cat"
        if (std::sscanf(line.c_str(), "%*s %*s %*s %x:%x", &major, &minor) == 2 &&
            has(devices, makedev(major, minor))) {
            return true;
        }
    }
    return false;
}

bool is_user(pid_t pid, const Devices& devices) {
    const fs::path process = fs::path("/proc") / std::to_string(pid);
    return leads_to(process / "cwd", devices) || leads_to(process / "root", devices) ||
           leads_to(process / "exe", devices) || has_descriptor_on(process, devices) ||
           has_mapping_on(process, devices);
}

std::string describe(pid_t pid) {
    std::ifstream input("/proc/" + std::to_string(pid) + "/comm");
    std::string name;
    std::getline(input, name);
    return (name.empty() ? "?" : name) + " (" + std::to_string(pid) + ")";
}

// By descriptor and after another look, so that a number that meanwhile became another process's
// kills nobody else.
void kill_user(pid_t pid, const Devices& devices, KillReport& report) {
    const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (process < 0) return;
    if (is_user(pid, devices)) {
        const std::string name = describe(pid);
        if (syscall(SYS_pidfd_send_signal, process, SIGKILL, nullptr, 0) == 0 &&
            std::find(report.killed.begin(), report.killed.end(), name) == report.killed.end()) {
            report.killed.push_back(name);
        }
    }
    close(process);
}

}  // namespace

Devices fuse_mount_devices(std::string_view mountinfo,
                           const std::vector<std::string>& mount_points) {
    Devices devices;
    std::istringstream input{std::string(mountinfo)};
    for (std::string line; std::getline(input, line);) {
        // "36 35 98:0 /root /mount/point options optional... - type source options"
        std::istringstream fields(line);
        std::string id, parent, device, root, point, type;
        fields >> id >> parent >> device >> root >> point;
        const std::size_t separator = line.find(" - ");
        if (!fields || separator == std::string::npos) continue;
        std::istringstream(line.substr(separator + 3)) >> type;
        unsigned major = 0;
        unsigned minor = 0;
        if ((type != "fuse" && !type.starts_with("fuse.")) ||
            std::sscanf(device.c_str(), "%u:%u", &major, &minor) != 2) {
            continue;
        }
        const std::string path = decode_path(point);
        const bool is_wanted =
            std::find(mount_points.begin(), mount_points.end(), path) != mount_points.end();
        const std::uint64_t number = makedev(major, minor);
        if (is_wanted && !has(devices, number)) devices.push_back(number);
    }
    return devices;
}

std::vector<pid_t> find_users(const Devices& devices) {
    std::vector<pid_t> users;
    if (devices.empty()) return users;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        const pid_t pid = std::stoi(name);
        if (pid > 1 && pid != getpid() && is_user(pid, devices)) users.push_back(pid);
    }
    return users;
}

KillReport kill_users_of(const Devices& devices, Duration limit) {
    KillReport report;
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit.ns);
    for (;;) {
        const std::vector<pid_t> users = find_users(devices);
        if (users.empty()) return report;
        if (std::chrono::steady_clock::now() >= until) {
            for (const pid_t pid : users) report.remaining.push_back(describe(pid));
            return report;
        }
        for (const pid_t pid : users) kill_user(pid, devices, report);
        std::this_thread::sleep_for(kLookAgain);
    }
}

}  // namespace gemel
