// SPDX-License-Identifier: Apache-2.0
#include "bench/limits.hpp"

#include "bench/posix_file.hpp"
#include "bench/result_output.hpp"
#include "bench/round_trip.hpp"
#include "engine/base/checksum.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <vector>

namespace gemel::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Keeps the compiler from leaving out what computes it.
template <typename T>
void use(const T& value) {
    asm volatile("" : : "r,m"(value) : "memory");
}

template <typename Operation>
double median_us(int count, Operation operation) {
    std::vector<double> times;
    for (int i = 0; i < count; ++i) {
        const auto begin = Clock::now();
        operation(i);
        times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    }
    std::nth_element(times.begin(), times.begin() + count / 2, times.end());
    return times[static_cast<std::size_t>(count / 2)];
}

void add_memory(nlohmann::ordered_json& object) {
    constexpr std::size_t kSize = 64 * kMiB;  // beyond the caches
    Buffer from(kSize, 1);
    Buffer to(kSize, 2);
    const double copy_us = median_us(9, [&](int) {
        std::memcpy(to.space().data(), from.space().data(), kSize);
        use(to.space().data());
    });
    const double hash_us = median_us(9, [&](int) { use(checksum64(from.space())); });
    object["memcpy_gb_per_s"] = kSize / 1e3 / copy_us;
    object["xxh3_64_gb_per_s"] = kSize / 1e3 / hash_us;
}

void add_disk(nlohmann::ordered_json& object, const std::filesystem::path& directory) {
    constexpr std::uint64_t kBlocks = 1024;
    const WorkDirectory work(directory, false);
    const PosixFile file(work.path() / "file", O_RDWR | O_CREAT | O_EXCL);
    Buffer whole(kBlocks * 4096, 1);
    file.write_at(whole.next(), 0);
    file.sync();
    Buffer block(4096, 2);
    const auto write = [&](int i) {
        file.write_at(block.next(), static_cast<std::uint64_t>(i) * 7 % kBlocks * 4096);
    };
    object["pwrite_4k_us"] = median_us(2000, write);
    file.sync();
    object["pwrite_4k_fdatasync_us"] = median_us(200, [&](int i) {
        write(i);
        file.sync_data();
    });
}

void print(const nlohmann::ordered_json& object) {
    const char* separator = "";
    for (const auto& [name, value] : object.items()) {
        fmt::print("{}{} {:.1f}", separator, name, value.get<double>());
        separator = ", ";
    }
    fmt::print("\n");
}

}  // namespace

int run_limits(const LimitsOptions& options) {
    if (!options.answer.empty()) answer_round_trips(options.answer);
    nlohmann::ordered_json object;
    add_memory(object);
    const RoundTrips trips = measure_round_trips(options.ask);
    object["round_trip_sleeping_us"] = trips.sleeping_us;
    object["round_trip_spinning_us"] = trips.spinning_us;
    object["stream_gb_per_s"] = trips.stream_bytes_per_s / 1e9;
    if (!options.directory.empty()) add_disk(object, options.directory);
    return print_result(object, options.json, print);
}

}  // namespace gemel::bench
