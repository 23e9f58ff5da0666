// SPDX-License-Identifier: Apache-2.0
// The unix socket that the control server listens on, as a file.
#pragma once

#include "engine/base/status.hpp"

#include <string>

namespace gemel {

// Makes the run directory (not its parents) if it is missing and a listening socket of mode 0600
// at `path`, replacing one that nobody answers at. The caller closes the descriptor. On failure
// `sentence` says why. Errors: refused (somebody answers there, or it is no socket), too_large
// (the path), errno_failure.
Result<int> listen_on_control_socket(const std::string& run_directory, const std::string& path,
                                     std::string& sentence);
void unlink_control_socket(const std::string& path);
void close_control_socket(int listening, const std::string& path);

// Connects to see whether somebody answers: 0, or a positive errno (ENAMETOOLONG for a path that
// no socket can have).
int probe_control_socket(const std::string& path);

}  // namespace gemel
