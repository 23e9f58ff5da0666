// SPDX-License-Identifier: Apache-2.0
// The last attributes of objects removed lately. Whoever still stands in a removed directory, or
// holds a descriptor by which nothing can be read (O_PATH), may ask for them; the object itself is
// gone on both nodes. A fixed number is remembered; older ones answer ESTALE.
#pragma once

#include "engine/store/directory_volume.hpp"

#include <array>
#include <cstddef>

namespace gemel {

class RemovedObjects {
   public:
    static constexpr std::size_t kCountMax = 256;

    // `attributes`: from before the removal.
    void remember(const Attributes& attributes) noexcept {
        Attributes& entry = entries_[next_];
        next_ = (next_ + 1) % kCountMax;
        entry = attributes;
        entry.stat.link_count = 0;
    }
    // Null: not remembered.
    [[nodiscard]] const Attributes* find(ObjectId object) const noexcept {
        for (const Attributes& entry : entries_) {
            if (entry.id == object) return &entry;
        }
        return nullptr;
    }

   private:
    std::array<Attributes, kCountMax> entries_{};
    std::size_t next_ = 0;
};

}  // namespace gemel
