// SPDX-License-Identifier: Apache-2.0
// What a person asks of a mirror on this node.
#include "controller/mirror_machine.hpp"

namespace gemel {

void MirrorMachine::handle(const CommandGiven& event) {
    switch (event.command) {
        case Command::start:
            return command_start(event.id);
        case Command::stop:
            return command_stop(event.id);
        case Command::swap:
            return command_swap(event.id);
        case Command::promote_force:
            return command_promote(event.id);
        case Command::promote_before:
            return command_promote_before(event.id);
        case Command::resync_full:
            return command_resync_full(event.id);
        case Command::resync_changed:
            return command_resync_changed(event.id);
        case Command::release:
            return command_release(event.id);
    }
}

void MirrorMachine::command_start(CommandId id) {
    may_not_claim_ = may_not_follow_ = false;
    failure_.clear();
    reply(id, true, "");
    if (phase_ == Phase::wait) {
        send_hello();
        return evaluate();
    }
    if (phase_ != Phase::stopped) return;
    // A process that was killed while it served has left them behind; the peer may have them now.
    call(ServiceCall::drop_addresses);
    actions_.emplace_back(ShowMount{MountMode::guard, ++mount_generation_});
    known_is_fresh_ = false;
    enter(Phase::wait, "asks " + options_.arbiter_name);
    evaluate();
}

void MirrorMachine::finish_stop(const std::string& reason) {
    if (is_following()) {
        call(ReplicaCall::stop);
        call(ServiceCall::abort_mount);
        actions_.emplace_back(ShowMount{MountMode::guard, ++mount_generation_});
    }
    cancel_timer(MirrorTimer::leave);
    enter(Phase::stopped, reason.empty() ? "stopped by a person" : reason);
    close_session();
    reply(stop_command_, true, "");
    reply(swap_command_, false, "stopped");
    reply(promote_command_, false, "stopped");
}

void MirrorMachine::command_stop(CommandId id) {
    reply(stop_command_, false, "replaced by another stop");
    stop_command_ = id;
    switch (phase_) {
        case Phase::stopped:
            return reply(stop_command_, true, "");
        case Phase::alone:
            if (pending_ || attach_ == Attach::recording || attach_ == Attach::withdrawing) {
                return end_serving(Phase::stopped, "stopped by a person");
            }
            if (session_) {
                close_session();
                call(ReplicaCall::detach);
                if (attach_ == Attach::sharing || attach_ == Attach::completing) {
                    return end_serving(Phase::stopped, "stopped by a person");
                }
                attach_ = Attach::none;
            }
            return begin_hand_over(true, id);
        case Phase::primary:
            if (pending_) return end_serving(Phase::stopped, "stopped by a person");
            return begin_hand_over(true, id);
        case Phase::held:
            return end_serving(Phase::stopped, "stopped by a person");
        case Phase::handing_over:
            if (hand_over_ == HandOver::swapping && !hand_over_stops_) {
                return end_serving(Phase::stopped, "stopped by a person");
            }
            hand_over_stops_ = true;
            return;
        case Phase::starting:
            return end_serving(Phase::stopped, "stopped by a person");
        case Phase::restoring:
            call(ReplicaCall::stop);
            return finish_stop("");
        case Phase::secondary: {
            enter(Phase::leaving, "is being stopped");
            ControlMessage message;
            message.kind = ControlKind::leave;
            send(std::move(message));
            return set_timer(MirrorTimer::leave, options_.detect * 2);
        }
        case Phase::leaving:
            return;
        case Phase::wait:
        case Phase::claiming:
        case Phase::forcing:
        case Phase::preparing:
        case Phase::target:
        case Phase::syncing:
        case Phase::ready:
            return finish_stop("");
    }
}

void MirrorMachine::command_swap(CommandId id) {
    if (phase_ == Phase::primary && !pending_) return begin_hand_over(false, id);
    if (phase_ == Phase::secondary && swap_command_ == 0) {
        swap_command_ = id;
        set_timer(MirrorTimer::command, options_.command_timeout);
        ControlMessage message;
        message.kind = ControlKind::swap_request;
        return send(std::move(message));
    }
    reply(id, false,
          "a swap needs one node in state primary and the other in state secondary; "
          "this one is in state " +
              std::string(mirror_state_name(state())));
}

void MirrorMachine::command_promote(CommandId id) {
    if (phase_ == Phase::alone || phase_ == Phase::primary) return reply(id, true, "");
    const bool may = phase_ == Phase::wait || phase_ == Phase::claiming || phase_ == Phase::held;
    if (!may) {
        return reply(id, false,
                     "only a mirror in state wait can be promoted by force; this one is "
                     "in state " +
                         std::string(mirror_state_name(state())));
    }
    promote_command_ = id;
    may_not_claim_ = may_not_follow_ = false;
    failure_.clear();
    begin_force();
}

// The source will find that what it has sent is not here: before anything is put back, it is on
// record that everything has to be compared.
void MirrorMachine::command_promote_before(CommandId id) {
    if (phase_ != Phase::wait || superblock_.is_consistent) {
        return reply(id, false,
                     phase_ == Phase::wait
                         ? "this copy is complete: no resync of it was interrupted"
                         : "only a mirror in state wait can go back; this one is in state " +
                               std::string(mirror_state_name(state())));
    }
    if (pending_) return reply(id, false, "another change is under way");
    promote_command_ = id;
    require_comparison();
    enter(Phase::restoring, "goes back to the state before the resync");
    store(AfterStore::restore);
}

// On the serving node it is on record until the peer is in sync: a restart does not undo it, from
// the answer on.
void MirrorMachine::command_resync_full(CommandId id) {
    switch (phase_) {
        case Phase::alone:
            require_comparison();
            store(AfterStore::nothing, id);
            if (session_ && attach_ != Attach::none) {
                close_session();
                lose_target("a full comparison was asked for");
            }
            return call(ReplicaCall::compare_everything);
        case Phase::primary:
            if (pending_) return reply(id, false, "another change is under way");
            require_comparison();
            store(AfterStore::nothing, id);
            close_session();
            call(ReplicaCall::detach);
            call(ReplicaCall::compare_everything);
            return hold("a full comparison was asked for");
        case Phase::wait:
            comparison_ = prng_.uuid();
            accepts_overwrite_ = true;
            refusal_.clear();
            send_hello();
            reply(id, true, "");
            return evaluate();
        case Phase::target:
        case Phase::secondary:
            comparison_ = prng_.uuid();
            accepts_overwrite_ = true;
            reply(id, true, "");
            return stop_following("a full comparison was asked for");
        default:
            return reply(id, false,
                         "not possible in state " + std::string(mirror_state_name(state())));
    }
}

// The copies differ, so the peer must not count as in sync: a new session begins with a resync of
// what is marked. Where there is none, the next one does.
void MirrorMachine::command_resync_changed(CommandId id) {
    comparison_ = prng_.uuid();  // the intents may name a whole volume
    const std::string why = "the copies differ: something was changed without the mirror";
    switch (phase_) {
        case Phase::alone:
            if (session_ && attach_ != Attach::none) {
                close_session();
                lose_target(why);
            }
            return reply(id, true, "");
        case Phase::primary:
            if (pending_) return reply(id, false, "another change is under way");
            close_session();
            call(ReplicaCall::detach);
            reply(id, true, "");
            return hold(why);
        case Phase::target:
        case Phase::secondary:
            reply(id, true, "");
            return stop_following(why);
        case Phase::stopped:
        case Phase::wait:
        case Phase::claiming:
        case Phase::held:
            return reply(id, true, "");
        default:
            return reply(id, false, "another change is under way");
    }
}

// What is changed in the bare directories is found by a comparison alone, so that it is demanded is
// on record before they are uncovered.
void MirrorMachine::command_release(CommandId id) {
    if (phase_ != Phase::stopped) {
        return reply(
            id, false,
            "only a stopped mirror can be released: 'gemel stop " + options_.mirror + "' first");
    }
    require_comparison();
    void_incarnation();
    store(AfterStore::uncover, id);
}

}  // namespace gemel
