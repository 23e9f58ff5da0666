// SPDX-License-Identifier: Apache-2.0
// Timers by due time: a heap of four children a node, whose places are written into the timers so
// that cancelling one needs no search. Allocates only when there are more timers than ever before.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <vector>

namespace gemel {

class Timer;

class TimerHeap {
   public:
    // Where the heap notes a timer's place; it belongs to the heap while the timer is in it.
    using PlaceOf = std::uint64_t& (*)(Timer&) noexcept;
    explicit TimerHeap(PlaceOf place_of) noexcept : place_of_(place_of) {}

    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    // Requires: !empty().
    [[nodiscard]] Instant first_due() const noexcept { return entries_.front().due; }

    void insert(Timer& timer, Instant due) noexcept;
    // Requires: it is in the heap.
    void remove(Timer& timer) noexcept;
    // What the next insertion gets; tells timers inserted before now from later ones.
    [[nodiscard]] std::uint64_t next_sequence() const noexcept { return sequence_; }
    // Takes out the first timer that is due at `now` and was inserted before `sequence`, or null.
    // Equal due times come in order of insertion.
    Timer* pop_due(Instant now, std::uint64_t sequence) noexcept;

   private:
    struct Entry {
        Instant due;
        std::uint64_t sequence;
        Timer* timer;

        [[nodiscard]] bool before(const Entry& other) const noexcept {
            return due != other.due ? due < other.due : sequence < other.sequence;
        }
    };
    static constexpr std::size_t kChildren = 4;

    void put(std::size_t place, const Entry& entry) noexcept;
    void sift_up(std::size_t place) noexcept;
    void sift_down(std::size_t place) noexcept;

    PlaceOf place_of_;
    std::uint64_t sequence_ = 0;
    std::vector<Entry> entries_;
};

}  // namespace gemel
