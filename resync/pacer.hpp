// SPDX-License-Identifier: Apache-2.0
// How fast a resync may go: all that is idle while applications rest, and while they work only what
// does not slow them down. In the spirit of DRBD's controller (c-min-rate, c-max-rate,
// c-fill-target), but it asks the applications' latency instead of counting their sectors.
//
// What it does: as soon as an application's op arrives, the resync is at the least rate, with small
// steps and little in flight. There the latency is measured that counts as undisturbed, and the
// number of requests a second. Then the rate climbs as long as ops take about as long as that, and
// halves within one interval when they take longer, when there are clearly fewer of them, or when
// ops wait and none is finished. From time to time it measures anew, because the applications' work
// changes. When they rest, everything is allowed that the range allows.
//
// Invariants: never less than the range's least rate is granted, never more than its highest: over
// any time t, at most t * max + kBurst * max + one item are spent. Paused, nothing is granted.
//
// Time is given from outside; it belongs to one loop and does nothing by itself.
#pragma once

#include "engine/base/units.hpp"
#include "engine/mirror/application_load.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace gemel {

// Bytes a second that a resync reads for comparing or puts into the stream, together.
struct ResyncRateRange {
    static constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
    // A smaller rate would be less than a unit of the dirty map a second.
    static constexpr std::uint64_t kSmallest = 64 * kKiB;

    std::uint64_t min = 10 * kMiB;
    std::uint64_t max = kUnlimited;  // not below min

    friend bool operator==(const ResyncRateRange&, const ResyncRateRange&) noexcept = default;
};

class ResyncPacer {
   public:
    static constexpr Duration kInterval = Duration::milliseconds(50);  // between two decisions
    static constexpr Duration kRest = Duration::milliseconds(100);     // without an op: at rest
    static constexpr Duration kMeasure = Duration::milliseconds(100);  // at the least rate
    static constexpr Duration kMeasureMax = Duration::milliseconds(500);
    static constexpr Duration kMeasureAgain = Duration::seconds(5);
    static constexpr Duration kBurst = Duration::milliseconds(10);  // saved at most
    static constexpr std::uint64_t kSamplesMin = 8;
    static constexpr std::size_t kTurnBytesMax = kMiB;
    static constexpr std::size_t kTurnBytesBusy = 64 * kKiB;
    static constexpr std::size_t kOutstandingMin = 512 * kKiB;
    static constexpr std::size_t kOutstandingMax = 8 * kMiB;

    struct Grant {
        std::size_t bytes = 0;  // 0: nothing before `wait` is over
        Duration wait;          // then ask again, or earlier
    };

    void set_range(const ResyncRateRange& range) noexcept;
    [[nodiscard]] const ResyncRateRange& range() const noexcept { return range_; }
    void set_paused(bool paused) noexcept { paused_ = paused; }
    // A resync begins: what applications did before it says nothing about now.
    void begin() noexcept { begun_ = false; }
    [[nodiscard]] bool is_paused() const noexcept { return paused_; }

    // What may be done in this turn of the loop. Every step may exceed it by what it is: the rest
    // is owed. Paused: nothing, and nothing to wait for.
    Grant ask(const ApplicationLoad& load, Instant now) noexcept;
    void spend(std::uint64_t bytes) noexcept;

    // Content that may be on its way unanswered, and the most that one item should hold.
    [[nodiscard]] std::size_t outstanding_max() const noexcept;
    [[nodiscard]] std::size_t item_max() const noexcept;
    // Allowed now, for people; kUnlimited is possible.
    [[nodiscard]] std::uint64_t rate() const noexcept;
    [[nodiscard]] bool are_applications_busy() const noexcept { return busy_; }

   private:
    // Of ops and of syncs apart: their share of all changes with the application's work.
    using Means = std::array<Duration, 2>;

    void observe(const ApplicationLoad& load, Instant now) noexcept;
    void begin_measuring(const ApplicationLoad& load, Instant now) noexcept;
    void measure(const ApplicationLoad& load, Instant now) noexcept;
    void judge(const ApplicationLoad& load, Instant now) noexcept;
    [[nodiscard]] bool is_slower(const ApplicationLoad& load, Instant now) noexcept;
    [[nodiscard]] bool are_fewer(const ApplicationLoad& load, Instant now) const noexcept;
    void refill(Instant now) noexcept;

    ResyncRateRange range_;
    bool paused_ = false;
    bool begun_ = false;
    bool busy_ = false;
    bool measuring_ = false;
    std::uint64_t found_ = 0;       // what busy applications were found to leave, bytes/s
    Means undisturbed_{};           // 0: not known
    double undisturbed_per_s_ = 0;  // requests
    std::uint64_t arrived_ = 0;     // at the last look
    Instant active_at_;             // an op arrived or waited
    Instant measured_at_, interval_at_;
    ApplicationLoad before_;   // at the begin of the interval or measurement
    std::uint64_t spent_ = 0;  // since then
    double balance_ = 0;       // bytes; below 0: owed
    Instant refilled_at_;
};

}  // namespace gemel
