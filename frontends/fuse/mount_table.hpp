// SPDX-License-Identifier: Apache-2.0
// The mounts of the calling thread's namespace, as /proc/thread-self/mountinfo lists them
// (proc(5)). Reading the list touches no file system, so a dead FUSE mount cannot make it wait.
#pragma once

#include "engine/base/status.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

struct MountEntry {
    std::uint64_t id = 0, parent = 0;
    std::uint32_t device_major = 0, device_minor = 0;
    std::string root;    // of the mount, inside its file system
    std::string target;  // where it is mounted
    std::string type;    // with the subtype: "fuse.gemel"
    std::string source;
};

// Lines that cannot be understood are left out.
std::vector<MountEntry> parse_mount_table(std::string_view text);
Result<std::vector<MountEntry>> read_mount_table() noexcept;

// What is mounted exactly at `path`, lowest first; the last one is what the path shows.
std::vector<MountEntry> layers_at(const std::vector<MountEntry>& mounts, std::string_view path);
// True for `path` itself and what is below it.
bool is_inside(std::string_view inner, std::string_view path) noexcept;

}  // namespace gemel
