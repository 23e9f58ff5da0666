// SPDX-License-Identifier: Apache-2.0
#include "bench/load.hpp"

#include "bench/result_output.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <numeric>
#include <stdexcept>

namespace gemel::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Workload kWorkloads[] = {
    {"write4k", "4 KiB writes at random offsets of a file that is there", write_blocks},
    {"write4k-fsync", "the same, each followed by fsync", write_blocks_synced},
    {"seq1m", "a new file, in writes of 1 MiB, with a last fsync", write_sequentially},
    {"read4k-cached", "4 KiB reads at random offsets of a file just read", read_cached_blocks},
    {"read4k-uncached", "the same with O_DIRECT and caches dropped, no block twice",
     read_uncached_blocks},
    {"seqread", "a file from its begin to its end, caches dropped", read_sequentially},
    {"create", "files of 4 KiB, a hundred to a directory", create_files},
    {"untar", "tar extracts files of 256 bytes to 64 KiB in nested directories", extract_archive},
};

double seconds_between(Clock::time_point begin, Clock::time_point end) {
    return std::chrono::duration<double>(end - begin).count();
}

LoadResult repeat_one(Clock::time_point end, std::uint64_t count, const Operation& operation) {
    LoadResult result;
    result.times_ns.reserve(1 << 16);
    auto before = Clock::now();
    while (result.count < count && before < end) {
        const std::uint64_t bytes = operation();
        if (bytes == kNoMore) break;
        const auto after = Clock::now();
        result.times_ns.push_back(static_cast<std::uint32_t>(
            std::min<std::int64_t>(std::chrono::nanoseconds(after - before).count(), UINT32_MAX)));
        result.bytes += bytes;
        ++result.count;
        before = after;
    }
    return result;
}

// The time below which `share` of them lie. Requires: sorted.
double percentile_us(const std::vector<std::uint32_t>& times, double share) {
    if (times.empty()) return 0;
    const auto last = static_cast<double>(times.size() - 1);
    return times[static_cast<std::size_t>(last * share)] / 1e3;
}

nlohmann::ordered_json describe(const LoadOptions& options, LoadResult result) {
    std::sort(result.times_ns.begin(), result.times_ns.end());
    const auto count = static_cast<double>(result.count);
    const auto bytes = static_cast<double>(result.bytes);
    nlohmann::ordered_json object;
    object["workload"] = options.workload;
    object["depth"] = options.depth;
    object["count"] = result.count;
    object["bytes"] = result.bytes;
    object["seconds"] = result.seconds;
    object["ops_per_s"] = result.seconds > 0 ? count / result.seconds : 0;
    object["mb_per_s"] = result.seconds > 0 ? bytes / 1e6 / result.seconds : 0;
    object["p50_us"] = percentile_us(result.times_ns, 0.5);
    object["p99_us"] = percentile_us(result.times_ns, 0.99);
    object["max_us"] = percentile_us(result.times_ns, 1);
    return object;
}

void print(const nlohmann::ordered_json& object) {
    fmt::print("{} depth {}: {} operations, {:.2f} s, {:.1f}/s, {:.1f} MB/s",
               object["workload"].get<std::string>(), object["depth"].get<unsigned>(),
               object["count"].get<std::uint64_t>(), object["seconds"].get<double>(),
               object["ops_per_s"].get<double>(), object["mb_per_s"].get<double>());
    if (object["max_us"].get<double>() > 0) {
        fmt::print(", p50 {:.1f} us, p99 {:.1f} us, max {:.1f} us", object["p50_us"].get<double>(),
                   object["p99_us"].get<double>(), object["max_us"].get<double>());
    }
    fmt::print("\n");
}

}  // namespace

LoadResult repeat(const LoadOptions& options, std::uint64_t count, std::vector<Operation> writers) {
    const std::uint64_t share = (count + writers.size() - 1) / writers.size();
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(options.seconds));
    std::vector<std::future<LoadResult>> running;
    for (std::size_t i = 1; i < writers.size(); ++i) {
        running.push_back(std::async(std::launch::async, repeat_one, end, share, writers[i]));
    }
    LoadResult all = repeat_one(end, share, writers[0]);
    for (auto& future : running) {
        const LoadResult one = future.get();
        all.count += one.count;
        all.bytes += one.bytes;
        all.times_ns.insert(all.times_ns.end(), one.times_ns.begin(), one.times_ns.end());
    }
    all.seconds = seconds_between(begin, Clock::now());
    return all;
}

std::span<const Workload> workloads() { return kWorkloads; }

int run_load(const LoadOptions& options) {
    const auto named = [&](const Workload& workload) { return workload.name == options.workload; };
    const auto* const workload = std::find_if(std::begin(kWorkloads), std::end(kWorkloads), named);
    if (workload == std::end(kWorkloads)) {
        throw std::invalid_argument(fmt::format("no workload '{}'", options.workload));
    }
    return print_result(describe(options, workload->run(options)), options.json, print);
}

}  // namespace gemel::bench
