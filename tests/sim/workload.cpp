// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/workload.hpp"

#include "tests/sim/workload_client.hpp"

#include <algorithm>
#include <utility>

namespace gemel::sim {

void SimOp::on_complete(Status status) noexcept {
    const auto callback = std::exchange(done, nullptr);
    if (callback) callback(status);
}

void SimSync::on_complete(Status status) noexcept {
    const auto callback = std::exchange(done, nullptr);
    if (callback) callback(status);
}

namespace {

std::string_view kind_name(OpKind kind) {
    static constexpr std::string_view kNames[] = {
        "no op",          "write",     "truncate",     "allocate",         "copy_range",
        "create",         "link",      "unlink",       "remove_directory", "rename",
        "set_attributes", "set_xattr", "remove_xattr", "release_orphan"};
    static_assert(std::size(kNames) == static_cast<std::size_t>(OpKind::release_orphan) + 1);
    return kNames[static_cast<std::size_t>(kind)];
}

// As far as the kind of op has it.
std::string op_text(const Op& op) {
    std::string text(kind_name(op.kind));
    const auto add = [&](const char* what, std::uint64_t value) {
        if (value != 0) text += std::string(" ") + what + " " + std::to_string(value);
    };
    add("volume", op.volume);
    add("of", op.object.value);
    add("in", op.parent.value);
    if (!op.name.empty()) text += " " + std::string(op.name);
    add("to", op.new_parent.value);
    if (!op.new_name.empty()) text += " " + std::string(op.new_name);
    add("at", op.offset);
    add("size", op.size);
    add("from", op.source.value);
    add("at", op.source_offset);
    add("flags", op.flags);
    add("mode", op.mode);
    return text;
}

}  // namespace

std::function<void(Status)> SimMount::remarked(const Op& op, std::function<void(Status)> done) {
    if (remarks == nullptr) return done;
    remarks->remark({}, node + " begins " + op_text(op));
    return [this, &op, callback = std::move(done)](Status status) {
        remarks->remark({}, node + (status.ok() ? " has done " : " could not do ") + op_text(op));
        callback(status);
    };
}

void SimMount::submit(std::unique_ptr<SimOp> op, std::function<void(Status)> done) {
    GEMEL_ASSERT(is_serving());
    while (!ops_.empty() && ops_.front()->done == nullptr) ops_.pop_front();
    SimOp& sent = *op;
    sent.op.name = sent.name;
    sent.op.new_name = sent.new_name;
    if (!sent.data.empty()) sent.op.data = sent.data;
    sent.done = [this, alive = generation,
                 callback = remarked(sent.op, std::move(done))](Status status) {
        if (alive == generation) callback(status);
    };
    ops_.push_back(std::move(op));
    replica->submit(sent);
}

void SimMount::sync(ObjectId object, std::function<void(Status)> done, std::uint16_t volume) {
    GEMEL_ASSERT(is_serving());
    while (!syncs_.empty() && syncs_.front()->done == nullptr) syncs_.pop_front();
    syncs_.push_back(std::make_unique<SimSync>());
    SimSync& sent = *syncs_.back();
    sent.object = object;
    sent.volume = volume;
    sent.done = [this, alive = generation, callback = std::move(done)](Status status) {
        if (alive == generation) callback(status);
    };
    replica->sync(sent);
}

void SimMount::serve(Replica& served_replica, Loop& served_loop) noexcept {
    ++generation;
    replica = &served_replica;
    loop = &served_loop;
}

void SimMount::abort() noexcept {
    ++generation;
    replica = nullptr;
}

Workload::Workload(World& world, const Options& options, std::function<SimMount*()> serving,
                   std::function<void(const std::string&)> fail)
    : world_(world), options_(options), serving_(std::move(serving)), fail_(std::move(fail)) {
    for (std::size_t i = 0; i < options.clients; ++i) {
        clients_.push_back(std::make_unique<Client>(*this, options.name + std::to_string(i)));
    }
}

Workload::~Workload() = default;

void Workload::start() {
    stopped_ = false;
    for (const auto& client : clients_) client->schedule();
}

bool Workload::is_idle() const noexcept {
    return std::all_of(clients_.begin(), clients_.end(),
                       [](const auto& client) { return client->is_idle(); });
}

bool Workload::is_cleared() const noexcept {
    return std::all_of(clients_.begin(), clients_.end(),
                       [](const auto& client) { return client->is_cleared(); });
}

void Workload::verify_all(SimMount& mount) {
    for (const auto& client : clients_) client->verify(mount);
}

void Workload::unsynced_may_be_lost() {
    for (const auto& client : clients_) client->expect_loss(false);
}

void Workload::anything_may_be_lost() {
    newest_epoch_ = 0;
    for (const auto& client : clients_) client->expect_loss(true);
}

void Workload::note_epoch(const SimMount& mount) {
    if (mount.epoch() <= newest_epoch_) return;
    newest_epoch_ = mount.epoch();
    newest_since_ = world_.now();
}

void Workload::note_acknowledgement(const SimMount& mount, Instant begun) {
    ++acknowledged_;
    note_epoch(mount);
    const std::uint64_t epoch = mount.epoch();
    // An op that the next serving node had acknowledged before it took over may be answered late,
    // by a node that was paused; one that was begun afterwards never.
    if (epoch < newest_epoch_ && begun > newest_since_) {
        fail_(mount.node + " acknowledged in epoch " + std::to_string(epoch) +
              " what was begun after epoch " + std::to_string(newest_epoch_) +
              " had begun elsewhere");
    }
}

}  // namespace gemel::sim
