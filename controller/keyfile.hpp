// SPDX-License-Identifier: Apache-2.0
// The cluster key: 32 random bytes in a text file that only its owner may read:
//
//   gemel cluster key 1
//   3f0c...64 hexadecimal digits...9a
//
// Whoever has it is a node of the cluster; whoever lacks it gets nothing (promise 7).
#pragma once

#include "engine/base/status.hpp"

#include <array>
#include <cstddef>
#include <string>

namespace gemel {

using ClusterKey = std::array<std::byte, 32>;

// Draws a key and writes it to a new file of mode 0600, synced. On failure nothing is left and
// `sentence` says why. Errors: errno_failure; EEXIST: an existing file is never overwritten.
Status make_key_file(const std::string& path, std::string& sentence);

// Reads a key. Refuses a file that others may read, and one of another format, with a sentence.
Result<ClusterKey> load_key_file(const std::string& path, std::string& sentence);

}  // namespace gemel
