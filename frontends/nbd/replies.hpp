// SPDX-License-Identifier: Apache-2.0
// Replies of the transmission phase, in whichever of the three forms was agreed on: simple,
// structured or extended. Everything is appended to a buffer but the content that was read, which
// follows the header that put_data() makes.
#pragma once

#include "frontends/nbd/export.hpp"
#include "frontends/nbd/negotiation.hpp"
#include "frontends/nbd/protocol.hpp"

#include <span>
#include <string_view>

namespace gemel::nbd {

// Of the request that is answered.
struct ReplyTarget {
    bool structured = false, extended = false;
    std::uint64_t cookie = 0;
    std::uint64_t offset = 0;
};

// Success without content: the whole reply, or the last of its chunks.
void put_done(ByteBuffer& buffer, const ReplyTarget& target);
// Failure: the whole reply. `at` points out a place of a read, or is null.
void put_error(ByteBuffer& buffer, const ReplyTarget& target, Error error, std::string_view message,
               const std::uint64_t* at);
// What goes before `size` bytes read from `offset`; the reply of a simple read, or a chunk.
void put_data(ByteBuffer& buffer, const ReplyTarget& target, std::uint64_t offset,
              std::uint32_t size, bool done);
// `size` zeros at `offset`. Requires: target.structured.
void put_hole(ByteBuffer& buffer, const ReplyTarget& target, std::uint64_t offset,
              std::uint32_t size, bool done);
// Extents of one context, cut off at `length`; neighbours with equal flags become one. Requires:
// target.structured, there is an extent, length > 0.
void put_status(ByteBuffer& buffer, const ReplyTarget& target, std::uint32_t context,
                std::span<const Extent> extents, std::uint64_t length, bool done);

}  // namespace gemel::nbd
