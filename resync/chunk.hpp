// SPDX-License-Identifier: Apache-2.0
// A piece of a file's content as it is compared and sent: which 4 KiB blocks hold data, and the
// data. What the file system calls a hole (also an allocated range never written) and what lies
// behind the end of the file is no data.
#pragma once

#include "engine/base/aligned_buffer.hpp"
#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <vector>

namespace gemel {

inline constexpr std::uint64_t kChunkSizeMax = kMiB;
// What is compared at once: a small change of a file costs so much.
inline constexpr std::uint64_t kCheckSizeMax = 256 * kKiB;
inline constexpr std::uint64_t kChunkBlock = 4 * kKiB;

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

    [[nodiscard]] Digest128 digest() const;
    // Blocks of zeros count as no data: what a disk has allocated is none of a block volume's
    // content.
    void drop_zeros();
};

// Where the first data at or behind `offset` begin, at most `limit`.
Result<std::uint64_t> next_data(Vfs& vfs, Fd file, std::uint64_t offset,
                                std::uint64_t limit) noexcept;

// Reads [offset, offset + size) into `chunk`, whose buffers are reused.
// Requires: 0 < size <= kChunkSizeMax, offset is a multiple of kChunkBlock.
Status read_chunk(Vfs& vfs, Fd file, std::uint64_t offset, std::uint64_t size,
                  Chunk& chunk) noexcept;

}  // namespace gemel
