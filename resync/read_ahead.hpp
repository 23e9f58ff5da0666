// SPDX-License-Identifier: Apache-2.0
// What a resync asks of the page cache, so that its disk works while the loop does something else,
// and so that the pages of applications stay: what lies ahead of the reader is brought in early,
// and what was brought in for it alone, or written by it, is given back when it is far enough
// behind.
//
// Hints only. Whatever is read is read from the cache in the step that uses it, so it is always the
// content of that moment (docs/resync.md A1, A2), however early its pages came in.
//
// A worker thread gives them, one batch after the other: 2 MiB take the kernel as long as many
// requests of applications. By then a descriptor may be closed, or another file's. No hint changes
// what anybody reads, so such a one costs time at most.
//
// One a replica: it outlasts sessions, because a batch may be on its way when one ends.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/mirror/replica.hpp"

#include <cstdint>
#include <deque>
#include <vector>

namespace gemel {

class ReadAhead {
   public:
    static constexpr std::uint64_t kWindow = 2 * kMiB;   // asked for at once
    static constexpr std::uint64_t kAhead = 16 * kMiB;   // beyond the reader
    static constexpr std::uint64_t kBehind = 96 * kMiB;  // kept: it may be wanted again soon
    static constexpr std::uint64_t kWorthwhile = 256 * kKiB;
    static constexpr std::size_t kRangesAhead = 256;

    // Requires: both outlive it, and it outlives what the loop has been given.
    ReadAhead(Loop& loop, Replica& replica) noexcept
        : loop_(loop), replica_(replica), batch_(*this) {}
    ReadAhead(const ReadAhead&) = delete;
    ReadAhead& operator=(const ReadAhead&) = delete;

    // Another session: nothing is known of where its reader is.
    void begin() noexcept;
    // [offset, offset + size) is about to be read, and probably what follows, up to `limit`.
    // Requires: `file` is the object's.
    void expect(std::uint16_t volume, ObjectId object, Fd file, DirtyRange now,
                std::uint64_t limit) noexcept;
    // The same where only these ranges will be read.
    void expect_ranges(std::uint16_t volume, ObjectId object, Fd file, const DirtyRanges& ranges,
                       std::uint64_t begin) noexcept;
    // A small file will be read soon, whole.
    void expect_file(Fd file, std::uint64_t size) noexcept;
    // This side has written there: the disk begins to work on it.
    void wrote(std::uint16_t volume, ObjectId object, Fd file, DirtyRange range) noexcept;

   private:
    struct Window {
        std::uint16_t volume = 0;
        ObjectId object;
        DirtyRange range;
    };
    struct Hint {
        enum class Kind : std::uint8_t { read, write, forget } kind = Kind::read;
        Fd file;
        Window window;
        bool was_absent = false;  // read: nothing of it was cached
    };
    class Batch final : public Job {
       public:
        explicit Batch(ReadAhead& owner) noexcept : owner_(owner) {}
        void run() noexcept override;
        void done() noexcept override { owner_.given(); }

        std::vector<Hint> hints;

       private:
        ReadAhead& owner_;
    };
    bool goes_on(std::uint16_t volume, ObjectId object, std::uint64_t begin) noexcept;
    void give(const Hint& hint) noexcept;
    void send() noexcept;
    void given() noexcept;
    void give_back() noexcept;

    Loop& loop_;
    Replica& replica_;
    std::uint16_t volume_ = 0;
    ObjectId object_;         // last read
    std::uint64_t from_ = 0;  // the last read began there
    std::uint64_t to_ = 0;    // asked for up to there
    Window writing_;          // not handed to the disk yet
    std::vector<Hint> waiting_;
    Batch batch_;
    bool is_under_way_ = false;
    std::deque<Window> behind_;
    std::uint64_t behind_bytes_ = 0;
};

}  // namespace gemel
