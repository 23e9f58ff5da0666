// SPDX-License-Identifier: Apache-2.0
// Which processes hold something below a directory. Asked before a directory is covered: what is
// open then stays open on the bare tree, and changes made through it would not be replicated.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gemel {

struct FileUser {
    int pid = 0;
    std::string command;  // /proc/PID/comm
    std::string path;     // what it holds, as the kernel names it
};

// Descriptors, working and root directories, and mappings at or below `path` (without symbolic
// links) of all processes but this one. Reads /proc alone and touches no file below `path`; what
// other users' or namespaces' processes hold is seen as far as this process may.
std::vector<FileUser> find_file_users(std::string_view path);

}  // namespace gemel
