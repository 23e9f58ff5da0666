// SPDX-License-Identifier: Apache-2.0
// Bytes that begin at a multiple of 4096, as O_DIRECT wants them whatever the disk.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace gemel {

inline constexpr std::size_t kBufferAlignment = 4096;

template <typename T>
struct AlignedAllocator {
    using value_type = T;

    AlignedAllocator() noexcept = default;
    template <typename U>
    explicit AlignedAllocator(const AlignedAllocator<U>&) noexcept {}

    T* allocate(std::size_t count) {
        return static_cast<T*>(
            ::operator new(count * sizeof(T), std::align_val_t(kBufferAlignment)));
    }
    void deallocate(T* memory, std::size_t) noexcept {
        ::operator delete(memory, std::align_val_t(kBufferAlignment));
    }
    friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) noexcept {
        return true;
    }
};

using AlignedBuffer = std::vector<std::byte, AlignedAllocator<std::byte>>;

}  // namespace gemel
