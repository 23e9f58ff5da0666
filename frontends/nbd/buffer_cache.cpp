// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/buffer_cache.hpp"

#include "engine/base/assert.hpp"
#include "frontends/nbd/export.hpp"

#include <new>

namespace gemel::nbd {
namespace {

constexpr std::align_val_t kAlignment{kExportBufferAlignment};

std::byte* from_heap(std::size_t size) noexcept {
    return static_cast<std::byte*>(::operator new(size, kAlignment));
}

}  // namespace

BufferCache::BufferCache() noexcept
    : shelves_{Shelf{kSmallSize, kSmallCount, {}}, Shelf{kLargeSize, kLargeCount, {}}} {
    for (Shelf& shelf : shelves_) shelf.idle.reserve(shelf.count_max);
}

BufferCache::~BufferCache() {
    for (Shelf& shelf : shelves_) {
        for (std::byte* memory : shelf.idle) ::operator delete(memory, kAlignment);
    }
}

// Null: it comes from the heap. One of the larger shelf is not taken for much less than it holds,
// so that what is in use stays near to what the server counts.
BufferCache::Shelf* BufferCache::shelf_for(std::size_t size) noexcept {
    for (Shelf& shelf : shelves_) {
        if (size <= shelf.size && size > shelf.size / 2) return &shelf;
    }
    return nullptr;
}

MutableBytes BufferCache::take(std::size_t size) noexcept {
    GEMEL_ASSERT(size > 0);
    Shelf* shelf = shelf_for(size);
    if (shelf == nullptr) return {from_heap(size), size};
    if (shelf->idle.empty()) return {from_heap(shelf->size), size};
    std::byte* memory = shelf->idle.back();
    shelf->idle.pop_back();
    return {memory, size};
}

void BufferCache::give_back(MutableBytes buffer) noexcept {
    Shelf* shelf = shelf_for(buffer.size());
    if (shelf != nullptr && shelf->idle.size() < shelf->count_max) {
        shelf->idle.push_back(buffer.data());
    } else {
        ::operator delete(buffer.data(), kAlignment);
    }
}

std::size_t BufferCache::kept() const noexcept {
    std::size_t bytes = 0;
    for (const Shelf& shelf : shelves_) bytes += shelf.idle.size() * shelf.size;
    return bytes;
}

}  // namespace gemel::nbd
