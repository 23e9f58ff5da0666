// SPDX-License-Identifier: Apache-2.0
#include "bench/archive.hpp"

#include "engine/base/prng.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <numeric>
#include <string_view>
#include <sys/mman.h>

namespace gemel::bench {
namespace {

constexpr std::uint64_t kTarBlock = 512;
constexpr std::uint64_t kLargest = 64 * kKiB;
constexpr std::uint64_t kFilesInDirectory = 20;
constexpr std::uint64_t kDirectoriesInDirectory = 10;
constexpr std::uint64_t kFirstTime = 1'600'000'000;

class Writer {
   public:
    Writer(const PosixFile& file, std::uint64_t seed) : file_(file), content_(kLargest, seed) {}

    // type '5' is a directory, '0' a file with `size` bytes.
    void entry(std::string_view name, char type, unsigned mode, std::uint64_t size) {
        std::array<char, kTarBlock> header{};
        const auto put = [&](std::size_t at, std::string_view text) {
            std::memcpy(header.data() + at, text.data(), text.size());
        };
        put(0, name);
        put(100, fmt::format("{:07o}", mode));
        put(108, "0000000");  // owner and group
        put(116, "0000000");
        put(124, fmt::format("{:011o}", size));
        put(136, fmt::format("{:011o}", kFirstTime + number_++));
        put(148, "        ");
        header[156] = type;
        put(257, std::string_view("ustar\00000", 8));
        const unsigned sum = std::accumulate(
            header.begin(), header.end(), 0U,
            [](unsigned so_far, char c) { return so_far + static_cast<unsigned char>(c); });
        put(148, fmt::format("{:06o}", sum));
        header[154] = '\0';
        append(std::as_bytes(std::span(header)));
        if (size > 0) append(content_.next().first(round_up(size)));
    }

    // The two empty blocks that end an archive.
    void finish() {
        const std::array<std::byte, 2 * kTarBlock> nothing{};
        append(nothing);
    }

   private:
    static std::uint64_t round_up(std::uint64_t size) {
        return (size + kTarBlock - 1) / kTarBlock * kTarBlock;
    }
    void append(Bytes data) {
        file_.write_at(data, at_);
        at_ += data.size();
    }

    const PosixFile& file_;
    Buffer content_;
    std::uint64_t at_ = 0;
    std::uint64_t number_ = 0;
};

}  // namespace

PosixFile make_archive(std::uint64_t files, std::uint64_t seed, std::uint64_t& bytes) {
    PosixFile archive = PosixFile::in_memory("archive");
    Writer writer(archive, seed);
    Prng prng(seed);
    std::string directory;
    bytes = 0;
    for (std::uint64_t i = 0; i < files; ++i) {
        if (i % kFilesInDirectory == 0) {
            const std::uint64_t number = i / kFilesInDirectory;
            const std::uint64_t middle = number / kDirectoriesInDirectory;
            const std::uint64_t outer = middle / kDirectoriesInDirectory;
            directory = fmt::format("tree{}/part{}/sub{}/", outer, middle, number);
            if (middle % kDirectoriesInDirectory == 0 && number % kDirectoriesInDirectory == 0) {
                writer.entry(fmt::format("tree{}/", outer), '5', 0755, 0);
            }
            if (number % kDirectoriesInDirectory == 0) {
                writer.entry(fmt::format("tree{}/part{}/", outer, middle), '5', 0750, 0);
            }
            writer.entry(directory, '5', 0755, 0);
        }
        const double exponent = static_cast<double>(prng.below(8'000)) / 1'000;  // 256 << 0..8
        const auto size = static_cast<std::uint64_t>(256 * std::exp2(exponent));
        writer.entry(fmt::format("{}file{}.c", directory, i), '0', i % 7 == 0 ? 0755U : 0644U,
                     size);
        bytes += size;
    }
    writer.finish();
    return archive;
}

}  // namespace gemel::bench
