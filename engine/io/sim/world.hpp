// SPDX-License-Identifier: Apache-2.0
// A simulated world: machines, their processes, disks and network, in virtual time, all of it on
// one thread and from one seed. The same seed and the same calls give the same digest().
//
// Everything happens in events, taken from one queue in order of time. Between two events any
// process may be killed, any machine lose its power, any wire be cut. A call into the world
// (run_for, step, ...) must not come from inside an event.
#pragma once

#include "engine/base/prng.hpp"
#include "engine/base/units.hpp"
#include "engine/io/sim/task.hpp"
#include "engine/io/sim/trace.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::sim {

class Fabric;
class Node;
struct NodeOptions;

// Whose event it is. Events of a process vanish with it and wait while it is paused; events of a
// machine (process == 0) and of the world happen in any case.
struct EventOwner {
    std::uint16_t node = Trace::kNoNode;
    std::uint32_t process = 0;
};

struct EventId {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;  // 0: no event

    [[nodiscard]] bool is_set() const noexcept { return generation != 0; }
};

class World {
   public:
    explicit World(std::uint64_t seed, std::size_t trace_lines = 1000);
    // Requires: objects made by the test itself on a bare process (Node::start without a factory)
    // are gone.
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    // The world keeps the node. At most 64.
    Node& add_node(const NodeOptions& options);
    [[nodiscard]] std::size_t node_count() const noexcept { return nodes_.size(); }
    [[nodiscard]] Node& node(std::size_t index) noexcept { return *nodes_[index]; }
    [[nodiscard]] Fabric& fabric() noexcept { return *fabric_; }

    [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
    // True time; the nodes' clocks may differ.
    [[nodiscard]] Instant now() const noexcept { return now_; }
    // For the test's own choices.
    [[nodiscard]] Prng& prng() noexcept { return prng_; }

    // Executes the next event. False: there is none.
    bool step() noexcept;
    void run_for(Duration duration) noexcept;
    // Runs until `done()` holds, asked before the first and after every event. False: it did not
    // within `limit` of virtual time.
    template <typename Done>
    bool run_until(Done&& done, Duration limit = Duration::seconds(300)) {
        const Instant end = now_ + limit;
        while (!done()) {
            if (!step_until(end)) {
                now_ = end;
                return false;
            }
        }
        return true;
    }

    // Calls `callable` at a time of the world, for the test's script of faults.
    template <typename F>
    EventId at(Instant due, F&& callable) {
        return schedule(due, {}, EventKind::test, std::forward<F>(callable));
    }
    template <typename F>
    EventId after(Duration delay, F&& callable) {
        return at(now_ + delay, std::forward<F>(callable));
    }
    // Does nothing if it has been executed or cancelled.
    void cancel(EventId& event) noexcept;

    [[nodiscard]] std::uint64_t digest() const noexcept { return trace_.digest(); }
    [[nodiscard]] std::uint64_t event_count() const noexcept { return event_count_; }
    // Scheduled, and neither executed nor cancelled.
    [[nodiscard]] std::size_t waiting_events() const noexcept {
        return slots_.size() - free_slots_.size();
    }
    // The last events and log lines, readable; print it when a run fails, with the seed.
    [[nodiscard]] std::string trace_text() const;
    // Log lines, faults and what was noted, without the events between them.
    [[nodiscard]] std::string timeline() const;
    void note(EventOwner owner, EventKind kind, std::string_view text) noexcept;
    void note(EventOwner owner, EventKind kind, std::uint64_t detail) noexcept {
        trace_.record(now_, owner.node, kind, detail);
    }

    // For a person who looks at one run: more lines, and texts that the digest leaves out.
    void keep_lines(std::size_t lines_max) { trace_.keep(lines_max); }
    void remark(EventOwner owner, std::string_view text) noexcept {
        trace_.remark(now_, owner.node, text);
    }

    // --- For the parts of the simulation -----------------------------------------------------
    template <typename F>
    EventId schedule(Instant due, EventOwner owner, EventKind kind, F&& callable) {
        const std::uint32_t slot = take_slot();
        slots_[slot].task.set(std::forward<F>(callable));
        slots_[slot].owner = owner;
        slots_[slot].kind = kind;
        push(due, slot);
        return {slot, slots_[slot].generation};
    }
    // Puts events that waited for a paused process back into the queue, in their order.
    void release_deferred(std::vector<EventId>& deferred) noexcept;
    [[nodiscard]] std::uint32_t next_process_serial() noexcept { return ++process_serial_; }

   private:
    struct Slot {
        Task task;
        EventOwner owner;
        EventKind kind = EventKind::test;
        std::uint32_t generation = 1;
    };
    struct Queued {
        Instant due;
        std::uint64_t sequence;
        std::uint32_t slot;
        std::uint32_t generation;
    };
    static bool later(const Queued& a, const Queued& b) noexcept;

    bool step_until(Instant end) noexcept;
    [[nodiscard]] std::vector<std::string> node_names() const;
    std::uint32_t take_slot() noexcept;
    static void next_generation(Slot& slot) noexcept;
    void free_slot(std::uint32_t slot) noexcept;
    void push(Instant due, std::uint32_t slot) noexcept;
    void execute(const Queued& queued) noexcept;

    std::uint64_t seed_;
    Prng prng_;
    Trace trace_;
    Instant now_;
    std::uint64_t sequence_ = 0;
    std::uint64_t event_count_ = 0;
    std::uint32_t process_serial_ = 0;
    bool in_event_ = false;
    std::vector<Queued> queue_;  // heap, earliest on top
    std::deque<Slot> slots_;     // stable addresses: a task runs in its slot
    std::vector<std::uint32_t> free_slots_;
    std::unique_ptr<Fabric> fabric_;
    std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace gemel::sim
