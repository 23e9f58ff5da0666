// SPDX-License-Identifier: Apache-2.0
// The clock and event queue of the election simulation, and a Loop over it for one life of one
// node's process: what a dead process had scheduled never runs, what a paused one has scheduled
// runs when it is resumed. The election simulation has no file system and no network of the
// engine's: they are modelled in election_world.
#pragma once

#include "engine/base/assert.hpp"
#include "engine/io/loop.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

namespace gemel::sim {

class ElectionClock {
   public:
    [[nodiscard]] Instant now() const noexcept { return now_; }
    void at(Instant when, std::function<void()> task) {
        queue_.emplace(std::pair(std::max(when, now_), sequence_++), std::move(task));
    }
    void after(Duration delay, std::function<void()> task) { at(now_ + delay, std::move(task)); }
    // False when nothing is left before `end`.
    bool run_one(Instant end) {
        if (queue_.empty() || queue_.begin()->first.first > end) {
            now_ = end;
            return false;
        }
        auto entry = queue_.extract(queue_.begin());
        now_ = entry.key().first;
        entry.mapped()();
        return true;
    }

   private:
    Instant now_{1'000'000'000};
    std::uint64_t sequence_ = 0;
    std::map<std::pair<Instant, std::uint64_t>, std::function<void()>> queue_;
};

// Shared by everything one process life has scheduled.
struct ElectionLife {
    bool is_over = false;
    Instant paused_until;
};

class ElectionLoop final : public Loop {
   public:
    // `rate_percent`: how fast this node's monotonic clock runs, 100 is right.
    ElectionLoop(ElectionClock& clock, Prng prng, Uuid boot, std::int64_t rate_percent)
        : clock_(clock), prng_(prng), boot_(boot), rate_percent_(rate_percent) {}
    ~ElectionLoop() override { life_->is_over = true; }

    [[nodiscard]] const std::shared_ptr<ElectionLife>& life() noexcept { return life_; }
    // Runs `task` in this life, after `delay`, when the process is not paused.
    void schedule(Duration delay, std::function<void()> task) {
        run_at(clock_.now() + delay, std::move(task));
    }

    [[nodiscard]] Instant now() const noexcept override {
        return {clock_.now().ns / 100 * rate_percent_};
    }
    [[nodiscard]] WallTime wall_time() const noexcept override {
        return {clock_.now().ns / 1'000'000'000, 0};
    }
    [[nodiscard]] Prng& prng() noexcept override { return prng_; }
    void secure_random(MutableBytes bytes) noexcept override {
        for (std::byte& b : bytes) b = static_cast<std::byte>(prng_.below(256));
    }
    [[nodiscard]] Uuid boot_id() noexcept override { return boot_; }
    [[nodiscard]] Vfs& vfs() noexcept override { no_such_thing(); }
    [[nodiscard]] Network& network() noexcept override { no_such_thing(); }
    void post(std::function<void()> task) noexcept override { schedule({}, std::move(task)); }
    void run_from_any_thread(std::function<void()> task) noexcept override {
        schedule({}, std::move(task));
    }
    void offload(Job&) noexcept override { no_such_thing(); }
    void read(IoOp&, Fd, MutableBytes, std::uint64_t) noexcept override { no_such_thing(); }
    void write(IoOp&, Fd, Bytes, std::uint64_t) noexcept override { no_such_thing(); }
    void sync(IoOp&, Fd, bool) noexcept override { no_such_thing(); }
    void cancel(IoOp&) noexcept override { no_such_thing(); }

   private:
    [[noreturn]] static void no_such_thing() {
        assertion_failed("the election simulation does not model it", __FILE__, __LINE__);
    }
    void run_at(Instant when, std::function<void()> task) {
        clock_.at(when, [this, life = life_, task = std::move(task)]() mutable {
            if (life->is_over) return;
            if (life->paused_until > clock_.now()) {
                return run_at(life->paused_until, std::move(task));
            }
            task();
        });
    }
    void start_timer(Timer& timer, Instant due) noexcept override {
        const std::uint64_t sequence = ++timers_;
        sequence_of(timer) = sequence;
        running_.insert(sequence);
        const Duration delay{(due.ns - now().ns) / rate_percent_ * 100};
        schedule(delay, [this, &timer, sequence] {
            if (running_.erase(sequence) != 0) fire(timer);
        });
    }
    void cancel_timer(Timer& timer) noexcept override { running_.erase(sequence_of(timer)); }

    ElectionClock& clock_;
    Prng prng_;
    Uuid boot_;
    std::int64_t rate_percent_;
    std::uint64_t timers_ = 0;
    std::set<std::uint64_t> running_;
    std::shared_ptr<ElectionLife> life_ = std::make_shared<ElectionLife>();
};

}  // namespace gemel::sim
