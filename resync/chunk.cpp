// SPDX-License-Identifier: Apache-2.0
#include "resync/chunk.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/whole_transfer.hpp"

#include <algorithm>
#include <cstring>
#include <unistd.h>

namespace gemel {

namespace {

// The bytes of one segment; what a file cut short meanwhile no longer has reads as zeros.
Status read_segment(Vfs& vfs, Fd file, std::uint64_t offset, MutableBytes buffer) noexcept {
    const Result<std::size_t> size = read_fully(vfs, file, buffer, offset);
    if (!size.ok()) return size.status();
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(size.value()), buffer.end(),
              std::byte{0});
    return Status();
}

bool is_zero(Bytes block) noexcept {
    return block[0] == std::byte{0} &&
           std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

// Calls visit(where in the chunk, content) for each block that holds data.
template <typename Visit>
void for_each_block(const Chunk& chunk, Visit visit) {
    std::size_t from = 0;
    for (const DataSegment& segment : chunk.segments) {
        for (std::uint32_t begin = segment.begin; begin < segment.end;) {
            const auto step = static_cast<std::uint32_t>(
                std::min<std::uint64_t>(kChunkBlock, segment.end - begin));
            visit(DataSegment{begin, begin + step}, Bytes(chunk.data).subspan(from, step));
            from += step;
            begin += step;
        }
    }
}

// Blocks of zeros for which `is_nothing` holds are no data any more.
template <typename IsNothing>
void drop_zeros(Chunk& chunk, IsNothing is_nothing) {
    std::vector<DataSegment> kept;
    std::size_t size = 0;
    for_each_block(chunk, [&](DataSegment where, Bytes block) {
        if (is_zero(block) && is_nothing(where)) return;
        if (!kept.empty() && kept.back().end == where.begin) {
            kept.back().end = where.end;
        } else {
            kept.push_back(where);
        }
        std::memmove(chunk.data.data() + size, block.data(), block.size());
        size += block.size();
    });
    chunk.segments = std::move(kept);
    chunk.data.resize(size);
}

// Zeros that are in the page cache only because somebody read what was never written.
void drop_unwritten(Vfs& vfs, Fd file, Chunk& chunk) {
    bool has_zeros = false;
    for_each_block(chunk, [&](DataSegment, Bytes block) { has_zeros |= is_zero(block); });
    if (!has_zeros) return;
    const std::vector<FileRange> unwritten =
        vfs.unwritten(file, {chunk.offset, chunk.offset + chunk.size});
    if (unwritten.empty()) return;
    drop_zeros(chunk, [&](DataSegment where) {
        const std::uint64_t begin = chunk.offset + where.begin;
        const std::uint64_t end = chunk.offset + where.end;
        return std::any_of(unwritten.begin(), unwritten.end(), [&](const FileRange& range) {
            return range.begin <= begin && end <= range.end;
        });
    });
}

}  // namespace

Digest128 Chunk::digest() const { return digest_of(size, block_digests()); }

std::vector<Digest128> Chunk::block_digests() const {
    std::vector<Digest128> blocks((size + kChunkBlock - 1) / kChunkBlock, kHoleDigest);
    for_each_block(*this, [&](DataSegment where, Bytes block) {
        blocks[where.begin / kChunkBlock] = digest128(block);
    });
    return blocks;
}

Digest128 digest_of(std::uint64_t size, std::span<const Digest128> blocks) noexcept {
    static_assert(sizeof(Digest128) == 16);
    return digest128(std::as_bytes(blocks), size);
}

Zeros zeros_of(Volume& volume) noexcept {
    return volume.as_block() == nullptr ? Zeros::data : Zeros::nothing;
}

Result<std::uint64_t> next_data(Vfs& vfs, Fd file, std::uint64_t offset,
                                std::uint64_t limit) noexcept {
    const Result<std::uint64_t> data = vfs.seek(file, offset, SEEK_DATA);
    if (data.ok()) return std::min(data.value(), limit);
    if (data.status().is_errno(ENXIO)) return limit;
    return data.status();
}

Status read_chunk(Vfs& vfs, Fd file, std::uint64_t offset, std::uint64_t size, Zeros zeros,
                  Chunk& chunk) noexcept {
    GEMEL_ASSERT(size > 0 && size <= kChunkSizeMax && offset % kChunkBlock == 0);
    chunk.offset = offset;
    chunk.size = size;
    chunk.segments.clear();
    chunk.data.clear();
    const std::uint64_t limit = offset + size;
    for (std::uint64_t position = offset; position < limit;) {
        const Result<std::uint64_t> data = next_data(vfs, file, position, limit);
        if (!data.ok()) return data.status();
        if (data.value() == limit) break;
        const Result<std::uint64_t> hole = vfs.seek(file, data.value(), SEEK_HOLE);
        if (!hole.ok() && !hole.status().is_errno(ENXIO)) return hole.status();
        // Cut short between the two calls: no data there any more.
        if (!hole.ok() || hole.value() <= data.value()) break;
        // Blocks that hold any data, whatever granularity the file system has.
        const std::uint64_t begin = (data.value() - offset) / kChunkBlock * kChunkBlock;
        const std::uint64_t end =
            std::min((hole.value() - offset + kChunkBlock - 1) / kChunkBlock * kChunkBlock, size);
        if (!chunk.segments.empty() && chunk.segments.back().end >= begin) {
            chunk.segments.back().end = static_cast<std::uint32_t>(end);
        } else {
            chunk.segments.push_back(
                {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
        }
        position = offset + end;
    }
    for (const DataSegment& segment : chunk.segments) {
        const std::size_t old_size = chunk.data.size();
        chunk.data.resize(old_size + (segment.end - segment.begin));
        GEMEL_TRY(read_segment(vfs, file, offset + segment.begin,
                               MutableBytes(chunk.data).subspan(old_size)));
    }
    if (zeros == Zeros::nothing) {
        drop_zeros(chunk, [](DataSegment) { return true; });
    } else {
        drop_unwritten(vfs, file, chunk);
    }
    return Status();
}

}  // namespace gemel
