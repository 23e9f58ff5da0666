// SPDX-License-Identifier: Apache-2.0
// The loop of one simulated process. Each event of the process is a turn: its callbacks run, then
// what they sent goes to the kernel. Jobs run whole, at a random later time; transfers and syncs
// take effect at one random later time and complete at another, so a process can die between.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/io/sim/network.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/vfs.hpp"
#include "engine/io/sim/world.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace gemel::sim {

class SimLoop final : public Loop {
   public:
    SimLoop(Node& node, std::uint32_t serial);
    ~SimLoop() override;
    SimLoop(const SimLoop&) = delete;
    SimLoop& operator=(const SimLoop&) = delete;

    [[nodiscard]] Node& node() noexcept { return node_; }
    [[nodiscard]] LogSink& log() noexcept { return node_.log(); }
    // False from the moment the process is killed.
    [[nodiscard]] bool is_alive() const noexcept { return alive_; }
    // The process ends itself (exit(), a failed assertion): as Node::kill_process.
    void exit() noexcept { node_.kill_process(); }
    [[nodiscard]] std::size_t running_timers() const noexcept { return timers_.size(); }
    // Tasks posted and transfers begun, not finished yet.
    [[nodiscard]] std::size_t unfinished() const noexcept {
        return posted_.size() + pending_.size() + stuck_jobs_.size();
    }

    [[nodiscard]] Instant now() const noexcept override { return node_.monotonic_now(); }
    [[nodiscard]] WallTime wall_time() const noexcept override { return node_.wall_now(); }
    [[nodiscard]] Prng& prng() noexcept override { return process_prng_; }
    void secure_random(MutableBytes bytes) noexcept override;
    [[nodiscard]] Uuid boot_id() noexcept override { return node_.boot_id(); }
    [[nodiscard]] SimVfs& vfs() noexcept override { return vfs_; }
    [[nodiscard]] Network& network() noexcept override { return network_; }

    void post(std::function<void()> task) noexcept override;
    void run_from_any_thread(std::function<void()> task) noexcept override;
    void offload(Job& job) noexcept override;
    void read(IoOp& op, Fd file, MutableBytes buffer, std::uint64_t offset) noexcept override;
    void write(IoOp& op, Fd file, Bytes data, std::uint64_t offset) noexcept override;
    void sync(IoOp& op, Fd file, bool data_only) noexcept override;
    void cancel(IoOp& op) noexcept override;

    // --- For the parts of the simulation -----------------------------------------------------
    [[nodiscard]] EventOwner owner() const noexcept { return {node_.index(), serial_}; }
    [[nodiscard]] std::uint32_t serial() const noexcept { return serial_; }
    [[nodiscard]] bool in_turn() const noexcept { return in_turn_; }
    // Runs `callback` as a turn of the process, unless it is dead. The loop may be gone afterwards.
    template <typename F>
    void turn(F&& callback) noexcept {
        if (!alive_) return;
        GEMEL_ASSERT(!in_turn_);
        in_turn_ = true;
        if (admit()) callback();
        end_turn();
    }
    // From here on nothing of the process has any effect.
    void mark_dead() noexcept;
    void die_at_callback(std::uint64_t n, bool power) noexcept;
    // Destroys the tasks that never ran, with what they hold, while the loop still exists.
    void drop_posted() noexcept { posted_.clear(); }
    // The clock's speed changed: the wake-up for the next timer is at another time now.
    void rearm_timers() noexcept { arm_timers(); }
    void disk_unstuck() noexcept;
    // Something is to be sent: makes sure that a turn's end comes.
    void need_turn_end() noexcept;

   protected:
    void start_timer(Timer& timer, Instant due) noexcept override;
    void cancel_timer(Timer& timer) noexcept override;

   private:
    struct Due {
        Instant due;
        std::uint64_t sequence;
        Timer* timer;
    };
    static bool sooner(const Due& a, const Due& b) noexcept {
        return a.due != b.due ? a.due > b.due : a.sequence > b.sequence;
    }
    [[nodiscard]] bool admit() noexcept;
    void end_turn() noexcept;
    void run_posted() noexcept;
    void arm_timers() noexcept;
    void run_timers() noexcept;
    void run_job(Job& job) noexcept;
    void submit(IoOp& op, Latency latency) noexcept;
    void execute(IoOp& op) noexcept;
    void finish(IoOp& op, Duration delay) noexcept;
    [[nodiscard]] bool waits_for_ever(const IoOp& op) noexcept;
    [[nodiscard]] Duration disk_delay(Latency latency) noexcept;

    Node& node_;
    World& world_;
    std::uint32_t serial_;
    Prng prng_;          // of the simulation
    Prng process_prng_;  // of the process
    SimVfs vfs_;
    SimNetwork network_;
    bool alive_ = true;
    bool in_turn_ = false;
    bool turn_end_armed_ = false;
    bool posts_armed_ = false;
    bool dies_of_power_ = false;
    std::uint64_t callbacks_left_ = 0;
    std::vector<std::function<void()>> posted_, running_;
    std::vector<Due> timers_;  // latest first
    std::uint64_t timer_sequence_ = 0;
    EventId timer_event_;
    Instant timer_event_due_;
    struct Pending {
        IoOp* op;
        EventId event;  // not set: taking effect now, done, or waiting for what may never come
        bool done = false;
    };
    [[nodiscard]] std::vector<Pending>::iterator find(const IoOp& op) noexcept;
    std::vector<Pending> pending_;
    // Found stuck when their time came.
    std::vector<Job*> stuck_jobs_;
    std::vector<IoOp*> stuck_ops_;
};

}  // namespace gemel::sim
