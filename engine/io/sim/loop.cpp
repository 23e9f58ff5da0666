// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/loop.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace gemel::sim {

SimLoop::SimLoop(Node& node, std::uint32_t serial)
    : node_(node),
      world_(node.world()),
      serial_(serial),
      prng_(node.prng().fork()),
      process_prng_(node.prng().fork()),
      vfs_(*this),
      network_(*this) {}

SimLoop::~SimLoop() { GEMEL_ASSERT(!alive_ && !in_turn_); }

void SimLoop::secure_random(MutableBytes bytes) noexcept {
    while (!bytes.empty()) {
        const std::uint64_t word = process_prng_.next();
        const std::size_t size = std::min(bytes.size(), sizeof word);
        std::memcpy(bytes.data(), &word, size);
        bytes = bytes.subspan(size);
    }
}

// --- Turns -------------------------------------------------------------------------------------

bool SimLoop::admit() noexcept {
    if (callbacks_left_ != 0 && --callbacks_left_ == 0) {
        dies_of_power_ ? node_.power_cut() : node_.kill_process();
    }
    return alive_;
}

void SimLoop::end_turn() noexcept {
    if (alive_) network_.flush_all();
    in_turn_ = false;
    if (!alive_) node_.reap();  // destroys this loop
}

void SimLoop::need_turn_end() noexcept {
    if (in_turn_ || turn_end_armed_ || !alive_) return;
    turn_end_armed_ = true;
    world_.schedule(world_.now(), owner(), EventKind::turn_end, [this] {
        turn_end_armed_ = false;
        network_.flush_all();
    });
}

void SimLoop::mark_dead() noexcept {
    alive_ = false;
    timers_.clear();
    network_.process_died();
    vfs_.release_all();
}

void SimLoop::die_at_callback(std::uint64_t n, bool power) noexcept {
    callbacks_left_ = n;
    dies_of_power_ = power;
}

// --- Posted tasks ------------------------------------------------------------------------------

void SimLoop::post(std::function<void()> task) noexcept {
    if (!alive_) return;
    posted_.push_back(std::move(task));
    if (posts_armed_) return;
    posts_armed_ = true;
    const Duration delay = node_.options().turn.sample(prng_);
    world_.schedule(world_.now() + delay, owner(), EventKind::post,
                    [this] { turn([this] { run_posted(); }); });
}

void SimLoop::run_from_any_thread(std::function<void()> task) noexcept { post(std::move(task)); }

void SimLoop::run_posted() noexcept {
    posts_armed_ = false;
    std::swap(posted_, running_);
    bool first = true;  // counted by turn()
    for (auto& task : running_) {
        if (!first && !admit()) break;
        first = false;
        task();
        if (!alive_) break;
    }
    running_.clear();
}

// --- Timers ------------------------------------------------------------------------------------

void SimLoop::start_timer(Timer& timer, Instant due) noexcept {
    if (!alive_) return;
    due_of(timer) = due;
    sequence_of(timer) = ++timer_sequence_;
    const Due entry{due, timer_sequence_, &timer};
    timers_.insert(std::lower_bound(timers_.begin(), timers_.end(), entry, sooner), entry);
    if (timers_.back().timer == &timer) arm_timers();
}

void SimLoop::cancel_timer(Timer& timer) noexcept {
    const Due entry{due_of(timer), sequence_of(timer), &timer};
    const auto at = std::lower_bound(timers_.begin(), timers_.end(), entry, sooner);
    if (at == timers_.end() || at->timer != &timer) return;  // of a process that was killed
    timers_.erase(at);
}

void SimLoop::arm_timers() noexcept {
    if (timers_.empty()) return;
    const Instant due = node_.clock().world_time_of(timers_.back().due);
    if (timer_event_.is_set() && timer_event_due_ == due) return;
    world_.cancel(timer_event_);
    timer_event_due_ = due;
    // Late by what it takes a kernel to wake a thread, never early.
    const Duration delay = node_.options().turn.sample(prng_);
    timer_event_ = world_.schedule(due + delay, owner(), EventKind::timer, [this] {
        timer_event_ = {};
        turn([this] { run_timers(); });
    });
}

void SimLoop::run_timers() noexcept {
    const Instant current = now();
    // Those started from here on wait for another turn.
    const std::uint64_t last = timer_sequence_;
    bool first = true;
    while (alive_ && !timers_.empty() && timers_.back().due <= current) {
        if (timers_.back().sequence > last) break;
        if (!first && !admit()) return;
        first = false;
        Timer& timer = *timers_.back().timer;
        timers_.pop_back();
        fire(timer);
    }
    if (alive_) arm_timers();
}

// --- Jobs --------------------------------------------------------------------------------------

Duration SimLoop::disk_delay(Latency latency) noexcept {
    return latency.sample(prng_) * node_.slowness();
}

void SimLoop::offload(Job& job) noexcept {
    if (!alive_) return;
    world_.schedule(world_.now() + disk_delay(node_.options().job), owner(), EventKind::job,
                    [this, &job] { run_job(job); });
}

void SimLoop::run_job(Job& job) noexcept {
    if (node_.is_disk_stuck()) {
        stuck_jobs_.push_back(&job);
        return;
    }
    turn([this, &job] {
        job.run();
        if (!alive_) return;
        world_.schedule(world_.now() + disk_delay(node_.options().job), owner(),
                        EventKind::job_done, [this, &job] { turn([&job] { job.done(); }); });
    });
}

// --- Transfers ---------------------------------------------------------------------------------

void SimLoop::read(IoOp& op, Fd file, MutableBytes buffer, std::uint64_t offset) noexcept {
    op.submission = {};
    op.submission.kind = IoOp::Submission::Kind::read;
    op.submission.file = file;
    op.submission.offset = offset;
    op.submission.data = buffer.data();
    op.submission.size = buffer.size();
    submit(op, node_.options().transfer);
}

void SimLoop::write(IoOp& op, Fd file, Bytes data, std::uint64_t offset) noexcept {
    op.submission = {};
    op.submission.kind = IoOp::Submission::Kind::write;
    op.submission.file = file;
    op.submission.offset = offset;
    op.submission.data = const_cast<std::byte*>(data.data());  // only read from
    op.submission.size = data.size();
    submit(op, node_.options().transfer);
}

void SimLoop::sync(IoOp& op, Fd file, bool data_only) noexcept {
    op.submission = {};
    op.submission.kind = IoOp::Submission::Kind::sync;
    op.submission.file = file;
    op.submission.data_only = data_only;
    submit(op, node_.options().sync);
}

std::vector<SimLoop::Pending>::iterator SimLoop::find(const IoOp& op) noexcept {
    return std::find_if(pending_.begin(), pending_.end(),
                        [&op](const Pending& pending) { return pending.op == &op; });
}

void SimLoop::submit(IoOp& op, Latency latency) noexcept {
    if (!alive_) return;
    GEMEL_ASSERT(find(op) == pending_.end());
    const EventId event = world_.schedule(world_.now() + disk_delay(latency), owner(),
                                          EventKind::io, [this, &op] { execute(op); });
    pending_.push_back({&op, event});
}

bool SimLoop::waits_for_ever(const IoOp& op) noexcept {
    return op.submission.kind == IoOp::Submission::Kind::read && vfs_.is_pipe(op.submission.file);
}

void SimLoop::execute(IoOp& op) noexcept {
    find(op)->event = {};
    if (node_.is_disk_stuck()) {
        stuck_ops_.push_back(&op);
        return;
    }
    if (waits_for_ever(op)) return;
    turn([this, &op] {
        IoOp::Submission& what = op.submission;
        if (what.kind == IoOp::Submission::Kind::sync) {
            what.status = vfs_.sync(what.file, what.data_only);
        } else {
            auto moved = what.kind == IoOp::Submission::Kind::read
                             ? vfs_.pread(what.file, {what.data, what.size}, what.offset)
                             : vfs_.pwrite(what.file, {what.data, what.size}, what.offset);
            what.status = moved.status();
            if (moved.ok()) what.count = moved.value();
        }
        if (alive_) finish(op, disk_delay(node_.options().turn));
    });
}

void SimLoop::finish(IoOp& op, Duration delay) noexcept {
    find(op)->done = true;
    world_.schedule(world_.now() + delay, owner(), EventKind::io_done, [this, &op] {
        turn([this, &op] {
            pending_.erase(find(op));
            op.on_complete(op.submission.status, op.submission.count);
        });
    });
}

void SimLoop::cancel(IoOp& op) noexcept {
    const auto pending = find(op);
    if (!alive_ || pending == pending_.end() || pending->done) return;
    const auto stuck = std::find(stuck_ops_.begin(), stuck_ops_.end(), &op);
    if (stuck != stuck_ops_.end()) return;  // a thread in disk sleep cannot be interrupted
    if (pending->event.is_set()) {
        if (!waits_for_ever(op) && prng_.one_in(2)) return;  // it was quicker
        world_.cancel(pending->event);
    }
    op.submission.status = Status(Code::cancelled);
    finish(op, node_.options().turn.sample(prng_));
}

void SimLoop::disk_unstuck() noexcept {
    for (Job* job : std::exchange(stuck_jobs_, {})) offload(*job);
    for (IoOp* op : std::exchange(stuck_ops_, {})) {
        find(*op)->event = world_.schedule(world_.now() + disk_delay(node_.options().transfer),
                                           owner(), EventKind::io, [this, op] { execute(*op); });
    }
}

}  // namespace gemel::sim
