// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/world.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/sim/fabric.hpp"
#include "engine/io/sim/node.hpp"

#include <algorithm>

namespace gemel::sim {

World::World(std::uint64_t seed, std::size_t trace_lines)
    : seed_(seed), prng_(seed), trace_(trace_lines), fabric_(std::make_unique<Fabric>(*this)) {
    trace_.record(now_, Trace::kNoNode, EventKind::test, seed);
}

World::~World() {
    for (const auto& node : nodes_) node->kill_process();
    nodes_.clear();
}

Node& World::add_node(const NodeOptions& options) {
    GEMEL_ASSERT(nodes_.size() < 64);
    const auto index = static_cast<std::uint16_t>(nodes_.size());
    nodes_.push_back(std::make_unique<Node>(*this, index, options));
    return *nodes_.back();
}

bool World::later(const Queued& a, const Queued& b) noexcept {
    return a.due != b.due ? a.due > b.due : a.sequence > b.sequence;
}

std::uint32_t World::take_slot() noexcept {
    if (free_slots_.empty()) {
        slots_.emplace_back();
        return static_cast<std::uint32_t>(slots_.size() - 1);
    }
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
}

void World::next_generation(Slot& slot) noexcept {
    if (++slot.generation == 0) slot.generation = 1;
}

void World::free_slot(std::uint32_t slot) noexcept {
    next_generation(slots_[slot]);
    slots_[slot].task.clear();
    free_slots_.push_back(slot);
}

void World::push(Instant due, std::uint32_t slot) noexcept {
    queue_.push_back({std::max(due, now_), sequence_++, slot, slots_[slot].generation});
    std::push_heap(queue_.begin(), queue_.end(), later);
}

void World::cancel(EventId& event) noexcept {
    const EventId id = event;
    event = {};
    // The queue's entry is recognised by its generation and dropped when its time comes.
    if (id.is_set() && slots_[id.slot].generation == id.generation) free_slot(id.slot);
}

void World::release_deferred(std::vector<EventId>& deferred) noexcept {
    for (const EventId id : deferred) {
        if (slots_[id.slot].generation == id.generation) push(now_, id.slot);
    }
    deferred.clear();
}

void World::execute(const Queued& queued) noexcept {
    Slot& slot = slots_[queued.slot];
    const EventOwner owner = slot.owner;
    if (owner.process != 0) {
        Node& node = *nodes_[owner.node];
        if (!node.is_process(owner.process)) {
            free_slot(queued.slot);
            return;
        }
        if (node.is_paused()) {
            node.defer({queued.slot, queued.generation});
            return;
        }
    }
    trace_.record(now_, owner.node, slot.kind, queued.sequence);
    ++event_count_;
    // From here on a cancel() finds another generation: it must not destroy what is running.
    next_generation(slot);
    in_event_ = true;
    slot.task.run();
    in_event_ = false;
    free_slot(queued.slot);
}

bool World::step_until(Instant end) noexcept {
    GEMEL_ASSERT(!in_event_);
    while (!queue_.empty()) {
        const Queued queued = queue_.front();
        const bool is_live = slots_[queued.slot].generation == queued.generation;
        if (is_live && queued.due > end) break;
        std::pop_heap(queue_.begin(), queue_.end(), later);
        queue_.pop_back();
        if (!is_live) continue;
        now_ = std::max(now_, queued.due);
        execute(queued);
        return true;
    }
    return false;
}

bool World::step() noexcept { return step_until({INT64_MAX}); }

void World::run_for(Duration duration) noexcept {
    const Instant end = now_ + duration;
    while (step_until(end)) {
    }
    now_ = end;
}

void World::note(EventOwner owner, EventKind kind, std::string_view text) noexcept {
    trace_.record(now_, owner.node, kind, text);
}

std::vector<std::string> World::node_names() const {
    std::vector<std::string> names;
    names.reserve(nodes_.size());
    for (const auto& node : nodes_) names.push_back(node->name());
    return names;
}

std::string World::trace_text() const { return trace_.to_string(node_names()); }

std::string World::timeline() const { return trace_.timeline(node_names()); }

}  // namespace gemel::sim
