// SPDX-License-Identifier: Apache-2.0
#include "bench/parts.hpp"

#include "bench/posix_file.hpp"

#include <benchmark/benchmark.h>

namespace gemel::bench {

int run_parts(const PartsOptions& options) {
    std::vector<std::string> words = {"gemel-bench parts"};
    words.insert(words.end(), options.flags.begin(), options.flags.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    int count = static_cast<int>(pointers.size());
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;

    const WorkDirectory work(options.directory, false);
    add_codec_parts();
    add_store_parts(work.path());
    add_fuse_parts();
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

}  // namespace gemel::bench
