// SPDX-License-Identifier: Apache-2.0
// The load generator: workloads of an application in a directory of any file system. Each makes
// what it needs first, then measures, one thread a writer; nothing but the operations themselves
// lies between the first reading of the clock and the last.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace gemel::bench {

struct LoadOptions {
    std::string workload;
    std::filesystem::path directory;
    double seconds = 5;       // how long, for workloads that repeat one operation
    std::uint64_t count = 0;  // at most so many operations, or so many files; 0: the usual number
    std::uint64_t size = 0;   // bytes of each file; 0: the usual size
    unsigned depth = 1;       // threads
    bool shared = false;      // the threads use one file instead of one each
    bool keep = false;        // leaves its files
    bool json = false;
};

struct LoadResult {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    double seconds = 0;                   // from the first operation's begin to the last one's end
    std::vector<std::uint32_t> times_ns;  // of each operation; empty where one alone is not seen
};

// One operation: returns the bytes it moved, or kNoMore, when it did nothing since all is done.
using Operation = std::function<std::uint64_t()>;
inline constexpr std::uint64_t kNoMore = ~std::uint64_t{0};

// Repeats each operation in a thread of its own until `options.seconds` are over, `count` are done
// (shared equally), or there is no more. Rethrows what an operation throws.
LoadResult repeat(const LoadOptions& options, std::uint64_t count, std::vector<Operation> writers);

struct Workload {
    const char* name;
    const char* about;
    LoadResult (*run)(const LoadOptions& options);
};

LoadResult write_blocks(const LoadOptions& options);
LoadResult write_blocks_synced(const LoadOptions& options);
LoadResult write_sequentially(const LoadOptions& options);
LoadResult read_cached_blocks(const LoadOptions& options);
LoadResult read_uncached_blocks(const LoadOptions& options);
LoadResult read_sequentially(const LoadOptions& options);
LoadResult create_files(const LoadOptions& options);
LoadResult extract_archive(const LoadOptions& options);

std::span<const Workload> workloads();

// Runs and prints; returns the process's exit status.
int run_load(const LoadOptions& options);

}  // namespace gemel::bench
