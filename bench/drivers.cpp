// SPDX-License-Identifier: Apache-2.0
#include "bench/drivers.hpp"

#include "bench/posix_file.hpp"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <unistd.h>

namespace gemel::bench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPython = "/usr/bin/python3";

// As installed beside PREFIX/bin, else as it was built: in PREFIX/bin there may be another version
// than in the source tree.
fs::path find_driver(const fs::path& binaries, const std::string& name) {
    const fs::path file = fs::path("bench") / (name + ".py");
    for (const fs::path& place :
         {binaries.parent_path() / GEMEL_BENCH_SHARE, fs::path(GEMEL_BENCH_SOURCE)}) {
        if (fs::exists(place / file)) return place / file;
    }
    throw std::runtime_error(file.string() + " is neither installed nor in the source tree");
}

}  // namespace

void run_driver(const std::string& name, const std::vector<std::string>& arguments) {
    const fs::path binaries = fs::read_symlink("/proc/self/exe").parent_path();
    std::vector<std::string> words = {kPython, "-B", find_driver(binaries, name)};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::setenv("GEMEL_BIN", binaries.c_str(), 1);
    ::execv(kPython, pointers.data());
    fail(kPython, errno);
}

}  // namespace gemel::bench
