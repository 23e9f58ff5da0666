// SPDX-License-Identifier: Apache-2.0
// The keys of an intent log in memory: an open-addressing hash table of 24 bytes a slot, so that
// a key costs about 32 bytes. Pointers to slots are void after the next insert or erase.
#pragma once

#include "engine/store/intent_log.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gemel {

enum class IntentState : std::uint8_t {
    none,           // an empty slot
    pending,        // touched; its record goes with the next append
    set_in_flight,  // its record is being written
    durable,
    clear_pending,    // forgotten, but the log still has it: a touch revives it without a write
    clear_in_flight,  // whether the log has it is unknown until the append completes
};

// The log has it durably and no clear of it has been handed to the disk.
constexpr bool is_marked(IntentState state) noexcept {
    return state == IntentState::durable || state == IntentState::clear_pending;
}
// May differ between the nodes, as far as the owner has said.
constexpr bool is_live(IntentState state) noexcept {
    return state == IntentState::durable || state == IntentState::pending ||
           state == IntentState::set_in_flight;
}

struct IntentSlot {
    std::uint64_t object = 0;
    std::uint32_t region = 0;
    std::uint16_t volume = 0;
    IntentState state = IntentState::none;
    bool in_clear_list = false;
    std::uint32_t round = 0;  // of the last touch
    bool once = false;        // touched by touch_once alone

    [[nodiscard]] IntentKey key() const noexcept { return {{object}, region, volume}; }
};
static_assert(sizeof(IntentSlot) == 24);

class IntentTable {
   public:
    [[nodiscard]] IntentSlot* find(const IntentKey& key) noexcept;
    [[nodiscard]] const IntentSlot* find(const IntentKey& key) const noexcept;
    // Requires: the key is not there, state is not none.
    IntentSlot& insert(const IntentKey& key, IntentState state) noexcept;
    // Requires: the key is there.
    void erase(const IntentKey& key) noexcept;
    // Gives memory back after many erasures.
    void shrink() noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    template <typename Visit>
    void for_each(Visit&& visit) {
        for (IntentSlot& slot : slots_) {
            if (slot.state != IntentState::none) visit(slot);
        }
    }
    template <typename Visit>
    void for_each(Visit&& visit) const {
        for (const IntentSlot& slot : slots_) {
            if (slot.state != IntentState::none) visit(slot);
        }
    }

   private:
    [[nodiscard]] std::size_t home_of(const IntentKey& key) const noexcept;
    // Where the key is, or the empty slot where it would go. Requires: a slot is empty.
    [[nodiscard]] std::size_t probe(const IntentKey& key) const noexcept;
    void rehash(std::size_t capacity) noexcept;

    std::vector<IntentSlot> slots_;  // a power of two, or none; at most 3/4 full
    std::size_t size_ = 0;
};

}  // namespace gemel
