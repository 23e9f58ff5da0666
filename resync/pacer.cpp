// SPDX-License-Identifier: Apache-2.0
#include "resync/pacer.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>
#include <limits>

namespace gemel {

namespace {

// Slower is what takes a quarter longer, or of which so much less is done; the addend keeps the
// clock's grain out of it.
constexpr std::int64_t kSlowerNumerator = 5, kSlowerDenominator = 4;
constexpr Duration kGrain = Duration::microseconds(10);
// Requests in an interval: fewer vary by chance.
constexpr double kUsualMin = 32;
// The first steps after a measurement are this far below what was found before it.
constexpr std::uint64_t kStartDivisor = 2;

std::uint64_t clamped(std::uint64_t value, const ResyncRateRange& range) noexcept {
    return std::clamp(value, range.min, range.max);
}

double bytes_in(Duration time, std::uint64_t rate) noexcept {
    return static_cast<double>(rate) * static_cast<double>(time.ns) / 1e9;
}

Duration mean_since(const ApplicationLoad::Answered& now,
                    const ApplicationLoad::Answered& before) noexcept {
    const std::uint64_t count = now.count - before.count;
    if (count == 0) return {};
    return (now.time - before.time) / static_cast<std::int64_t>(count);
}

}  // namespace

void ResyncPacer::set_range(const ResyncRateRange& range) noexcept {
    GEMEL_ASSERT(range.min >= ResyncRateRange::kSmallest);
    GEMEL_ASSERT(range.max >= range.min);
    range_ = range;
}

std::uint64_t ResyncPacer::rate() const noexcept {
    if (paused_) return 0;
    if (!busy_) return range_.max;
    return measuring_ ? range_.min : clamped(found_, range_);
}

ResyncPacer::Grant ResyncPacer::ask(const ApplicationLoad& load, Instant now) noexcept {
    refill(now);
    observe(load, now);
    if (paused_) return {};
    const std::uint64_t allowed = rate();
    const std::size_t turn = busy_ ? kTurnBytesBusy : kTurnBytesMax;
    if (allowed == ResyncRateRange::kUnlimited) return {turn, {}};
    if (balance_ >= 0) {
        const double saved = std::clamp(balance_, 1.0, static_cast<double>(turn));
        return {static_cast<std::size_t>(saved), {}};
    }
    // An interval at most: the rate may have become another by then.
    const double owed_ns = -balance_ / static_cast<double>(allowed) * 1e9;
    const double wait_ns = std::min(owed_ns + 1, static_cast<double>(kInterval.ns));
    return {0, Duration::nanoseconds(static_cast<std::int64_t>(wait_ns))};
}

void ResyncPacer::spend(std::uint64_t bytes) noexcept {
    spent_ += bytes;
    if (rate() != ResyncRateRange::kUnlimited) balance_ -= static_cast<double>(bytes);
}

// At the rate that has held since the last time.
void ResyncPacer::refill(Instant now) noexcept {
    const Duration passed = begun_ ? now - refilled_at_ : Duration{};
    refilled_at_ = now;
    const std::uint64_t allowed = rate();
    if (allowed == ResyncRateRange::kUnlimited) {
        balance_ = 0;
        return;
    }
    const double most = bytes_in(kBurst, allowed);
    balance_ = std::min(balance_ + bytes_in(passed, allowed), most);
}

void ResyncPacer::observe(const ApplicationLoad& load, Instant now) noexcept {
    if (!begun_ || load.arrived < arrived_) {
        // The first look, or another service: what was answered before is no sign of work now.
        begun_ = true;
        arrived_ = load.arrived;
        busy_ = false;
    }
    const bool active = load.arrived != arrived_ || load.is_any_waiting();
    arrived_ = load.arrived;
    if (active) {
        active_at_ = now;
        if (!busy_) {
            busy_ = true;
            begin_measuring(load, now);
        }
    } else if (busy_ && now - active_at_ >= kRest) {
        busy_ = false;
    }
    if (!busy_) return;
    if (measuring_) {
        measure(load, now);
    } else if (now - interval_at_ >= kInterval) {
        judge(load, now);
    }
}

void ResyncPacer::begin_measuring(const ApplicationLoad& load, Instant now) noexcept {
    measuring_ = true;
    measured_at_ = interval_at_ = now;
    before_ = load;
}

// What was on its way when the rate fell disturbs the first interval, which does not count.
void ResyncPacer::measure(const ApplicationLoad& load, Instant now) noexcept {
    if (interval_at_ == measured_at_ && now - measured_at_ >= kInterval) {
        interval_at_ = now;
        before_ = load;
    }
    if (interval_at_ == measured_at_ || now - interval_at_ < kMeasure) return;
    const std::uint64_t samples =
        load.ops.count - before_.ops.count + load.syncs.count - before_.syncs.count;
    if (samples < kSamplesMin && now - measured_at_ < kMeasureMax) return;
    const Means means{mean_since(load.ops, before_.ops), mean_since(load.syncs, before_.syncs)};
    for (std::size_t i = 0; i < means.size(); ++i) {
        if (means[i] > Duration{}) undisturbed_[i] = means[i];
    }
    undisturbed_per_s_ = static_cast<double>(load.arrived - before_.arrived) * 1e9 /
                         static_cast<double>((now - interval_at_).ns);
    measuring_ = false;
    found_ = clamped(found_ / kStartDivisor, range_);
    measured_at_ = interval_at_ = now;
    before_ = load;
    spent_ = 0;
}

bool ResyncPacer::is_slower(const ApplicationLoad& load, Instant now) noexcept {
    const Means means{mean_since(load.ops, before_.ops), mean_since(load.syncs, before_.syncs)};
    bool any = false;
    bool slower = false;
    for (std::size_t i = 0; i < means.size(); ++i) {
        if (means[i] == Duration{}) continue;
        any = true;
        // Until the next measurement.
        if (undisturbed_[i] == Duration{}) undisturbed_[i] = means[i];
        const Duration limit = undisturbed_[i] * kSlowerNumerator / kSlowerDenominator + kGrain;
        slower = slower || means[i] > limit;
    }
    return slower || (!any && load.is_any_waiting()) || are_fewer(load, now);
}

// Where a request waits before this node's loop sees it, for a processor above all, only the pace
// of who makes one after the other tells.
bool ResyncPacer::are_fewer(const ApplicationLoad& load, Instant now) const noexcept {
    const double usual = undisturbed_per_s_ * static_cast<double>((now - interval_at_).ns) / 1e9;
    if (usual < kUsualMin) return false;
    const auto arrived = static_cast<double>(load.arrived - before_.arrived);
    return arrived * kSlowerNumerator < usual * kSlowerDenominator;
}

void ResyncPacer::judge(const ApplicationLoad& load, Instant now) noexcept {
    const double could = bytes_in(now - interval_at_, found_);
    if (is_slower(load, now)) {
        found_ = clamped(found_ / 2, range_);
    } else if (static_cast<double>(spent_) * 2 >= could) {
        // Only what has been tried is known to do no harm.
        const std::uint64_t step = found_ / 4;
        const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - found_;
        found_ = clamped(found_ + std::min(step, room), range_);
    }
    interval_at_ = now;
    before_ = load;
    spent_ = 0;
    if (now - measured_at_ >= kMeasureAgain) begin_measuring(load, now);
}

std::size_t ResyncPacer::outstanding_max() const noexcept {
    const std::uint64_t allowed = rate();
    if (allowed == ResyncRateRange::kUnlimited) return kOutstandingMax;
    const auto soon = static_cast<std::uint64_t>(
        std::min(bytes_in(kInterval, allowed), static_cast<double>(kOutstandingMax)));
    return std::clamp<std::size_t>(soon, kOutstandingMin, kOutstandingMax);
}

std::size_t ResyncPacer::item_max() const noexcept {
    if (busy_) return kTurnBytesBusy;
    const std::uint64_t allowed = rate();
    if (allowed == ResyncRateRange::kUnlimited) return kTurnBytesMax;
    const auto soon = static_cast<std::uint64_t>(
        std::min(bytes_in(kInterval, allowed), static_cast<double>(kTurnBytesMax)));
    return std::clamp<std::size_t>(soon / kTurnBytesBusy * kTurnBytesBusy, kTurnBytesBusy,
                                   kTurnBytesMax);
}

}  // namespace gemel
