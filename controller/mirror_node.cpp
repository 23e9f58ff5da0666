// SPDX-License-Identifier: Apache-2.0
#include "controller/mirror_node.hpp"

#include "engine/base/probe.hpp"

#include <utility>

namespace gemel {

namespace {
constexpr Duration kHelloInterval = Duration::seconds(1);
}

MirrorNode::MirrorNode(Loop& loop, const Ports& ports, MirrorMachineOptions options,
                       Superblock superblock, const ProgressWatch::Options& watch)
    : loop_(loop),
      ports_(ports),
      machine_(std::move(options), std::move(superblock), loop.prng()),
      watch_(watch),
      since_(loop.wall_time()),
      alive_(std::make_shared<bool>(true)) {
    for (std::size_t i = 0; i < kMirrorTimerCount; ++i) {
        timers_[i] = std::make_unique<Timer>(
            loop, [this, i] { step(TimerFired{static_cast<MirrorTimer>(i)}); });
    }
    ports_.replica.set_events(*this);
}

MirrorNode::~MirrorNode() { *alive_ = false; }

// --- Events in -----------------------------------------------------------------------------------

void MirrorNode::step(MirrorEvent event) noexcept {
    events_.push_back(std::move(event));
    drain();
}

void MirrorNode::drain() noexcept {
    if (stepping_) return;
    stepping_ = true;
    while (!events_.empty()) {
        const MirrorEvent event = std::move(events_.front());
        events_.pop_front();
        carry_out(machine_.step(event));
    }
    stepping_ = false;
    if (machine_.state() != last_state_) {
        last_state_ = machine_.state();
        since_ = loop_.wall_time();
    }
    if (observer_) observer_();
}

void MirrorNode::command(Command command, Reply reply) {
    const CommandId id = next_command_++;
    replies_.emplace(id, std::move(reply));
    step(CommandGiven{command, id});
}

void MirrorNode::on_session(std::unique_ptr<PeerLink> link) noexcept {
    GEMEL_ASSERT(!stepping_);
    if (machine_.has_session()) step(SessionLost{"replaced by a new one"});
    ports_.replica.detach();
    if (link_) link_->close();
    link_ = std::move(link);
    link_->set_handler(*this);
    step(SessionUp{});
}

void MirrorNode::on_peer_silent() noexcept { step(PeerSilent{}); }
void MirrorNode::on_peer_alive() noexcept { step(PeerAlive{}); }

void MirrorNode::check_progress(Duration peer_disk) noexcept {
    if (machine_.has_session() && loop_.now() - last_hello_ >= kHelloInterval) {
        // A peer that was rebooted within `detect` knows nothing of this session, and only what is
        // sent on it brings that to light: by a reset, or, where a filter drops those, when the
        // stream's patience ends (network.hpp). So no session is silent, in any state.
        act(SendHello{machine_.make_hello()});
    }
    ProgressWatch::Reading reading;
    reading.waiting_for_peer = ports_.replica.waiting_for_peer();
    reading.own_disk = ports_.replica.waiting_for_disk();
    reading.peer_disk = peer_disk;
    reading.peer_answers = ports_.replica.peer_answers();
    ProgressWatch::Verdict verdict = watch_.judge(reading, loop_.now());
    const DisksJudged disks{verdict.own_disk_hangs, verdict.peer_disk_hangs, peer_disk};
    if (disks.own_hangs != disks_.own_hangs || disks.peer_hangs != disks_.peer_hangs) {
        disks_ = disks;
        step(disks);
    }
    if (verdict.peer_fault.empty()) return;
    step(ReplicaNoticed{ReplicaNotice::peer_stuck, {}, std::move(verdict.peer_fault)});
}

void MirrorNode::on_replica(const ReplicaNoticed& notice) noexcept { step(notice); }

void MirrorNode::on_session_lost(Status reason) noexcept { step(SessionLost{reason.to_string()}); }
void MirrorNode::on_frame(FrameType type, Bytes payload) noexcept { receive(type, payload); }

void MirrorNode::on_lost(Status reason) noexcept {
    link_.reset();
    step(SessionLost{reason.to_string()});
}

void MirrorNode::receive(FrameType type, Bytes payload) noexcept {
    if (type == FrameType::mirror_state) {
        Result<MirrorHello> hello = decode_mirror_hello(payload);
        if (hello.ok()) return step(std::move(hello).value());
    } else if (type == FrameType::control) {
        Result<ControlMessage> message = decode_control(payload);
        if (message.ok()) {
            if (message->kind >= ControlKind::register_read) {
                if (register_handler_) register_handler_(message.value());
                return;
            }
            return step(std::move(message).value());
        }
    }
    GEMEL_PROBE("mirror node: a frame that is not understood");
    ports_.events.event(machine_.superblock().mirror, LogLevel::warning, "failure",
                        "the peer sent what this node does not understand: session closed");
    if (link_) link_->close();
    ports_.replica.detach();
    // The link's own code is on the stack: it goes when the loop is back.
    loop_.post([this, weak = std::weak_ptr<bool>(alive_),
                gone = std::shared_ptr<PeerLink>(std::move(link_))] {
        const auto alive = weak.lock();
        if (alive && *alive) step(SessionLost{"not understood"});
    });
}

// --- Actions out ---------------------------------------------------------------------------------

void MirrorNode::carry_out(MirrorActions actions) noexcept {
    for (const MirrorAction& action : actions) {
        std::visit([this](const auto& a) { act(a); }, action);
    }
}

void MirrorNode::act(const ReadRegister&) {
    ports_.arbiter.read([this, weak = std::weak_ptr<bool>(alive_)](const ReadAnswer& answer) {
        if (weak.lock()) step(RegisterRead{answer});
    });
}

void MirrorNode::act(const SwapRegister& action) {
    ports_.arbiter.swap(action.proposal,
                        [this, weak = std::weak_ptr<bool>(alive_)](const SwapAnswer& answer) {
                            if (weak.lock()) step(RegisterSwapped{answer});
                        });
}

void MirrorNode::act(const StoreSuperblock& action) {
    ports_.superblocks.store(action.superblock, [this, weak = std::weak_ptr<bool>(alive_),
                                                 ticket = action.ticket](Status status) {
        if (weak.lock()) step(SuperblockStored{ticket, status});
    });
}

void MirrorNode::act(const CallReplica& action) {
    ReplicaPort& replica = ports_.replica;
    switch (action.call) {
        case ReplicaCall::distrust_cache:
            return replica.distrust_cache();
        case ReplicaCall::begin_alone:
            return replica.begin_alone(action.epoch);
        case ReplicaCall::history_stored:
            return replica.history_stored(action.status);
        case ReplicaCall::attach_target:
            // The session may have ended since; its loss is an event still to come.
            if (link_) replica.attach_target(std::move(link_), action.full_compare);
            return;
        case ReplicaCall::compare_everything:
            return replica.compare_everything();
        case ReplicaCall::begin_attaching:
            return replica.begin_attaching();
        case ReplicaCall::finish_attaching_in:
            return replica.finish_attaching(true);
        case ReplicaCall::finish_attaching_out:
            return replica.finish_attaching(false);
        case ReplicaCall::forget_before:
            return replica.forget_before();
        case ReplicaCall::begin_following:
            if (link_) replica.begin_following(std::move(link_), action.copy);
            return;
        case ReplicaCall::promote_to_secondary:
            return replica.promote_to_secondary();
        case ReplicaCall::restore_before:
            return replica.restore_before();
        case ReplicaCall::detach:
            return replica.detach();
        case ReplicaCall::quiesce:
            return replica.quiesce();
        case ReplicaCall::resume:
            return replica.resume();
        case ReplicaCall::sync_volumes:
            return replica.sync_volumes();
        case ReplicaCall::stop:
            return replica.stop();
    }
}

PeerLink* MirrorNode::current_link() noexcept {
    return link_ ? link_.get() : ports_.replica.link();
}

void MirrorNode::act(const SendHello& action) {
    last_hello_ = loop_.now();
    if (PeerLink* link = current_link()) {
        link->send(FrameType::mirror_state, Bytes(encode(action.hello)));
    }
}

void MirrorNode::act(const SendControl& action) {
    if (PeerLink* link = current_link()) {
        link->send(FrameType::control, Bytes(encode(action.message)));
    }
}

bool MirrorNode::send_register_message(const ControlMessage& message) noexcept {
    PeerLink* link = current_link();
    if (link == nullptr) return false;
    link->send(FrameType::control, Bytes(encode(message)));
    return true;
}

void MirrorNode::act(const CloseSession&) {
    ports_.replica.detach();
    if (!link_) return;
    link_->close();
    // A frame of this very link may be what is being handled.
    loop_.post([gone = std::shared_ptr<PeerLink>(std::move(link_))] {});
}

void MirrorNode::service_notice(ServiceNotice notice, std::uint64_t generation, Status status,
                                std::string what) noexcept {
    ServiceNoticed event;
    event.notice = notice;
    event.generation = generation;
    event.status = status;
    event.what = std::move(what);
    step(std::move(event));
}

void MirrorNode::act(const ShowMount& action) {
    ports_.mounts.show(
        action.mode, [this, weak = std::weak_ptr<bool>(alive_), generation = action.generation](
                         Status status, std::string what) {
            if (weak.lock()) {
                service_notice(ServiceNotice::mounted, generation, status, std::move(what));
            }
        });
}

void MirrorNode::act(const CallService& action) {
    const std::weak_ptr<bool> weak = alive_;
    const std::uint64_t generation = action.generation;
    switch (action.call) {
        case ServiceCall::abort_mount:
            return ports_.mounts.abort();
        case ServiceCall::drain_mount:
            return ports_.mounts.drain([this, weak, generation](Status status, std::string what) {
                if (weak.lock()) {
                    service_notice(ServiceNotice::drained, generation, status, std::move(what));
                }
            });
        case ServiceCall::claim_addresses:
            return ports_.service.claim_addresses();
        case ServiceCall::drop_addresses:
            return ports_.service.drop_addresses();
        case ServiceCall::start_application:
            return ports_.service.start_application();
        case ServiceCall::stop_application:
            return ports_.service.stop_application([this, weak, generation] {
                if (weak.lock()) {
                    service_notice(ServiceNotice::application_stopped, generation, {}, {});
                }
            });
    }
}

void MirrorNode::act(const SetTimer& action) {
    timers_[static_cast<std::size_t>(action.timer)]->start(action.delay);
}

void MirrorNode::act(const CancelTimer& action) {
    timers_[static_cast<std::size_t>(action.timer)]->cancel();
}

void MirrorNode::act(const Announce& action) {
    ports_.events.event(machine_.superblock().mirror, action.level, action.kind, action.text);
}

void MirrorNode::act(const ReplyCommand& action) {
    const auto found = replies_.find(action.id);
    if (found == replies_.end()) return;
    const Reply reply = std::move(found->second);
    replies_.erase(found);
    reply(action.done, action.text);
}

}  // namespace gemel
