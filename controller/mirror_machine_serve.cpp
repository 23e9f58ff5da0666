// SPDX-License-Identifier: Apache-2.0
// Serving: its beginning after a won swap, taking the peer in, losing it, handing over, and the
// end. Order at the beginning: register, superblock, write path, mount, addresses, application; at
// the end in reverse, and serving has ended when the mount's connection is aborted (protocol.md 4).
#include "controller/mirror_machine.hpp"
#include "engine/base/probe.hpp"

#include <algorithm>

namespace gemel {

void MirrorMachine::start_serving(bool was_held) {
    GEMEL_ASSERT(known_.is_only(options_.node) && am_member());
    was_held_ = was_held;
    cancel_timer(MirrorTimer::give_up);
    const bool forced = phase_ == Phase::forcing;
    superblock_.epoch = known_.epoch;
    superblock_.served_alone_unrecorded = false;
    if (forced && !superblock_.is_consistent) require_comparison();
    superblock_.is_consistent = true;
    // Ops held since the peer was lost are about to be answered alone; a person's force is marked
    // (M6); a first start has no history yet. Else the first write alone draws it.
    if (was_held || forced || superblock_.histories.empty()) draw_history();
    enter(Phase::starting, reason_);
    store(AfterStore::serve);
}

void MirrorMachine::serve() {
    GEMEL_ASSERT(phase_ == Phase::starting);
    GEMEL_ASSERT(unrecorded_ || (known_.is_only(options_.node) && am_member()));
    attach_ = Attach::none;
    register_is_back_ = false;
    ++served_;
    // Started by a person although it has failed, or forced: nobody has a better copy.
    if (must_compare() && !was_held_) call(ReplicaCall::distrust_cache);
    call(ReplicaCall::begin_alone);
    was_held_ = false;
    if (unrecorded_) {
        enter(Phase::alone, "forced by a person, not recorded by " + options_.arbiter_name);
    } else {
        enter(Phase::alone, options_.peer + " does not hold the newest data" +
                                (reservation_.empty() ? "" : "; " + reservation_));
    }
    if (!mount_serves_) {
        mount_serves_ = true;
        actions_.emplace_back(ShowMount{MountMode::serving, ++mount_generation_});
    } else if (!services_up_) {
        services_up_ = true;
        call(ServiceCall::claim_addresses);
        call(ServiceCall::start_application);
    }
    set_timer(MirrorTimer::retry, options_.retry);
    reply(promote_command_, true, "");
    reply(swap_command_, true, "");
    consider_attach();
}

void MirrorMachine::mounted(const ServiceNoticed& event) {
    if (event.generation != mount_generation_) return;
    if (!event.status.ok()) {
        if (is_serving()) return serving_failed(event.what);
        announce(LogLevel::error, "failure", event.what);
        return;
    }
    if (!mount_serves_ || services_up_) return;
    if (phase_ != Phase::alone && phase_ != Phase::primary && phase_ != Phase::held) return;
    services_up_ = true;
    call(ServiceCall::claim_addresses);
    call(ServiceCall::start_application);
}

// --- Taking the peer in --------------------------------------------------------------------------

void MirrorMachine::consider_attach() {
    if (phase_ != Phase::alone || attach_ != Attach::none || pending_) return;
    if (unrecorded_ || register_is_back_) return;
    if (!session_ || !hello_ || hello_->state != MirrorState::wait) return;
    if (hello_->is_serving) return;
    if (hello_->known.epoch > known_.epoch) return read_register();
    if (!admits_) {
        return explain(options_.peer + " was lost again and again: waits before it is taken in");
    }
    if (peer_disk_hangs_) return explain(options_.peer + "'s disk hangs");
    if (hello_->is_failed) {
        return explain(options_.peer + "'s copy failed" +
                       (peer_failure_.empty() ? "" : ": " + peer_failure_));
    }
    std::string refusal;
    if (hello_->config != options_.config) {
        refusal = options_.describe_difference
                      ? options_.describe_difference(options_.config, hello_->config)
                      : "the nodes describe the mirror differently";
        refusal += "; bring the same configuration to both nodes and restart gemeld";
    } else if (!hello_->accepts_overwrite) {
        refusal =
            divergence_with(superblock_.histories, hello_->histories, options_.node, options_.peer);
    }
    if (!refusal.empty()) {
        if (refusal == refusal_) return;
        refusal_ = refusal;
        announce(LogLevel::warning, "refused", refusal);
        explain(refusal);
        ControlMessage message;
        message.kind = ControlKind::decline;
        message.text = refusal;
        return send(std::move(message));
    }
    compare_fully_ = compare_fully_ || must_compare() || hello_->is_virgin() ||
                     hello_->must_compare || hello_->accepts_overwrite;
    refusal_.clear();
    attach_ = Attach::offered;
    ControlMessage message;
    message.kind = ControlKind::follow;
    message.flag = compare_fully_;
    message.value = known_;
    message.histories = superblock_.histories;
    send(std::move(message));
}

void MirrorMachine::resync_completed() {
    if (phase_ != Phase::alone || attach_ != Attach::filling) return;
    // At this very moment the target holds all that was acknowledged; from here on nothing is
    // acknowledged that it does not hold, so it stays so until the swap names it (M4).
    call(ReplicaCall::begin_attaching);
    attach_ = Attach::sharing;
    superblock_.history_is_shared = true;
    store(AfterStore::complete);
}

void MirrorMachine::complete_target() {
    if (phase_ != Phase::alone || attach_ != Attach::sharing) return;
    attach_ = Attach::completing;
    ControlMessage message;
    message.kind = ControlKind::complete;
    message.histories = superblock_.histories;
    send(std::move(message));
}

void MirrorMachine::target_ready(const ControlMessage& message) {
    if (phase_ != Phase::alone || attach_ != Attach::completing || pending_) return;
    if (message.incarnation.number.is_none()) return;
    attach_ = Attach::joining;
    propose(Purpose::join, known_,
            value_of(known_.epoch + 1, options_.node, {me(), {options_.peer, message.incarnation}}),
            false);
}

void MirrorMachine::join_recorded() {
    if (phase_ != Phase::alone || attach_ != Attach::recording) return;
    call(ReplicaCall::finish_attaching_in);
    attach_ = Attach::none;
    peer_failure_.clear();
    compare_fully_ = false;
    for (SuperblockVolume& volume : superblock_.volumes) volume.must_compare = false;
    store(AfterStore::nothing);
    set_timer(MirrorTimer::steady, options_.steady);
    enter(Phase::primary, "");
    announce(LogLevel::info, "resync", options_.peer + " holds every write now");
    ControlMessage message;
    message.kind = ControlKind::joined;
    message.value = known_;
    send(std::move(message));
}

// --- Losing the peer -----------------------------------------------------------------------------

void MirrorMachine::hold(const std::string& why) {
    attach_ = Attach::none;
    count_loss();
    enter(Phase::held, "acknowledges nothing until the register says so: " + why);
    announce(LogLevel::warning, "failure", why);
    set_timer(MirrorTimer::give_up, options_.give_up);
    isolate();
}

void MirrorMachine::isolate() {
    GEMEL_ASSERT(phase_ == Phase::held);
    if (pending_) return;  // settled first (M2)
    if (register_is_older()) return end_serving(Phase::wait, older_register_sentence());
    if (give_way()) return;
    propose(Purpose::isolate, known_, value_of_me_alone(), false);
}

// The application waits for each of them.
void MirrorMachine::count_loss() {
    constexpr std::uint64_t kFree = 2;
    cancel_timer(MirrorTimer::steady);
    if (++losses_ <= kFree) return;
    GEMEL_PROBE("mirror machine: the peer is lost again and again");
    const std::uint64_t doublings = std::min<std::uint64_t>(losses_ - kFree - 1, 16);
    const Duration pause =
        std::min(options_.admit * (std::int64_t{1} << doublings), options_.admit_max);
    admits_ = false;
    set_timer(MirrorTimer::admit, pause);
    announce(LogLevel::warning, "failure",
             options_.peer + " was lost " + std::to_string(losses_) +
                 " times, each time soon after it had been taken in: it is taken in again in " +
                 std::to_string(pause.ns / 1'000'000'000) + " s at the earliest");
}

void MirrorMachine::forget_losses() {
    losses_ = 0;
    admits_ = true;
    cancel_timer(MirrorTimer::steady);
    cancel_timer(MirrorTimer::admit);
}

// The peer sees by the heartbeats what this node sees itself, or is told when there is a session
// again, and takes over. Until that is recorded, or it has had its time, nothing is proposed
// against it.
bool MirrorMachine::give_way() {
    if (!own_disk_hangs_ || peer_silent_ || yield_over_ || !options_.arbiter_votes) return false;
    if (!gives_way_) {
        GEMEL_PROBE("mirror machine: gives way because its own disk hangs");
        gives_way_ = true;
        explain("acknowledges nothing: its disk hangs; " + options_.peer + " may take over");
        set_timer(MirrorTimer::yield, options_.yield);
        send_hello();
    }
    set_timer(MirrorTimer::retry, options_.retry);
    return true;
}

// The session ended while alone.
void MirrorMachine::lose_target(const std::string& why) {
    call(ReplicaCall::detach);
    switch (attach_) {
        case Attach::none:
        case Attach::offered:
        case Attach::filling:
            attach_ = Attach::none;
            break;
        case Attach::withdrawing:
            break;
        case Attach::joining:
            if (pending_ && pending_->maybe_sent) {
                GEMEL_PROBE("mirror machine: target lost while its join is unsettled");
                call(ReplicaCall::finish_attaching_in);
                return hold(why);
            }
            pending_.reset();
            [[fallthrough]];
        case Attach::sharing:
        case Attach::completing:
            count_loss();
            // What is in flight is about to be answered alone.
            attach_ = Attach::withdrawing;
            draw_history();
            store(AfterStore::withdraw);
            break;
        case Attach::recording:
            call(ReplicaCall::finish_attaching_in);
            return hold(why);
    }
    set_timer(MirrorTimer::retry, options_.retry);
    explain(options_.peer + " does not hold the newest data: " + why);
}

// The register was looked at while serving alone: nobody can have changed it but a person's force,
// or a ping on the other side of a cut.
void MirrorMachine::check_alone(const RegisterValue& current) {
    if (unrecorded_) {
        const bool recorded =
            current.is_only(options_.node) && current.has(options_.node, superblock_.incarnation);
        if (recorded) {
            learn(current);
            unrecorded_ = false;
            superblock_.served_alone_unrecorded = false;
            superblock_.epoch = std::max(superblock_.epoch, current.epoch);
            store(AfterStore::nothing);
            explain("forced by a person; recorded now");
            return consider_attach();
        }
        if (current.epoch > forced_from_) {
            learn(current);
            return end_serving(Phase::wait, "was forced, but meanwhile " + describe(current));
        }
        learn(current);
        GEMEL_ASSERT(superblock_.epoch > current.epoch);
        return propose(Purpose::force, current, value_of(superblock_.epoch, options_.node, {me()}),
                       true);
    }
    if (current.same_as(known_)) {
        register_is_back_ = false;
        return consider_attach();
    }
    if (current.epoch < superblock_.epoch) return register_went_back(current);
    learn(current);
    end_serving(Phase::wait, options_.peer + " has gone on alone, too (" + describe(current) + ")");
}

// The arbiter's state was lost or restored from a backup. What is served alone stays right, but
// nothing can be changed before a person has chosen.
void MirrorMachine::register_went_back(const RegisterValue& current) {
    if (!register_is_back_) {
        announce(LogLevel::error, "failure",
                 options_.arbiter_name + " records " + describe(current) + ", older than epoch " +
                     std::to_string(superblock_.epoch) + " of this node, which goes on alone");
    }
    register_is_back_ = true;
    set_timer(MirrorTimer::retry, options_.retry * 8);
    if (attach_ != Attach::joining) return;
    close_session();
    attach_ = Attach::completing;
    lose_target(options_.arbiter_name + " has forgotten what it recorded");
}

// --- The end -------------------------------------------------------------------------------------

void MirrorMachine::end_serving(Phase next, const std::string& reason) {
    GEMEL_ASSERT(next == Phase::wait || next == Phase::stopped);
    cancel_timer(MirrorTimer::give_up);
    call(ReplicaCall::stop);  // held requests are answered EIO
    call(ServiceCall::abort_mount);
    call(ServiceCall::drop_addresses);
    ++service_generation_;
    call(ServiceCall::stop_application);
    actions_.emplace_back(ShowMount{MountMode::guard, ++mount_generation_});
    services_up_ = mount_serves_ = false;
    attach_ = Attach::none;
    forget_losses();
    unrecorded_ = was_held_ = false;
    refusal_.clear();
    enter(next, reason);
    close_session();
    announce(LogLevel::warning, "served", "serves no longer: " + reason);
    if (pending_) set_timer(MirrorTimer::retry, options_.retry);
    reply(stop_command_, next == Phase::stopped, reason);
    reply(swap_command_, false, reason);
    reply(promote_command_, false, reason);
    if (next == Phase::stopped) return;
    known_is_fresh_ = false;
    yield_over_ = false;
    evaluate();
}

void MirrorMachine::serving_failed(const std::string& what) {
    const bool peer_holds_all = !unrecorded_ && known_.find(options_.peer) != nullptr;
    failure_ = what;
    may_not_claim_ = may_not_follow_ = true;
    announce(LogLevel::error, "failure", "this node's copy failed: " + what);
    void_incarnation();
    require_comparison();
    store(AfterStore::nothing);
    const RegisterMember* peer = known_.find(options_.peer);
    std::vector<RegisterMember> members;
    if (peer != nullptr) members.push_back(*peer);
    set_timer(MirrorTimer::rejoin, options_.rejoin);
    end_serving(Phase::wait, "this node's copy failed: " + what);
    if (peer_holds_all && !pending_) {
        // Not yet "peer serving": the peer may have been restarted a moment ago, and then nobody
        // holds everything (mirror_machine_wait.cpp, evaluate_sole).
        propose(Purpose::hand_over, known_,
                value_of(known_.epoch + 1, options_.node, std::move(members)), false);
    }
}

// --- Handing over --------------------------------------------------------------------------------

void MirrorMachine::begin_hand_over(bool then_stop, CommandId id) {
    GEMEL_ASSERT(phase_ == Phase::primary || phase_ == Phase::alone);
    GEMEL_ASSERT(!pending_ && attach_ == Attach::none);
    hand_over_stops_ = then_stop;
    (then_stop ? stop_command_ : swap_command_) = id;
    enter(Phase::handing_over, then_stop ? "is being stopped" : "hands over to " + options_.peer);
    call(ServiceCall::drop_addresses);
    services_up_ = false;
    hand_over_step(HandOver::application);
}

void MirrorMachine::hand_over_step(HandOver step) {
    hand_over_ = step;
    switch (step) {
        case HandOver::application:
            ++service_generation_;
            call(ServiceCall::stop_application);
            break;
        case HandOver::draining:
            call(ServiceCall::drain_mount);
            break;
        case HandOver::quiescing:
            call(ReplicaCall::quiesce);
            break;
        case HandOver::swapping: {
            const RegisterMember* peer = known_.find(options_.peer);
            if (peer == nullptr) return hand_over_done();
            std::vector<RegisterMember> members;
            if (!hand_over_stops_) members.push_back(me());
            members.push_back(*peer);
            set_timer(MirrorTimer::give_up, options_.give_up);
            propose(Purpose::hand_over, known_,
                    value_of(known_.epoch + 1, options_.peer, std::move(members)), false);
            break;
        }
    }
}

// The peer is gone, or something could not be drained, before everything was handed over.
void MirrorMachine::hand_over_broken(const std::string& why) {
    GEMEL_ASSERT(phase_ == Phase::handing_over);
    if (known_.is_only(options_.node)) {
        // Alone and being stopped: what could not be drained is on this node only, as always.
        if (hand_over_ == HandOver::draining) return hand_over_step(HandOver::quiescing);
        if (hand_over_ == HandOver::quiescing) end_serving(Phase::stopped, "stopped: " + why);
        return;
    }
    if (pending_) {
        call(ReplicaCall::detach);  // completes nothing before the swap is settled
        return;
    }
    if (hand_over_stops_) return end_serving(Phase::stopped, "stopped: " + why);
    reply(swap_command_, false, why);
    if (!session_) {
        call(ReplicaCall::detach);
        return hold(why);
    }
    call(ReplicaCall::resume);
    services_up_ = true;
    call(ServiceCall::claim_addresses);
    call(ServiceCall::start_application);
    enter(Phase::primary, "");
}

void MirrorMachine::hand_over_done() {
    if (hand_over_stops_) return end_serving(Phase::stopped, "stopped by a person");
    reply(swap_command_, true, "");
    end_serving(Phase::wait, "handed over to " + options_.peer);
}

}  // namespace gemel
