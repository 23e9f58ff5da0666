// SPDX-License-Identifier: Apache-2.0
// What the machine itself can do, measured in the same run as what is built on it.
#pragma once

#include <filesystem>
#include <string>

namespace gemel::bench {

struct LimitsOptions {
    std::filesystem::path directory;  // empty: nothing of a disk
    std::string answer;               // answers round trips on this address until it is ended
    std::string ask;                  // measures round trips to this address; empty: loopback
    bool json = false;
};

// memcpy, XXH3, a TCP round trip (4 KiB there, one byte back) sleeping and spinning, a TCP
// stream, and on the directory's file system a 4 KiB pwrite and the fdatasync behind it. Returns
// the exit status.
int run_limits(const LimitsOptions& options);

}  // namespace gemel::bench
