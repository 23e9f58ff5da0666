// SPDX-License-Identifier: Apache-2.0
// A piece of a file's content as it is compared and sent: which 4 KiB blocks hold data, and the
// data. What the file system calls a hole (also an allocated range never written, cached or not)
// and what lies behind the end of the file is no data.
#pragma once

#include "engine/base/aligned_buffer.hpp"
#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"
#include "engine/store/volume.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace gemel {

inline constexpr std::uint64_t kChunkSizeMax = kMiB;
// What a verify compares at once.
inline constexpr std::uint64_t kCheckSizeMax = 256 * kKiB;
// Dirty ranges up to this size are sent without a check.
inline constexpr std::uint64_t kSmallRange = 64 * kKiB;
inline constexpr std::uint64_t kChunkBlock = 4 * kKiB;
inline constexpr std::size_t kChunkBlocksMax = kChunkSizeMax / kChunkBlock;
// Of a block without data; no data have it but by an accident of one in 2^128.
inline constexpr Digest128 kHoleDigest{};

// [begin, end) relative to the chunk's offset; multiples of kChunkBlock, but for an end that is the
// chunk's own.
struct DataSegment {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;

    friend bool operator==(const DataSegment&, const DataSegment&) noexcept = default;
};

struct Chunk {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::vector<DataSegment> segments;  // sorted, disjoint
    AlignedBuffer data;                 // of the segments, one behind the other

    // Of data and layout: digest_of(block_digests()).
    [[nodiscard]] Digest128 digest() const;
    // Of each block, in order; kHoleDigest where there is no data.
    [[nodiscard]] std::vector<Digest128> block_digests() const;
};

// What a block of zeros is.
enum class Zeros : std::uint8_t {
    data,     // of a file: content, where it was written
    nothing,  // of a block volume: what a disk has allocated is none of its content
};
Zeros zeros_of(Volume& volume) noexcept;

// One digest for a piece of that size with these blocks: data and layout.
Digest128 digest_of(std::uint64_t size, std::span<const Digest128> blocks) noexcept;

// Where the first data at or behind `offset` begin, at most `limit`.
Result<std::uint64_t> next_data(Vfs& vfs, Fd file, std::uint64_t offset,
                                std::uint64_t limit) noexcept;

// Reads [offset, offset + size) into `chunk`, whose buffers are reused.
// Requires: 0 < size <= kChunkSizeMax, offset is a multiple of kChunkBlock.
Status read_chunk(Vfs& vfs, Fd file, std::uint64_t offset, std::uint64_t size, Zeros zeros,
                  Chunk& chunk) noexcept;

}  // namespace gemel
