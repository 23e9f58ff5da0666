// SPDX-License-Identifier: Apache-2.0
// Workloads on many small files.
#include "bench/archive.hpp"
#include "bench/load.hpp"
#include "bench/posix_file.hpp"

#include <chrono>
#include <fcntl.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace gemel::bench {
namespace {

constexpr std::uint64_t kFileSize = 4 * kKiB;
constexpr std::uint64_t kFilesInDirectory = 100;
constexpr std::uint64_t kSeed = 1;

// Runs `tar` on the archive; it has to succeed.
void run_tar(const PosixFile& archive, const std::filesystem::path& target) {
    const std::string input =
        "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(archive.descriptor());
    std::string words[] = {"tar", "--extract", "--file", input, "--directory", target};
    char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                         words[4].data(), words[5].data(), nullptr};
    pid_t child = 0;
    const int error = ::posix_spawnp(&child, "tar", nullptr, nullptr, arguments, environ);
    if (error != 0) fail("tar", error);
    int status = 0;
    if (::waitpid(child, &status, 0) == -1) fail("tar", errno);
    if (status != 0) throw std::runtime_error("tar failed");
}

}  // namespace

LoadResult create_files(const LoadOptions& options) {
    const WorkDirectory work(options.directory, options.keep);
    const std::uint64_t count = options.count == 0 ? 10'000 : options.count;
    const std::uint64_t size = options.size == 0 ? kFileSize : options.size;
    Buffer buffer((size + kFileSize - 1) / kFileSize * kFileSize, kSeed);
    std::filesystem::path directory;
    std::uint64_t number = 0;
    LoadOptions whole = options;
    whole.seconds = 1e6;
    return repeat(whole, count, {[&] {
                      if (number % kFilesInDirectory == 0) {
                          directory = work.path() / std::to_string(number / kFilesInDirectory);
                          std::filesystem::create_directory(directory);
                      }
                      const PosixFile file(directory / std::to_string(number),
                                           O_WRONLY | O_CREAT | O_EXCL);
                      file.write_at(buffer.next().first(size), 0);
                      ++number;
                      return size;
                  }});
}

LoadResult extract_archive(const LoadOptions& options) {
    const WorkDirectory work(options.directory, options.keep);
    LoadResult result;
    result.count = options.count == 0 ? 20'000 : options.count;
    const PosixFile archive = make_archive(result.count, kSeed, result.bytes);
    const auto begin = std::chrono::steady_clock::now();
    run_tar(archive, work.path());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    result.seconds = taken.count();
    return result;
}

}  // namespace gemel::bench
