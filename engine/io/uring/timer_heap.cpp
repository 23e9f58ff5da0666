// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/timer_heap.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>

namespace gemel {

void TimerHeap::insert(Timer& timer, Instant due) noexcept {
    entries_.push_back({due, sequence_++, &timer});
    place_of_(timer) = entries_.size() - 1;
    sift_up(entries_.size() - 1);
}

void TimerHeap::remove(Timer& timer) noexcept {
    const std::size_t place = place_of_(timer);
    GEMEL_ASSERT(place < entries_.size());
    GEMEL_ASSERT(entries_[place].timer == &timer);
    const Entry last = entries_.back();
    entries_.pop_back();
    if (place == entries_.size()) return;
    put(place, last);
    sift_up(place);
    sift_down(static_cast<std::size_t>(place_of_(*last.timer)));
}

Timer* TimerHeap::pop_due(Instant now, std::uint64_t sequence) noexcept {
    if (entries_.empty()) return nullptr;
    const Entry first = entries_.front();
    if (first.due > now || first.sequence >= sequence) return nullptr;
    remove(*first.timer);
    return first.timer;
}

void TimerHeap::put(std::size_t place, const Entry& entry) noexcept {
    entries_[place] = entry;
    place_of_(*entry.timer) = place;
}

void TimerHeap::sift_up(std::size_t place) noexcept {
    const Entry entry = entries_[place];
    while (place > 0) {
        const std::size_t parent = (place - 1) / kChildren;
        if (!entry.before(entries_[parent])) break;
        put(place, entries_[parent]);
        place = parent;
    }
    put(place, entry);
}

void TimerHeap::sift_down(std::size_t place) noexcept {
    const Entry entry = entries_[place];
    for (;;) {
        const std::size_t first = place * kChildren + 1;
        if (first >= entries_.size()) break;
        const std::size_t end = std::min(first + kChildren, entries_.size());
        std::size_t least = first;
        for (std::size_t child = first + 1; child < end; ++child) {
            if (entries_[child].before(entries_[least])) least = child;
        }
        if (!entries_[least].before(entry)) break;
        put(place, entries_[least]);
        place = least;
    }
    put(place, entry);
}

}  // namespace gemel
