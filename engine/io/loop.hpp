// SPDX-License-Identifier: Apache-2.0
// The world of one node as the engine sees it: time, randomness, file system, network, and an
// event loop that runs completions. One thread runs a loop and everything that belongs to it; only
// run_from_any_thread may be called from elsewhere. `uring/` is the kernel, `sim/` the simulation.
//
// Completions never run inside the call that submits: they are queued and run by the loop, so there
// is no recursion, and a caller's state is settled before it hears of an outcome.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/intrusive_list.hpp"
#include "engine/base/prng.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace gemel {

class Loop;
class Network;

// Runs its callback once at a time asked for. The callback is given at construction, so starting a
// timer allocates nothing. Destroying a running timer cancels it.
class Timer {
   public:
    Timer(Loop& loop, std::function<void()> callback) noexcept
        : loop_(loop), callback_(std::move(callback)) {}
    ~Timer() { cancel(); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // (Re)starts it: the callback runs once, not before `delay` from now.
    void start(Duration delay) noexcept;
    void cancel() noexcept;
    [[nodiscard]] bool is_running() const noexcept { return running_; }

   private:
    friend class Loop;
    Loop& loop_;
    std::function<void()> callback_;
    bool running_ = false;
    Instant due_{};
    std::uint64_t sequence_ = 0;  // order among equal due times, set by the loop
};

// Work for a thread that may wait for a disk. The submitter owns it until done() has been called.
class Job : public ListLink {
   public:
    virtual ~Job() = default;
    // On a worker thread (in the simulation: later, on the one thread there is). May use Vfs; must
    // not touch anything that the loop's thread may be using.
    virtual void run() noexcept = 0;
    // On the loop, after run() has returned.
    virtual void done() noexcept = 0;
};

// One read, write or sync on a descriptor. The caller owns it and its buffer until on_complete,
// which comes exactly once, also after a failure.
class IoOp : public ListLink {
   public:
    virtual ~IoOp() = default;
    // `count`: bytes moved, may be short of what was asked.
    virtual void on_complete(Status status, std::size_t count) noexcept = 0;

    // For the loop's implementation alone.
    struct Submission {
        enum class Kind : std::uint8_t { read, write, sync } kind = Kind::read;
        bool data_only = false;
        Fd file;
        std::uint64_t offset = 0;
        std::byte* data = nullptr;
        std::size_t size = 0;
        Status status;
        std::size_t count = 0;
    } submission;
};

class Loop {
   public:
    // Offset of a read or write on something that has no positions (a device, a pipe).
    static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

    virtual ~Loop() = default;

    // Constant within one turn of the loop.
    [[nodiscard]] virtual Instant now() const noexcept = 0;
    // For file times and texts; may jump.
    [[nodiscard]] virtual WallTime wall_time() const noexcept = 0;
    [[nodiscard]] virtual Prng& prng() noexcept = 0;
    // Bytes that an attacker cannot guess.
    virtual void secure_random(MutableBytes bytes) noexcept = 0;
    // Changes exactly when the machine boots (/proc/sys/kernel/random/boot_id).
    [[nodiscard]] virtual Uuid boot_id() noexcept = 0;
    [[nodiscard]] virtual Vfs& vfs() noexcept = 0;
    [[nodiscard]] virtual Network& network() noexcept = 0;

    // Runs `task` on the loop, after the current completion, in order of posting.
    virtual void post(std::function<void()> task) noexcept = 0;
    // The same, from any thread. Wakes the loop.
    virtual void run_from_any_thread(std::function<void()> task) noexcept = 0;
    // Runs job.run() where waiting is allowed. Jobs may run in parallel and finish in any order.
    virtual void offload(Job& job) noexcept = 0;

    // Asynchronous data transfer; through the ring in production. Requires: `op` is idle, the
    // buffer outlives its completion.
    virtual void read(IoOp& op, Fd file, MutableBytes buffer, std::uint64_t offset) noexcept = 0;
    virtual void write(IoOp& op, Fd file, Bytes data, std::uint64_t offset) noexcept = 0;
    virtual void sync(IoOp& op, Fd file, bool data_only) noexcept = 0;
    // Asks for an early end of an operation in flight (a read that may wait for ever). The
    // completion still comes exactly once: with `cancelled`, or with its result if it was quicker.
    virtual void cancel(IoOp& op) noexcept = 0;

   protected:
    friend class Timer;
    virtual void start_timer(Timer& timer, Instant due) noexcept = 0;
    virtual void cancel_timer(Timer& timer) noexcept = 0;
    // For implementations: a timer's private fields.
    static Instant& due_of(Timer& timer) noexcept { return timer.due_; }
    static std::uint64_t& sequence_of(Timer& timer) noexcept { return timer.sequence_; }
    // Marks the timer as not running and runs its callback.
    static void fire(Timer& timer) noexcept {
        timer.running_ = false;
        timer.callback_();
    }
};

inline void Timer::start(Duration delay) noexcept {
    cancel();
    running_ = true;
    loop_.start_timer(*this, loop_.now() + delay);
}

inline void Timer::cancel() noexcept {
    if (!running_) return;
    running_ = false;
    loop_.cancel_timer(*this);
}

}  // namespace gemel
