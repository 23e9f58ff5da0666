// SPDX-License-Identifier: Apache-2.0
// A set of object ids at the cost of about a bit each: ids are allotted one after the other, so
// they lie close together. A stray one costs a page.
#pragma once

#include "engine/base/units.hpp"

#include <array>
#include <cstdint>
#include <unordered_map>

namespace gemel {

class IdSet {
   public:
    // False: it was there already.
    bool insert(ObjectId id) noexcept {
        std::uint64_t& word = pages_[id.value / kIdsPerPage][id.value % kIdsPerPage / 64];
        const std::uint64_t bit = std::uint64_t{1} << (id.value % 64);
        const bool is_new = (word & bit) == 0;
        word |= bit;
        return is_new;
    }

   private:
    static constexpr std::uint64_t kIdsPerPage = 4096;
    using Page = std::array<std::uint64_t, kIdsPerPage / 64>;

    std::unordered_map<std::uint64_t, Page> pages_;
};

}  // namespace gemel
