// SPDX-License-Identifier: Apache-2.0
// What one side of a resync asks of the page cache, so that its disk works while the loop does
// something else, and so that the pages of applications stay: what lies ahead of the reader is
// brought in early, and what was brought in for it alone, or written by it, is given back when it
// is far enough behind.
//
// Hints only. Whatever is read is read from the cache in the step that uses it, so it is always the
// content of that moment (docs/resync.md A1, A2), however early its pages came in.
#pragma once

#include "engine/mirror/replica.hpp"

#include <cstdint>
#include <deque>

namespace gemel {

class ReadAhead {
   public:
    static constexpr std::uint64_t kWindow = 2 * kMiB;   // asked for at once
    static constexpr std::uint64_t kAhead = 16 * kMiB;   // beyond the reader
    static constexpr std::uint64_t kBehind = 96 * kMiB;  // kept: it may be wanted again soon
    static constexpr std::uint64_t kWorthwhile = 256 * kKiB;
    static constexpr std::size_t kRangesAhead = 256;

    // Requires: both outlive it.
    ReadAhead(Vfs& vfs, Replica& replica) noexcept : vfs_(vfs), replica_(replica) {}

    // [offset, offset + size) is about to be read, and probably what follows, up to `limit`.
    // Requires: `file` is the object's.
    void expect(std::uint16_t volume, ObjectId object, Fd file, DirtyRange now,
                std::uint64_t limit) noexcept;
    // The same where only these ranges will be read.
    void expect_ranges(std::uint16_t volume, ObjectId object, Fd file, const DirtyRanges& ranges,
                       std::uint64_t begin) noexcept;
    // A small file will be read soon, whole.
    void expect_file(Fd file, std::uint64_t size) noexcept;
    // Gives back what is far behind. Opens other files: descriptors taken before may be closed.
    void give_back() noexcept;
    // This side has written there: the disk begins to work on it.
    void wrote(std::uint16_t volume, ObjectId object, Fd file, DirtyRange range) noexcept;

   private:
    struct Window {
        std::uint16_t volume = 0;
        ObjectId object;
        DirtyRange range;
    };
    bool goes_on(std::uint16_t volume, ObjectId object, std::uint64_t begin) noexcept;
    void note_behind(const Window& window) noexcept;

    Vfs& vfs_;
    Replica& replica_;
    std::uint16_t volume_ = 0;
    ObjectId object_;         // last read
    std::uint64_t from_ = 0;  // the last read began there
    std::uint64_t to_ = 0;    // asked for up to there
    Window writing_;          // not handed to the disk yet
    std::deque<Window> behind_;
    std::uint64_t behind_bytes_ = 0;
};

}  // namespace gemel
