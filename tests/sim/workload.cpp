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

void SimMount::submit(std::unique_ptr<SimOp> op, std::function<void(Status)> done) {
    GEMEL_ASSERT(is_serving());
    while (!ops_.empty() && ops_.front()->done == nullptr) ops_.pop_front();
    SimOp& sent = *op;
    sent.op.name = sent.name;
    sent.op.new_name = sent.new_name;
    if (!sent.data.empty()) sent.op.data = sent.data;
    sent.done = [this, alive = generation, callback = std::move(done)](Status status) {
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
