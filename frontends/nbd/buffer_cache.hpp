// SPDX-License-Identifier: Apache-2.0
// Payload buffers of an export that are given back and taken again: most requests are small ones of
// a few sizes, and the heap looks long for memory with the alignment of O_DIRECT. Keeps at most
// kKeptMax bytes; other sizes come from the heap and go back there.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/units.hpp"

#include <array>
#include <cstddef>
#include <vector>

namespace gemel::nbd {

class BufferCache {
   public:
    static constexpr std::size_t kSmallSize = 4 * kKiB, kSmallCount = 64;
    static constexpr std::size_t kLargeSize = 128 * kKiB, kLargeCount = 8;
    static constexpr std::size_t kKeptMax = kSmallSize * kSmallCount + kLargeSize * kLargeCount;

    BufferCache() noexcept;
    ~BufferCache();
    BufferCache(const BufferCache&) = delete;
    BufferCache& operator=(const BufferCache&) = delete;

    // As Export::take_buffer and return_buffer say.
    [[nodiscard]] MutableBytes take(std::size_t size) noexcept;
    void give_back(MutableBytes buffer) noexcept;
    // Bytes of idle buffers.
    [[nodiscard]] std::size_t kept() const noexcept;

   private:
    // Idle buffers of one size.
    struct Shelf {
        std::size_t size = 0, count_max = 0;
        std::vector<std::byte*> idle;
    };
    [[nodiscard]] Shelf* shelf_for(std::size_t size) noexcept;

    std::array<Shelf, 2> shelves_;
};

}  // namespace gemel::nbd
