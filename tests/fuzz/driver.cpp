// SPDX-License-Identifier: Apache-2.0
// main() of a fuzz target where libFuzzer is not linked: every seed input of the target's corpus
// folder, then a fixed number of mutations of them, the same ones on every run. It keeps targets
// building and known inputs passing in every ordinary test run; finding new ones is the work of the
// `fuzz` preset (tools/dev fuzz).
// Usage: TARGET CORPUS_FOLDER
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "engine/base/prng.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::uint64_t kSeed = 1;
constexpr int kMutationCount = 20'000;
constexpr std::size_t kRandomSizeMax = 4096;

std::vector<Input> read_corpus(const char* folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    std::vector<Input> inputs;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return inputs;
}

// Edges of the integer widths that length fields are made of.
std::uint8_t interesting_byte(gemel::Prng& prng) {
    constexpr std::uint8_t kBytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    return prng.one_in(2) ? kBytes[prng.below(std::size(kBytes))]
                          : static_cast<std::uint8_t>(prng.below(256));
}

void mutate(gemel::Prng& prng, Input& input) {
    const auto at = static_cast<std::size_t>(prng.below(input.size() + 1));
    const auto position = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (prng.below(4)) {
        case 0:
            input.resize(at);
            break;
        case 1:
            input.insert(position, static_cast<std::size_t>(prng.between(1, 16)),
                         interesting_byte(prng));
            break;
        case 2:
            if (position != input.end()) *position = interesting_byte(prng);
            break;
        default:
            if (position != input.end()) {
                *position = static_cast<std::uint8_t>(*position ^ (1U << prng.below(8)));
            }
    }
}

Input next_input(gemel::Prng& prng, const std::vector<Input>& corpus) {
    if (corpus.empty() || prng.one_in(8)) {
        Input input(static_cast<std::size_t>(prng.below(kRandomSizeMax)));
        for (auto& byte : input) byte = static_cast<std::uint8_t>(prng.below(256));
        return input;
    }
    Input input = corpus[static_cast<std::size_t>(prng.below(corpus.size()))];
    for (std::uint64_t left = prng.between(1, 8); left > 0; --left) mutate(prng, input);
    return input;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    const auto corpus = read_corpus(argv[1]);
    for (const auto& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
    gemel::Prng prng(kSeed);
    for (int i = 0; i < kMutationCount; ++i) {
        const Input input = next_input(prng, corpus);
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    std::printf("%zu inputs of the corpus and %d mutations\n", corpus.size(), kMutationCount);
    return 0;
}
