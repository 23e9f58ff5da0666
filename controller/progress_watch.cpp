// SPDX-License-Identifier: Apache-2.0
#include "controller/progress_watch.hpp"

#include "engine/base/probe.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

namespace {

constexpr Duration kWindow = Duration::seconds(1);
constexpr Duration kGapMin = Duration::milliseconds(200);
// Between two of which what was measured does not count: three gaps are longer than `detect`.
constexpr std::uint64_t kReadingsMin = 3;

std::string in_ms(Duration duration) { return std::to_string(duration.ns / 1'000'000) + " ms"; }

}  // namespace

ProgressWatch::Verdict ProgressWatch::judge(const Reading& reading, Instant now) {
    ++readings_;
    const bool is_late = !last_ || now - *last_ > std::max(options_.detect / 2, kGapMin);
    // Who is always late measures all the same, or a dead peer would never be noticed.
    if (is_late && (!last_ || readings_ >= kReadingsMin)) {
        // What the peer has answered meanwhile may not have been looked at yet.
        if (last_) GEMEL_PROBE("progress watch: was starved itself");
        readings_ = 0;
        measured_since_ = now;
        slow_since_.reset();
        window_begun_ = now;
        window_ = reading.peer_answers;
    }
    // Both machines may have been paused, and their disks with them.
    if (!last_ || now - *last_ > options_.io_timeout / 2) awake_since_ = now;
    last_ = now;
    Verdict verdict;
    const Duration awake = now - awake_since_;
    // Earlier than the peer can know it: this node must be ready to give way by then.
    verdict.own_disk_hangs = hangs(std::min(reading.own_disk, awake) * 2);
    verdict.peer_disk_hangs = hangs(std::min(reading.peer_disk, awake));
    if (std::min(reading.waiting_for_peer, now - measured_since_) > options_.detect) {
        GEMEL_PROBE("progress watch: an op waited for the peer too long");
        verdict.peer_fault =
            "it has not acknowledged a write for " + in_ms(reading.waiting_for_peer);
    } else {
        verdict.peer_fault = slowness(reading.peer_answers, now);
    }
    return verdict;
}

// By the mean of each second in which the peer answered at all.
std::string ProgressWatch::slowness(const ApplicationLoad::Answered& answers, Instant now) {
    if (options_.slow_peer.ns == 0 || now - window_begun_ < kWindow) return {};
    const auto count = static_cast<std::int64_t>(answers.count - window_.count);
    const Duration time = answers.time - window_.time;
    const Instant begun = std::exchange(window_begun_, now);
    window_ = answers;
    if (count == 0) return {};
    const Duration mean = time / count;
    if (mean <= options_.slow_peer) {
        slow_since_.reset();
        return {};
    }
    if (!slow_since_) slow_since_ = begun;
    if (now - *slow_since_ < options_.slow_for) return {};
    GEMEL_PROBE("progress watch: the peer has been slow too long");
    const Duration slow_for = now - *std::exchange(slow_since_, std::nullopt);
    return "it has been slow for " + std::to_string(slow_for.ns / 1'000'000'000) +
           " s: a write waited " + in_ms(mean) + " for it in the last second ('slow-peer' is " +
           in_ms(options_.slow_peer) + ")";
}

}  // namespace gemel
