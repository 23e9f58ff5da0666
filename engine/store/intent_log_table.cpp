// SPDX-License-Identifier: Apache-2.0
// Linear probing; erasure moves later entries of the same run back, so there are no tombstones.
#include "engine/store/intent_log_table.hpp"

#include "engine/base/assert.hpp"

#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kCapacityMin = 64;

std::uint64_t mix(std::uint64_t value) noexcept {
    value ^= value >> 32;
    value *= 0x9E3779B97F4A7C15ULL;
    return value ^ (value >> 29);
}

}  // namespace

std::size_t IntentTable::home_of(const IntentKey& key) const noexcept {
    const std::uint64_t rest = (std::uint64_t{key.region} << 16) | key.volume;
    return static_cast<std::size_t>(mix(mix(key.object.value) + rest)) & (slots_.size() - 1);
}

std::size_t IntentTable::probe(const IntentKey& key) const noexcept {
    std::size_t index = home_of(key);
    while (slots_[index].state != IntentState::none && slots_[index].key() != key) {
        index = (index + 1) & (slots_.size() - 1);
    }
    return index;
}

IntentSlot* IntentTable::find(const IntentKey& key) noexcept {
    if (size_ == 0) return nullptr;
    IntentSlot& slot = slots_[probe(key)];
    return slot.state == IntentState::none ? nullptr : &slot;
}

const IntentSlot* IntentTable::find(const IntentKey& key) const noexcept {
    return const_cast<IntentTable*>(this)->find(key);
}

IntentSlot& IntentTable::insert(const IntentKey& key, IntentState state) noexcept {
    GEMEL_ASSERT(state != IntentState::none);
    if ((size_ + 1) * 4 > slots_.size() * 3) {
        rehash(slots_.empty() ? kCapacityMin : slots_.size() * 2);
    }
    IntentSlot& slot = slots_[probe(key)];
    GEMEL_ASSERT(slot.state == IntentState::none);
    slot = {key.object.value, key.region, key.volume, state, false, 0};
    ++size_;
    return slot;
}

void IntentTable::erase(const IntentKey& key) noexcept {
    GEMEL_ASSERT(size_ > 0);
    std::size_t hole = probe(key);
    GEMEL_ASSERT(slots_[hole].state != IntentState::none);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t next = (hole + 1) & mask; slots_[next].state != IntentState::none;
         next = (next + 1) & mask) {
        // An entry may move into the hole unless its home lies behind the hole.
        const std::size_t home = home_of(slots_[next].key());
        if (((next - home) & mask) >= ((next - hole) & mask)) {
            slots_[hole] = slots_[next];
            hole = next;
        }
    }
    slots_[hole] = {};
    --size_;
}

void IntentTable::shrink() noexcept {
    std::size_t capacity = slots_.size();
    while (capacity > kCapacityMin && size_ * 8 < capacity) capacity /= 2;
    if (capacity < slots_.size()) rehash(capacity);
}

void IntentTable::rehash(std::size_t capacity) noexcept {
    GEMEL_ASSERT(size_ * 4 <= capacity * 3);
    std::vector<IntentSlot> old(capacity);
    std::swap(old, slots_);
    for (const IntentSlot& slot : old) {
        if (slot.state != IntentState::none) slots_[probe(slot.key())] = slot;
    }
}

}  // namespace gemel
