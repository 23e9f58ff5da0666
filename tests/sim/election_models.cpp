// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/election_models.hpp"

#include <algorithm>
#include <utility>

namespace gemel::sim {

// --- Session -------------------------------------------------------------------------------------

void ModelSession::send(int side, Frame frame) {
    End& from = end(side);
    if (!from.is_open) return;
    from.outgoing.push_back(std::move(frame));
    pump(side);
}

void ModelSession::close(int side) {
    End& from = end(side);
    if (!from.is_open) return;
    from.outgoing.push_back({true, {}, {}});
    from.is_open = false;
    pump(side);
    // The other side's transport gives up when nothing gets through.
    world_.clock.after(
        Duration::milliseconds(static_cast<std::int64_t>(world_.prng.between(1000, 10'000))),
        [self = shared_from_this(), side] { self->lose(1 - side); });
}

void ModelSession::vanish(int side) {
    End& from = end(side);
    if (!from.is_open) return;
    from.is_open = false;
    while (!from.outgoing.empty() && world_.prng.one_in(2)) from.outgoing.pop_back();
    world_.clock.after(
        Duration::milliseconds(static_cast<std::int64_t>(world_.prng.between(100, 10'000))),
        [self = shared_from_this(), side] { self->lose(1 - side); });
}

void ModelSession::pump(int side) {
    End& from = end(side);
    if (from.pumping || from.outgoing.empty()) return;
    from.pumping = true;
    const Duration delay =
        world_.is_cut(side, 1 - side) ? Duration::milliseconds(50) : world_.delay();
    world_.clock.after(delay, [self = shared_from_this(), side] {
        End& sender = self->end(side);
        sender.pumping = false;
        // A side that has not heard of the session yet keeps what arrives for later.
        const bool waits = self->end(1 - side).handler == nullptr;
        if (waits || self->world_.is_cut(side, 1 - side)) return self->pump(side);
        while (!sender.outgoing.empty()) {
            self->deliver(1 - side, std::move(sender.outgoing.front()));
            sender.outgoing.pop_front();
        }
    });
}

void ModelSession::deliver(int side, Frame frame) {
    End& to = end(side);
    if (!to.is_open || to.life->is_over) return;
    to.loop->schedule({}, [self = shared_from_this(), side, frame = std::move(frame)] {
        End& receiver = self->end(side);
        if (!receiver.is_open) return;
        if (frame.is_end) return self->lose(side);
        receiver.handler->on_frame(frame.type, frame.payload);
    });
}

void ModelSession::lose(int side) {
    End& to = end(side);
    if (!to.is_open || to.life->is_over) return;
    to.loop->schedule({}, [self = shared_from_this(), side] {
        End& receiver = self->end(side);
        if (!receiver.is_open) return;
        receiver.is_open = false;
        if (receiver.handler == nullptr) return;
        receiver.handler->on_lost(Status(Code::disconnected));
    });
}

// --- Replica -------------------------------------------------------------------------------------

OpSet& ModelReplica::content() { return world_.disk(node_).content; }

void ModelReplica::notify(ReplicaNotice notice, Status status, std::string what) {
    events_->on_replica({notice, status, std::move(what)});
}

bool ModelReplica::submit(int op) {
    if (!is_serving()) return false;
    queue_.push_back(op);
    run_queue();
    return true;
}

void ModelReplica::run_queue() {
    while (!queue_.empty()) {
        if (is_quiescing_ || role_ == ReplicaRole::held || !is_serving()) return;
        if (role_ != ReplicaRole::alone && !link_) return;
        if (role_ == ReplicaRole::alone && first_write_ != FirstWrite::done) {
            if (first_write_ == FirstWrite::storing) return;
            first_write_ = FirstWrite::storing;
            loop_.post([this] {
                if (first_write_ == FirstWrite::storing) notify(ReplicaNotice::first_write_alone);
            });
            return;
        }
        const int op = queue_.front();
        queue_.pop_front();
        execute(op);
    }
}

void ModelReplica::execute(int op) {
    content()[ElectionWorld::index(op)] = true;
    const bool alone = role_ == ReplicaRole::alone;
    const bool ships = link_ && (!alone || snapshot_sent_);
    if (ships) {
        const std::uint64_t number = next_number_++;
        ByteBuffer payload;
        ByteWriter writer(payload);
        writer.put(number);
        writer.put(op);
        link_->send(FrameType::op, Bytes(payload));
        in_flight_.push_back({op, number, alone, loop_.now()});
    }
    if (alone) world_.acknowledged(node_, op, true);
}

void ModelReplica::history_stored(Status status) noexcept {
    if (!status.ok()) return;
    first_write_ = FirstWrite::done;
    run_queue();
}

void ModelReplica::answer_alone() {
    for (InFlight& op : in_flight_) {
        if (!op.is_acked) world_.acknowledged(node_, op.op, true);
    }
    in_flight_.clear();
    first_write_ = FirstWrite::done;
}

void ModelReplica::begin_alone(std::uint64_t epoch) noexcept {
    const bool was_held = role_ == ReplicaRole::held;
    if (!was_held && role_ != ReplicaRole::idle) world_.broke("begin_alone in another role");
    if (link_) world_.broke("begin_alone with a session");
    role_ = ReplicaRole::alone;
    is_quiescing_ = false;
    world_.begins_to_serve(node_, epoch);
    first_write_ = FirstWrite::to_come;
    if (was_held) answer_alone();
    run_queue();
}

void ModelReplica::attach_target(std::unique_ptr<PeerLink> link, bool) noexcept {
    if (role_ != ReplicaRole::alone) world_.broke("attach_target in another role");
    link_ = std::move(link);
    link_->set_handler(*this);
    snapshot_sent_ = snapshot_answered_ = false;
    in_flight_.clear();
    const auto time = static_cast<std::int64_t>(world_.prng.between(10, 3000));
    loop_.schedule(Duration::milliseconds(time), [this, session = ++session_] {
        if (session != session_ || !link_ || role_ != ReplicaRole::alone) return;
        ByteBuffer payload;
        for (const bool has : content()) payload.push_back(std::byte{has});
        link_->send(FrameType::resync_content, Bytes(payload));
        snapshot_sent_ = true;
    });
}

void ModelReplica::begin_attaching() noexcept {
    if (world_.options.mutant == Mutant::join_before_all_acked) return;
    role_ = ReplicaRole::attaching;
}

void ModelReplica::finish_attaching(bool peer_in_set) noexcept {
    if (peer_in_set) {
        role_ = link_ ? ReplicaRole::primary : ReplicaRole::held;
        return;
    }
    role_ = ReplicaRole::alone;
    answer_alone();
    run_queue();
}

void ModelReplica::compare_everything() noexcept {
    if (link_) world_.broke("compare_everything with a session");
}

void ModelReplica::begin_following(std::unique_ptr<PeerLink> link, const CopyToFill&) noexcept {
    if (role_ != ReplicaRole::idle) world_.broke("begin_following in another role");
    role_ = ReplicaRole::target;
    link_ = std::move(link);
    link_->set_handler(*this);
    ++session_;
    // A copy that is being filled is neither the old one nor the new one.
    for (std::size_t op = 0; op < content().size(); ++op) {
        if (world_.prng.one_in(2)) content()[op] = false;
    }
}

void ModelReplica::forget_before() noexcept {
    if (role_ != ReplicaRole::idle) world_.broke("forget_before in another role");
    loop_.post([this] { notify(ReplicaNotice::before_forgotten); });
}

void ModelReplica::restore_before() noexcept { world_.broke("a state that it does not keep"); }

void ModelReplica::promote_to_secondary() noexcept {
    if (role_ != ReplicaRole::target) world_.broke("promote_to_secondary in another role");
    role_ = ReplicaRole::secondary;
}

void ModelReplica::lose_link() {
    ++session_;
    snapshot_sent_ = snapshot_answered_ = false;
    is_quiescing_ = is_quiescing_ && role_ == ReplicaRole::alone;
    if (role_ == ReplicaRole::primary) {
        role_ = ReplicaRole::held;
        if (world_.options.mutant == Mutant::answers_held_ops) answer_alone();
    }
    if (role_ == ReplicaRole::alone) in_flight_.clear();
    // The link's own code may be on the stack.
    if (link_) loop_.post([gone = std::shared_ptr<PeerLink>(std::move(link_))] {});
}

void ModelReplica::detach() noexcept {
    if (!link_) return;
    link_->close();
    lose_link();
}

void ModelReplica::stop() noexcept {
    const Mutant mutant = world_.options.mutant;
    if (mutant == Mutant::answers_when_deposed && is_serving()) answer_alone();
    if (mutant == Mutant::keeps_session && role_ == ReplicaRole::secondary) {
        kept_link_ = std::move(link_);
    }
    detach();
    role_ = ReplicaRole::idle;
    in_flight_.clear();
    queue_.clear();
    is_quiescing_ = false;
}

void ModelReplica::quiesce() noexcept {
    is_quiescing_ = true;
    sync_asked_ = false;
    loop_.post([this] { check_quiesced(); });
}

void ModelReplica::resume() noexcept {
    is_quiescing_ = false;
    run_queue();
}

void ModelReplica::check_quiesced() {
    if (!is_quiescing_ || sync_asked_ || !in_flight_.empty()) return;
    if (role_ != ReplicaRole::primary && role_ != ReplicaRole::alone) return;
    sync_asked_ = true;
    world_.sync(node_);
    if (link_) {
        link_->send(FrameType::sync, {});
    } else {
        notify(ReplicaNotice::quiesced);
    }
}

void ModelReplica::sync_volumes() noexcept {
    const auto time = static_cast<std::int64_t>(world_.prng.between(1, 300));
    loop_.schedule(Duration::milliseconds(time), [this, session = session_] {
        if (session != session_) return;
        if (world_.options.mutant != Mutant::target_not_synced) {
            world_.sync(node_);
        }
        notify(ReplicaNotice::volumes_synced);
    });
}

Duration ModelReplica::waiting_for_peer() const noexcept {
    const bool waits = role_ == ReplicaRole::primary || role_ == ReplicaRole::attaching;
    return waits && link_ && !in_flight_.empty() ? loop_.now() - in_flight_.front().since
                                                 : Duration{};
}

Duration ModelReplica::waiting_for_disk() const noexcept {
    return is_serving() ? world_.disk_age(node_) : Duration();
}

void ModelReplica::fail() {
    if (role_ == ReplicaRole::idle) return;
    if (!is_serving() && link_) {
        link_->send(FrameType::failed, {});
        role_ = ReplicaRole::target;  // applies and acknowledges nothing any more
        lose_link();
    }
    notify(ReplicaNotice::local_failure, Status::from_errno(EIO), "Input/output error");
}

void ModelReplica::acked(std::uint64_t number) {
    while (!in_flight_.empty() && in_flight_.front().number <= number) {
        const InFlight op = in_flight_.front();
        in_flight_.pop_front();
        if (!op.is_acked) world_.acknowledged(node_, op.op, false);
    }
    check_complete();
    check_quiesced();
}

void ModelReplica::check_complete() {
    if (role_ != ReplicaRole::alone || !snapshot_answered_ || !in_flight_.empty()) return;
    snapshot_answered_ = false;
    notify(ReplicaNotice::resync_complete);
}

void ModelReplica::apply(std::uint64_t number, int op) {
    const bool follows = role_ == ReplicaRole::target || role_ == ReplicaRole::secondary;
    PeerLink* link = follows ? link_.get() : kept_link_.get();
    if (link == nullptr) return;
    const auto carry_out = [this, op] {
        content()[ElectionWorld::index(op)] = true;
        world_.applied(node_, op);
    };
    if (world_.options.mutant == Mutant::acknowledges_unapplied) {
        loop_.schedule(Duration::milliseconds(30), carry_out);
    } else {
        carry_out();
    }
    ByteBuffer answer;
    ByteWriter(answer).put(number);
    link->send(FrameType::ack, Bytes(answer), {});
}

void ModelReplica::on_frame(FrameType type, Bytes payload) noexcept {
    if (!link_ && !kept_link_) return;  // of one that this side has given up already
    ByteReader reader(payload);
    switch (type) {
        case FrameType::op: {
            const auto number = reader.get<std::uint64_t>();
            return apply(number, reader.get<int>());
        }
        case FrameType::ack:
            return acked(reader.get<std::uint64_t>());
        case FrameType::failed:
            return notify(ReplicaNotice::peer_failure, {}, "the peer's copy failed");
        case FrameType::resync_content:
            for (std::size_t op = 0; op < payload.size(); ++op) {
                content()[op] = payload[op] != std::byte{0};
            }
            return link_->send(FrameType::resync_answer, {}, {});
        case FrameType::resync_answer:
            snapshot_answered_ = true;
            return check_complete();
        case FrameType::sync:
            world_.sync(node_);
            return link_->send(FrameType::sync_done, {}, {});
        case FrameType::sync_done:
            if (is_quiescing_) notify(ReplicaNotice::quiesced);
            return;
        default:
            return events_->on_frame(type, payload);
    }
}

void ModelReplica::on_lost(Status reason) noexcept {
    if (!link_) return;  // the same
    lose_link();
    events_->on_session_lost(reason);
}

// --- Arbiter, mounts, superblock -----------------------------------------------------------------

void ModelArbiter::read(std::function<void(const ReadAnswer&)> done) noexcept {
    auto value = std::make_shared<RegisterValue>();
    world_.ask_arbiter(
        node_, loop_, [value](RegisterValue& current) { *value = current; },
        [value, done = std::move(done)](bool answered) {
            if (answered) return done({{}, *value, {}});
            done({Status(Code::disconnected), {}, "the arbiter does not answer"});
        },
        false);
}

void ModelArbiter::swap_unknown(const RegisterProposal& proposal,
                                const std::function<void(const SwapAnswer&)>& done) {
    if (world_.options.mutant == Mutant::alone_before_outcome) {
        return done({SwapOutcome::won, proposal.value, {}});
    }
    if (world_.options.mutant == Mutant::read_settles_unknown) {
        const RegisterValue& current = world_.recorded();
        if (current.epoch == proposal.expected_epoch) {
            return done({SwapOutcome::unreachable, {}, "the arbiter does not answer"});
        }
    }
    done({SwapOutcome::unknown, {}, "the arbiter does not answer"});
}

void ModelArbiter::swap(const RegisterProposal& proposal,
                        std::function<void(const SwapAnswer&)> done) noexcept {
    if (world_.options.mutant == Mutant::takeover_without_swap &&
        world_.recorded().in_sync.size() == 2 && proposal.value.in_sync.size() == 1) {
        return loop_.post([proposal, done = std::move(done)] {
            done({SwapOutcome::won, proposal.value, {}});
        });
    }
    const bool cannot_leave = world_.is_cut(node_, ElectionWorld::kArbiter);
    if (cannot_leave && world_.prng.one_in(2)) {
        return loop_.schedule(Duration::milliseconds(10), [done = std::move(done)] {
            done({SwapOutcome::unreachable, {}, "the arbiter cannot be reached"});
        });
    }
    auto answer = std::make_shared<SwapAnswer>();
    auto carry_out = [&world = world_, node = node_, proposal, answer](RegisterValue& current) {
        SwapVerdict verdict = judge(proposal, current);
        if (world.options.mutant == Mutant::swap_without_comparing) verdict = SwapVerdict::won;
        if (verdict == SwapVerdict::won) {
            world.record(proposal.value);
            world.trace(ElectionWorld::kArbiter,
                        "recorded for node " + std::to_string(node) + ": " + describe(current));
        }
        const bool lost =
            verdict == SwapVerdict::lost && world.options.mutant != Mutant::lost_is_won;
        answer->outcome = lost ? SwapOutcome::lost : SwapOutcome::won;
        answer->current = current;
    };
    Duration& late = world_.delay_swap_[ElectionWorld::index(node_)];
    if (late.ns != 0) {
        world_.clock.after(std::exchange(late, {}),
                           [&world = world_, carry_out] { carry_out(world.recorded()); });
        return loop_.schedule(
            Duration::milliseconds(500),
            [this, proposal, done = std::move(done)] { swap_unknown(proposal, done); });
    }
    world_.ask_arbiter(
        node_, loop_, carry_out,
        [this, proposal, answer, done = std::move(done)](bool answered) {
            if (answered) return done(*answer);
            swap_unknown(proposal, done);
        },
        true);
}

void ModelServices::show(MountMode mode, std::function<void(Status, std::string)> done) noexcept {
    abort();
    const std::uint64_t generation = ++generation_;
    const auto time = static_cast<std::int64_t>(world_.prng.between(1, 50));
    loop_.schedule(Duration::milliseconds(time), [this, mode, generation, done = std::move(done)] {
        if (generation != generation_) return;
        mode_ = mode;
        done({}, {});
    });
}

void ModelServices::drain(std::function<void(Status, std::string)> done) noexcept {
    loop_.schedule(world_.delay(), [done = std::move(done)] { done({}, {}); });
}

void ModelServices::stop_application(std::function<void()> done) noexcept {
    application_runs = false;
    loop_.schedule(world_.delay() * 10, std::move(done));
}

void ModelSuperblocks::store(const Superblock& superblock,
                             std::function<void(Status)> done) noexcept {
    const Instant due =
        world_.clock.now() + world_.delay() + world_.superblock_delay[ElectionWorld::index(node_)];
    last_ = std::max(last_, due);
    const Mutant mutant = world_.options.mutant;
    // Not the first: a node without any state is told apart.
    const bool has_state = !world_.disk(node_).superblock.histories.empty();
    if (mutant == Mutant::superblock_not_stored && has_state) {
        return loop_.post([done] { done({}); });
    }
    if (mutant == Mutant::serves_before_stored) {
        loop_.post([done] { done({}); });
        return loop_.schedule(last_ - world_.clock.now(),
                              [this, superblock] { world_.disk(node_).superblock = superblock; });
    }
    loop_.schedule(last_ - world_.clock.now(), [this, superblock, done = std::move(done)] {
        Superblock& stored = world_.disk(node_).superblock;
        const Incarnation before = std::exchange(stored, superblock).incarnation;
        if (superblock.incarnation.number.is_none()) {
            if (world_.options.mutant == Mutant::failed_copy_comes_back) {
                stored.incarnation = before;
            }
            world_.failure_stored(node_);
        }
        done({});
    });
}

// --- Node ----------------------------------------------------------------------------------------

namespace {

MirrorMachineOptions machine_options(ElectionWorld& world, int node) {
    MirrorMachineOptions options;
    options.mirror = "db";
    options.node = node == 0 ? "alpha" : "beta";
    options.peer = node == 0 ? "beta" : "alpha";
    options.is_first = node == 0;
    options.boot = world.disk(node).boot;
    options.arbiter_name = "the arbiter";
    if (world.options.mutant == Mutant::forget_incarnation) {
        options.boot = Uuid{{static_cast<std::uint8_t>(node + 1)}};
    }
    return options;
}

ProgressWatch::Options watch_options() {
    ProgressWatch::Options options;
    options.io_timeout = Duration::milliseconds(1'500);
    return options;
}

Superblock superblock_of(ElectionWorld& world, int node) {
    Superblock superblock = world.disk(node).superblock;
    if (world.options.mutant == Mutant::eligible_by_epoch_alone) {
        const RegisterMember* member = world.recorded().find(superblock.node);
        if (member != nullptr && superblock.epoch >= world.recorded().epoch) {
            superblock.incarnation = {world.disk(node).boot, member->incarnation.number};
            const_cast<RegisterMember*>(member)->incarnation = superblock.incarnation;
        }
    }
    return superblock;
}

}  // namespace

ElectionNode::ElectionNode(ElectionWorld& w, int n)
    : world(w),
      node(n),
      loop(w.clock, w.prng.fork(), w.disk(n).boot,
           n == 0 ? 100 : static_cast<std::int64_t>(100 + w.options.seed % 2 * 10)),
      replica(w, loop, n),
      arbiter(w, loop, n),
      services(w, loop),
      superblocks(w, loop, n),
      monitor({}, loop.now()),
      mirror(loop, {replica, arbiter, services, services, superblocks, *this},
             machine_options(w, n), superblock_of(w, n), watch_options()) {
    mirror.set_observer([this] {
        if (services.address_held && !replica.is_serving()) {
            world.broke("E5: the address is held without a replica that serves");
        }
        if (services.mode() == MountMode::serving && !replica.is_serving()) {
            world.broke("E5: the mount serves without a replica that serves");
        }
    });
    tick();
}

ElectionNode::~ElectionNode() { loop.life()->is_over = true; }

void ElectionNode::die(bool with_power) {
    loop.life()->is_over = true;
    if (!session) return;
    if (with_power) {
        session->vanish(node);
    } else {
        session->close(node);
    }
}

void ElectionNode::tick() {
    const auto change = monitor.tick(loop.now());
    if (change == HeartbeatMonitor::Change::silent) mirror.on_peer_silent();
    mirror.check_progress(peer_disk);
    world.heartbeat(node);
    loop.schedule(Duration::milliseconds(100), [this] { tick(); });
}

void ElectionNode::event(const std::string&, LogLevel, const std::string& kind,
                         const std::string& text) noexcept {
    world.trace(node, kind + ": " + text);
}

}  // namespace gemel::sim
