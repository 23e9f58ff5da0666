// SPDX-License-Identifier: Apache-2.0
// The sizes are those that malloc gives, so nothing has to be stored beside a block.
#include "tests/sim/counted_heap.hpp"

#include <cstddef>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace {

std::uint64_t in_use = 0;

void* take(std::size_t size, std::size_t alignment) noexcept {
    void* block = nullptr;
    if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
        block = std::malloc(size);
    } else if (posix_memalign(&block, alignment, size) != 0) {
        block = nullptr;
    }
    if (block == nullptr) std::abort();
    in_use += malloc_usable_size(block);
    return block;
}

void give_back(void* block) noexcept {
    if (block == nullptr) return;
    in_use -= malloc_usable_size(block);
    std::free(block);
}

}  // namespace

// The forms that the others of the standard library lead to.
void* operator new(std::size_t size) { return take(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    return take(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { give_back(block); }
void operator delete(void* block, std::size_t) noexcept { give_back(block); }
void operator delete(void* block, std::align_val_t) noexcept { give_back(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { give_back(block); }

namespace gemel::sim {

std::uint64_t heap_in_use() noexcept { return in_use; }

}  // namespace gemel::sim
