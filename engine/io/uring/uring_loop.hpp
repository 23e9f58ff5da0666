// SPDX-License-Identifier: Apache-2.0
// The loop of a real node: one io_uring, worker threads for jobs, POSIX files, TCP and UDP.
//
// A turn: hand over what was queued, wait (first spinning, if wanted) for a completion, a due timer
// or another thread, then run completions, finished jobs, due timers and posted tasks, in this
// order; what streams were given to send leaves at the end of the turn at the latest. now() and
// wall_time() are read once a turn, after the wait.
//
// The thread that first runs a turn runs all of them and destroys the loop. Everything made for it
// (timers, streams, listeners, sockets) is destroyed before, and no IoOp or job is in flight then.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/uring/inbox.hpp"
#include "engine/io/uring/posix_vfs.hpp"
#include "engine/io/uring/spin_policy.hpp"
#include "engine/io/uring/timer_heap.hpp"
#include "engine/io/uring/worker_pool.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

namespace gemel {

class LoopDescriptor;
class Ring;
class UringNetwork;

class UringLoop final : public Loop, private WorkerPool::Finished {
   public:
    struct Options {
        // Submissions of one turn that need no extra system call.
        unsigned entries = 256;
        // Threads for offload().
        unsigned workers = 4;
        // Longest spin before a sleep; 0 sleeps at once. A sleep costs 50-75 us of wake-up on a
        // virtual machine, a spin costs CPU that nobody else wants (it yields); SpinPolicy says
        // how long it spins.
        Duration spin_max{};
        // Makes descriptor(), for a program that waits in a loop of its own.
        bool polled = false;
        // Uses no feature of the kernel that came after Linux 5.11; for testing what replaces them.
        bool plain = false;
    };

    // EPERM, ENOSYS: no io_uring here. unsupported: a kernel before 5.11.
    static Result<std::unique_ptr<UringLoop>> create(const Options& options) noexcept;
    ~UringLoop() override;

    // Runs turns until stop().
    void run() noexcept;
    // Ends run() after the current turn. From any thread, and from completions.
    void stop() noexcept;
    // One turn. Waits at most `wait_max` (negative: for ever), and not at all when there is
    // something to do. Requires: not called from inside a turn.
    void turn(Duration wait_max) noexcept;
    // For a program with a loop of its own, instead of run() and turn(). Requires: Options::polled.
    // A descriptor that is readable whenever dispatch() has something to do; only to be waited for.
    [[nodiscard]] int descriptor() const noexcept;
    // Does what there is to do, and returns without waiting; also when it was not asked for. Leaves
    // the descriptor readable when others should have a turn before it goes on.
    void dispatch() noexcept;
    // Operations and jobs that have not completed yet. Before destroying the loop their owners
    // cancel what may wait for ever and run turns until this is 0.
    [[nodiscard]] std::size_t in_flight() const noexcept;

    [[nodiscard]] Instant now() const noexcept override { return now_; }
    [[nodiscard]] WallTime wall_time() const noexcept override { return wall_time_; }
    [[nodiscard]] Prng& prng() noexcept override { return prng_; }
    void secure_random(MutableBytes bytes) noexcept override;
    [[nodiscard]] Uuid boot_id() noexcept override { return boot_id_; }
    [[nodiscard]] Vfs& vfs() noexcept override { return vfs_; }
    [[nodiscard]] Network& network() noexcept override;

    void post(std::function<void()> task) noexcept override;
    void run_from_any_thread(std::function<void()> task) noexcept override;
    void offload(Job& job) noexcept override;
    void read(IoOp& op, Fd file, MutableBytes buffer, std::uint64_t offset) noexcept override;
    void write(IoOp& op, Fd file, Bytes data, std::uint64_t offset) noexcept override;
    void sync(IoOp& op, Fd file, bool data_only) noexcept override;
    void cancel(IoOp& op) noexcept override;

   protected:
    void start_timer(Timer& timer, Instant due) noexcept override;
    void cancel_timer(Timer& timer) noexcept override;

   private:
    class WakeUp;

    UringLoop(std::unique_ptr<Ring> ring, const Options& options, std::uint64_t seed, Uuid boot_id);
    void on_finished(Job& job) noexcept override { inbox_.add(job); }
    void read_clocks() noexcept;
    void wait(Duration wait_max) noexcept;
    [[nodiscard]] Duration time_to_wait(Duration wait_max, Instant from) const noexcept;
    // True: something came within the bound.
    bool spin(Instant from, Duration bound) noexcept;
    void begin(IoOp& op, IoOp::Submission::Kind kind, Fd file) noexcept;
    void finish(IoOp& op, int result) noexcept;
    void run_finished_jobs() noexcept;
    void run_due_timers() noexcept;
    void run_posted() noexcept;

    Instant now_;
    WallTime wall_time_;
    Prng prng_;
    Uuid boot_id_;
    PosixVfs vfs_;
    SpinPolicy spin_policy_;
    bool in_turn_ = false;
    std::atomic<bool> stopping_{false};

    TimerHeap timers_;
    std::vector<std::function<void()>> posted_;
    std::vector<std::function<void()>> running_;
    IntrusiveList<Job> finished_jobs_;
    std::size_t jobs_in_flight_ = 0;
    IntrusiveList<IoOp> io_in_flight_;

    Inbox inbox_;
    std::unique_ptr<WakeUp> wake_up_;
    std::unique_ptr<LoopDescriptor> descriptor_;  // null unless polled
    std::unique_ptr<UringNetwork> network_;
    std::unique_ptr<Ring> ring_;
    std::unique_ptr<WorkerPool> workers_;
};

}  // namespace gemel
