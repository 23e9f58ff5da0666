// SPDX-License-Identifier: Apache-2.0
// Following: being filled by a resync, then receiving every write. A target is in no set: its
// incarnation is new (M3), and it is named only after its copy is complete and on stable storage,
// so that a power cut of both nodes cannot make a copy the source that never had what the other
// synced.
#include "controller/mirror_machine.hpp"
#include "engine/base/probe.hpp"

#include <algorithm>

namespace gemel {

void MirrorMachine::follow(const ControlMessage& message) {
    std::string why_not;
    const bool older = message.value.epoch < known_.epoch ||
                       (message.value.epoch < superblock_.epoch && !accepts_overwrite_);
    if (phase_ != Phase::wait || pending_) {
        why_not = options_.node + " is busy";
    } else if (may_not_follow_) {
        why_not = options_.node + "'s copy failed: " + failure_;
    } else if (older || message.value.serving != options_.peer ||
               message.value.find(options_.node) != nullptr) {
        why_not = options_.node + " knows a newer register (" + describe(known_) + ", own epoch " +
                  std::to_string(superblock_.epoch) + ")";
    } else if (!accepts_overwrite_) {
        why_not =
            divergence_with(message.histories, superblock_.histories, options_.peer, options_.node);
    }
    if (!why_not.empty()) {
        ControlMessage answer;
        answer.kind = ControlKind::decline;
        answer.text = why_not;
        return send(std::move(answer));
    }
    known_ = message.value;
    refusal_.clear();
    const bool is_whole = superblock_.is_consistent && !must_compare() &&
                          !superblock_.histories.empty() && !accepts_overwrite_;
    // What the image does not have counts as it stands, which nobody knows of such a copy.
    const bool may_go_on = !superblock_.is_consistent && !must_compare();
    before_ = is_whole ? BeforeResync::begin : may_go_on ? BeforeResync::go_on : BeforeResync::drop;
    enter(Phase::preparing, "is being brought up to date by " + options_.peer);
    if (!superblock_.is_consistent) return prepare_copy();
    // Of an earlier resync something may be left that could not be removed then. From the moment
    // when this copy is on record as half filled it would be taken for what this one keeps (M7).
    call(ReplicaCall::forget_before);
}

void MirrorMachine::before_forgotten(const ReplicaNoticed& event) {
    if (phase_ != Phase::preparing || !superblock_.is_consistent) return;
    if (!event.status.ok()) return following_failed(event.what, event.is_suspect);
    prepare_copy();
}

void MirrorMachine::prepare_copy() {
    draw_incarnation();
    superblock_.is_consistent = false;
    superblock_.served_alone_unrecorded = false;
    // Given up by a person: it must not be refused again when the resync is interrupted.
    if (accepts_overwrite_) superblock_.histories.clear();
    superblock_.epoch = known_.epoch;
    store(AfterStore::follow);
}

void MirrorMachine::begin_following() {
    GEMEL_ASSERT(phase_ == Phase::preparing && session_);
    enter(Phase::target, reason_);
    ControlMessage message;
    message.kind = ControlKind::following;
    send(std::move(message));
    // Behind the answer: the target begins to speak at once.
    CallReplica action;
    action.call = ReplicaCall::begin_following;
    action.copy = {must_compare() || accepts_overwrite_, comparison_, must_compare(), before_};
    actions_.emplace_back(action);
}

void MirrorMachine::copy_complete() {
    enter(Phase::syncing, "makes the copy durable");
    call(ReplicaCall::sync_volumes);
}

void MirrorMachine::copy_synced(Status status) {
    if (phase_ != Phase::syncing) return;
    if (!status.ok()) {
        return following_failed("the copy cannot be synced: " + status.to_string(), true);
    }
    superblock_.is_consistent = true;
    superblock_.histories = source_histories_;
    superblock_.history_is_shared = true;
    for (SuperblockVolume& volume : superblock_.volumes) volume.must_compare = false;
    accepts_overwrite_ = false;
    store(AfterStore::ready);
}

void MirrorMachine::joined(const RegisterValue& value) {
    if (!value.has(options_.node, superblock_.incarnation)) return;
    learn(value);
    may_not_claim_ = false;
    failure_.clear();
    superblock_.epoch = value.epoch;
    store(AfterStore::nothing);
    call(ReplicaCall::promote_to_secondary);
    actions_.emplace_back(ShowMount{MountMode::secondary, ++mount_generation_});
    enter(Phase::secondary, "");
}

void MirrorMachine::stop_following(const std::string& reason) {
    GEMEL_ASSERT(is_following());
    const bool shown = phase_ == Phase::secondary || phase_ == Phase::leaving;
    call(ReplicaCall::stop);
    if (shown) {
        call(ServiceCall::abort_mount);
        actions_.emplace_back(ShowMount{MountMode::guard, ++mount_generation_});
    }
    enter(Phase::wait, reason);
    close_session();
    known_is_fresh_ = false;
    yield_over_ = false;
    evaluate();
}

// The serving node's disk hangs, and the arbiter can be asked. What it acknowledged is here, and
// nothing more is taken from it before this node claims the right to serve (M5).
void MirrorMachine::leave_hanging_peer() {
    if (!am_member() || own_disk_hangs_) return;
    GEMEL_PROBE("mirror machine: leaves a serving node whose disk hangs");
    close_session();
    stop_following(options_.peer + "'s disk hangs");
}

void MirrorMachine::following_failed(const std::string& what, bool is_suspect) {
    failure_ = what;
    may_not_claim_ = may_not_follow_ = true;
    announce(LogLevel::error, "failure", "this node's copy failed: " + what);
    void_incarnation();
    if (is_suspect) require_comparison();
    store(AfterStore::nothing);
    set_timer(MirrorTimer::rejoin, options_.rejoin);
    stop_following("this node's copy failed: " + what);
}

}  // namespace gemel
