// SPDX-License-Identifier: Apache-2.0
// Workloads on the content of files.
#include "bench/load.hpp"
#include "bench/posix_file.hpp"
#include "engine/base/prng.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <limits>
#include <memory>
#include <numeric>
#include <system_error>

namespace gemel::bench {
namespace {

constexpr std::uint64_t kBlock = 4 * kKiB;
constexpr std::uint64_t kStep = kMiB;
constexpr std::uint64_t kSeed = 1;
constexpr std::uint64_t kEndless = std::numeric_limits<std::uint64_t>::max() / 2;

std::uint64_t or_else(std::uint64_t wanted, std::uint64_t usual) {
    return wanted == 0 ? usual : wanted;
}

// Writes `size` bytes, a multiple of 1 MiB, and syncs them.
void fill(const PosixFile& file, std::uint64_t size) {
    Buffer buffer(kStep, kSeed);
    for (std::uint64_t at = 0; at < size; at += kStep) file.write_at(buffer.next(), at);
    file.sync();
}

std::uint64_t whole_steps(std::uint64_t size) { return (size + kStep - 1) / kStep * kStep; }

// The files that the writers use, written and synced: one each, or the same for all.
std::vector<std::filesystem::path> make_files(const LoadOptions& options, const WorkDirectory& work,
                                              std::uint64_t size) {
    std::vector<std::filesystem::path> paths;
    for (unsigned i = 0; i < options.depth; ++i) {
        paths.push_back(work.path() / std::to_string(options.shared ? 0 : i));
        if (i > 0 && options.shared) continue;
        fill(PosixFile(paths.back(), O_RDWR | O_CREAT | O_EXCL), size);
    }
    return paths;
}

// The usual 64 MiB are divided among the writers' files.
std::uint64_t size_of_each(const LoadOptions& options) {
    const std::uint64_t usual = 64 * kMiB / (options.shared ? 1 : options.depth);
    return whole_steps(std::max(or_else(options.size, usual), kStep));
}

LoadResult write_random_blocks(const LoadOptions& options, bool synced) {
    const WorkDirectory work(options.directory, options.keep);
    const std::uint64_t size = size_of_each(options);
    std::vector<Operation> writers;
    std::uint64_t seed = kSeed;
    for (const auto& path : make_files(options, work, size)) {
        writers.push_back([file = std::make_shared<PosixFile>(path, O_WRONLY),
                           buffer = std::make_shared<Buffer>(kBlock, seed), prng = Prng(seed),
                           blocks = size / kBlock, synced]() mutable {
            file->write_at(buffer->next(), prng.below(blocks) * kBlock);
            if (synced) file->sync();
            return kBlock;
        });
        ++seed;
    }
    return repeat(options, or_else(options.count, kEndless), std::move(writers));
}

// O_DIRECT where the file system has it.
PosixFile open_uncached(const std::filesystem::path& path) {
    try {
        return PosixFile(path, O_RDONLY | O_DIRECT);
    } catch (const std::system_error& error) {
        if (error.code().value() != EINVAL) throw;
        return PosixFile(path, O_RDONLY);
    }
}

std::vector<std::uint64_t> shuffled(std::uint64_t count, Prng& prng) {
    std::vector<std::uint64_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), std::uint64_t{0});
    for (std::uint64_t i = count; i > 1; --i) std::swap(numbers[i - 1], numbers[prng.below(i)]);
    return numbers;
}

}  // namespace

LoadResult write_blocks(const LoadOptions& options) { return write_random_blocks(options, false); }

LoadResult write_blocks_synced(const LoadOptions& options) {
    return write_random_blocks(options, true);
}

LoadResult write_sequentially(const LoadOptions& options) {
    const WorkDirectory work(options.directory, options.keep);
    const std::uint64_t size = whole_steps(or_else(options.size, 512 * kMiB));
    const PosixFile file(work.path() / "file", O_WRONLY | O_CREAT | O_EXCL);
    Buffer buffer(kStep, kSeed);
    LoadOptions whole = options;
    whole.seconds = 1e6;
    std::uint64_t at = 0;
    return repeat(whole, size / kStep, {[&] {
                      file.write_at(buffer.next(), at);
                      at += kStep;
                      if (at == size) file.sync();
                      return kStep;
                  }});
}

LoadResult read_cached_blocks(const LoadOptions& options) {
    const WorkDirectory work(options.directory, options.keep);
    const std::uint64_t size = size_of_each(options);
    std::vector<Operation> readers;
    std::uint64_t seed = kSeed;
    for (const auto& path : make_files(options, work, size)) {
        auto file = std::make_shared<PosixFile>(path, O_RDONLY);
        Buffer whole(kStep, seed);
        for (std::uint64_t at = 0; at < size; at += kStep) file->read_at(whole.space(), at);
        readers.push_back([file, buffer = std::make_shared<Buffer>(kBlock, seed), prng = Prng(seed),
                           blocks = size / kBlock]() mutable {
            file->read_at(buffer->space(), prng.below(blocks) * kBlock);
            return kBlock;
        });
        ++seed;
    }
    return repeat(options, or_else(options.count, kEndless), std::move(readers));
}

LoadResult read_uncached_blocks(const LoadOptions& options) {
    const WorkDirectory work(options.directory, options.keep);
    const std::uint64_t size = whole_steps(or_else(options.size, kGiB / options.depth));
    const auto paths = make_files(options, work, size);
    drop_page_cache();
    std::vector<Operation> readers;
    std::uint64_t seed = kSeed;
    for (const auto& path : paths) {
        Prng prng(seed);
        readers.push_back([file = std::make_shared<PosixFile>(open_uncached(path)),
                           buffer = std::make_shared<Buffer>(kBlock, seed),
                           blocks = shuffled(size / kBlock, prng)]() mutable {
            if (blocks.empty()) return kNoMore;
            file->read_at(buffer->space(), blocks.back() * kBlock);
            blocks.pop_back();
            return kBlock;
        });
        ++seed;
    }
    return repeat(options, or_else(options.count, kEndless), std::move(readers));
}

LoadResult read_sequentially(const LoadOptions& options) {
    const WorkDirectory work(options.directory, options.keep);
    const std::uint64_t size = whole_steps(or_else(options.size, 512 * kMiB));
    const auto path = work.path() / "file";
    fill(PosixFile(path, O_RDWR | O_CREAT | O_EXCL), size);
    drop_page_cache();
    const PosixFile file(path, O_RDONLY);
    Buffer buffer(kStep, kSeed);
    LoadOptions whole = options;
    whole.seconds = 1e6;
    std::uint64_t at = 0;
    return repeat(whole, size / kStep, {[&] {
                      file.read_at(buffer.space(), at);
                      at += kStep;
                      return kStep;
                  }});
}

}  // namespace gemel::bench
