// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/replies.hpp"

#include "frontends/nbd/wire.hpp"

#include <algorithm>
#include <vector>

namespace gemel::nbd {
namespace {

// The longest extent that fits a 32-bit descriptor and is a multiple of every block size.
constexpr std::uint64_t kCompactExtentMax = std::uint64_t{0xffff0000};

void put_chunk_header(WireWriter& writer, const ReplyTarget& target, Chunk type, bool done,
                      std::uint64_t payload) {
    GEMEL_ASSERT(target.structured);
    writer.put(target.extended ? kExtendedReplyMagic : kStructuredReplyMagic);
    writer.put(done ? kReplyDone : std::uint16_t{0});
    writer.put(type);
    writer.put(target.cookie);
    if (target.extended) {
        writer.put(target.offset);
        writer.put(payload);
    } else {
        writer.put(static_cast<std::uint32_t>(payload));
    }
}

void put_simple_header(WireWriter& writer, const ReplyTarget& target, Error error) {
    writer.put(kSimpleReplyMagic);
    writer.put(error);
    writer.put(target.cookie);
}

// Merged and cut off; the compact form splits what does not fit it.
std::vector<Extent> tidy_extents(std::span<const Extent> extents, std::uint64_t length,
                                 bool extended) {
    std::vector<Extent> result;
    for (const Extent& extent : extents) {
        std::uint64_t size = std::min(extent.size, length);
        length -= size;
        while (size > 0) {
            const bool grows = !result.empty() && result.back().flags == extent.flags;
            const std::uint64_t limit = extended ? size : kCompactExtentMax;
            if (grows && (extended || result.back().size < limit)) {
                const std::uint64_t part =
                    extended ? size : std::min(size, limit - result.back().size);
                result.back().size += part;
                size -= part;
            } else {
                result.push_back({std::min(size, limit), extent.flags});
                size -= result.back().size;
            }
        }
    }
    return result;
}

}  // namespace

void put_done(ByteBuffer& buffer, const ReplyTarget& target) {
    WireWriter writer(buffer);
    if (target.structured) {
        put_chunk_header(writer, target, Chunk::none, true, 0);
    } else {
        put_simple_header(writer, target, Error::none);
    }
}

void put_error(ByteBuffer& buffer, const ReplyTarget& target, Error error, std::string_view message,
               const std::uint64_t* at) {
    GEMEL_ASSERT(error != Error::none && message.size() <= kStringMax);
    WireWriter writer(buffer);
    if (!target.structured) return put_simple_header(writer, target, error);
    const std::size_t fixed = at == nullptr ? 6 : 14;
    put_chunk_header(writer, target, at == nullptr ? Chunk::error : Chunk::error_offset, true,
                     fixed + message.size());
    writer.put(error);
    writer.put(static_cast<std::uint16_t>(message.size()));
    writer.text(message);
    if (at != nullptr) writer.put(*at);
}

void put_data(ByteBuffer& buffer, const ReplyTarget& target, std::uint64_t offset,
              std::uint32_t size, bool done) {
    WireWriter writer(buffer);
    if (!target.structured) return put_simple_header(writer, target, Error::none);
    put_chunk_header(writer, target, Chunk::offset_data, done, sizeof offset + std::uint64_t{size});
    writer.put(offset);
}

void put_hole(ByteBuffer& buffer, const ReplyTarget& target, std::uint64_t offset,
              std::uint32_t size, bool done) {
    GEMEL_ASSERT(size > 0);
    WireWriter writer(buffer);
    put_chunk_header(writer, target, Chunk::offset_hole, done, sizeof offset + sizeof size);
    writer.put(offset);
    writer.put(size);
}

void put_status(ByteBuffer& buffer, const ReplyTarget& target, std::uint32_t context,
                std::span<const Extent> extents, std::uint64_t length, bool done) {
    const std::vector<Extent> tidy = tidy_extents(extents, length, target.extended);
    GEMEL_ASSERT(!tidy.empty());
    WireWriter writer(buffer);
    const auto count = static_cast<std::uint32_t>(tidy.size());
    if (target.extended) {
        put_chunk_header(writer, target, Chunk::block_status_extended, done, 8 + count * 16ULL);
        writer.put(context);
        writer.put(count);
    } else {
        put_chunk_header(writer, target, Chunk::block_status, done, 4 + count * 8ULL);
        writer.put(context);
    }
    for (const Extent& extent : tidy) {
        if (target.extended) {
            writer.put(extent.size);
            writer.put(std::uint64_t{extent.flags});
        } else {
            writer.put(static_cast<std::uint32_t>(extent.size));
            writer.put(extent.flags);
        }
    }
}

}  // namespace gemel::nbd
