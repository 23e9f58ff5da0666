// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/export.hpp"

#include <new>

namespace gemel {

MutableBytes Export::take_buffer(std::size_t size) noexcept {
    constexpr std::align_val_t kAlignment{kExportBufferAlignment};
    return {static_cast<std::byte*>(::operator new(size, kAlignment)), size};
}

void Export::return_buffer(MutableBytes buffer) noexcept {
    ::operator delete (buffer.data(), std::align_val_t{kExportBufferAlignment});
}

}  // namespace gemel
