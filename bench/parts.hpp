// SPDX-License-Identifier: Apache-2.0
// Micro-benchmarks of the parts, with Google Benchmark. A limit, that is, the bare thing that a
// part cannot be faster than, stands before it under a name that begins with "limit".
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace gemel::bench {

struct PartsOptions {
    std::filesystem::path directory = "/var/tmp";  // for the parts that write files
    std::vector<std::string> flags;                // Google Benchmark's own
};

void add_codec_parts();  // frames, ops, digests, compression
void add_fuse_parts();   // requests and replies of the kernel
void add_store_parts(const std::filesystem::path& directory);

// Runs all; returns the process's exit status.
int run_parts(const PartsOptions& options);

}  // namespace gemel::bench
