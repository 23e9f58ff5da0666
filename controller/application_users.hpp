// SPDX-License-Identifier: Apache-2.0
// Who uses a mount, and their end. Nothing here sends a request to the mount's file system: paths
// are never walked, attributes are taken as they are cached (AT_STATX_DONT_SYNC), so it works while
// the server of a FUSE mount holds its requests.
#pragma once

#include "controller/application.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace gemel {

// Device numbers (makedev(3)) of the FUSE mounts exactly at the given mount points, from the text
// of /proc/PID/mountinfo. Other file systems are left out: a path whose mount is missing must never
// stand for the file system below it.
std::vector<std::uint64_t> fuse_mount_devices(std::string_view mountinfo,
                                              const std::vector<std::string>& mount_points);

// Processes, except this one, with a descriptor, mapping, executable, working or root directory on
// one of the devices.
std::vector<pid_t> find_users(const std::vector<std::uint64_t>& devices);

// Kills them and looks again until nobody is left, at most for `limit`.
KillReport kill_users_of(const std::vector<std::uint64_t>& devices, Duration limit);

}  // namespace gemel
