// SPDX-License-Identifier: Apache-2.0
// The state wait: who may claim the right to serve. Every claim is a swap, so a wrong guess here
// costs time, never data; what must be right is *eligibility*: named in the register with the
// incarnation this node has now, or the only one named and nobody's copy can be better.
#include "controller/mirror_machine.hpp"
#include "engine/base/probe.hpp"

#include <algorithm>

namespace gemel {

namespace {

// Object ids are tagged with the epoch they are allotted in. A node that goes on by force keeps
// away from the epochs that the other may be given meanwhile, by a vote or by force there.
constexpr std::uint64_t kForcedJump = 1024;

std::uint64_t forced_epoch(std::uint64_t newest, bool is_first) noexcept {
    return newest + kForcedJump + (is_first ? 0 : kForcedJump / 2);
}

// A node's durable epoch follows the register's: by one for a swap that was won and not stored yet,
// once more for each crash in that moment. Further behind, its state is an older one put back.
constexpr std::uint64_t kEpochLagMax = 8;

}  // namespace

void MirrorMachine::evaluate() {
    GEMEL_ASSERT(phase_ == Phase::wait);
    if (pending_) {
        // A proposal of an earlier phase: nothing else is begun before its outcome (M2).
        return explain("waits for the outcome of an earlier change: " + arbiter_trouble_);
    }
    if (!known_is_fresh_) {
        if (!arbiter_trouble_.empty()) explain(arbiter_trouble_);
        return read_register();
    }
    if (!arbiter_trouble_.empty()) return explain(arbiter_trouble_);
    if (register_is_older()) {
        const bool diverged = superblock_.served_alone_unrecorded && !refusal_.empty();
        return explain(diverged ? refusal_ : older_register_sentence());
    }
    if (may_not_claim_ && known_.find(options_.node) != nullptr) {
        return explain("this node's copy failed: " + failure_);
    }
    if (known_.is_empty()) return evaluate_first_start();
    if (known_.is_only(options_.node)) return evaluate_sole();
    if (am_member()) return evaluate_member();
    if (known_.find(options_.node) != nullptr) return evaluate_rebooted();
    evaluate_outside();
}

// The register does not name this node.
void MirrorMachine::evaluate_outside() {
    const RegisterMember* peer = known_.find(options_.peer);
    const RegisterMember* self = known_.find_previous(options_.node);
    const bool has_state = !superblock_.histories.empty();  // at the very first start it has not
    if (peer != nullptr && session_ && hello_ && has_state && peer_lost_its_state()) {
        // It may have begun, and acknowledged what is nowhere else.
        return explain("the register names " + options_.peer +
                       " as the only one in sync, but its state is gone: restore its state "
                       "directory, or 'gemel promote " +
                       options_.mirror + " --force' where the newest data are");
    }
    if (peer != nullptr && self != nullptr && session_ && hello_ &&
        self->incarnation == superblock_.incarnation && !superblock_.incarnation.number.is_none() &&
        hello_->known.same_as(known_) && hello_->epoch < known_.epoch && !hello_->is_serving &&
        (hello_->incarnation != peer->incarnation || hello_->state == MirrorState::stopped)) {
        // The peer was recorded as the only one, but was restarted or stopped before it began: it
        // never acknowledged anything that this node, in the set until then, does not hold. It said
        // so knowing this very value, so it can begin by another swap only, which would meet ours.
        // (Its epoch says so; where its state is gone it says nothing.)
        GEMEL_PROBE("mirror machine: the only node recorded never began");
        return claim(options_.peer + " did not begin to serve alone");
    }
    if (!refusal_.empty()) return explain(refusal_);
    const std::string failed =
        failure_.empty() ? "" : "this node's copy failed: " + failure_ + "; ";
    // Recorded as serving may still be this node itself, whose copy has failed.
    explain(failed + "waits for " + options_.peer +
            (session_ ? " to bring it up to date" : ", which holds the newest data"));
}

void MirrorMachine::evaluate_first_start() {
    const std::string& peer = options_.peer;
    if (!session_ || !hello_) {
        return explain("waits for " + peer +
                       ": at the very first start both nodes must be there ('gemel promote " +
                       options_.mirror + " --force' starts this one alone)");
    }
    if (hello_->state == MirrorState::stopped) {
        return explain("waits until " + peer + " is started");
    }
    const std::string& first = options_.is_first ? options_.node : peer;
    const bool first_is_empty =
        options_.is_first ? options_.directories_are_empty : hello_->is_empty;
    const bool other_is_empty =
        options_.is_first ? hello_->is_empty : options_.directories_are_empty;
    if (first_is_empty && !other_is_empty) {
        const std::string& other = options_.is_first ? peer : options_.node;
        return explain(first + " would be copied to " + other + ", but it is empty and " + other +
                       " is not: put \"" + other + "\" first in 'nodes' of [mirror." +
                       options_.mirror + "], or empty it");
    }
    if (!options_.is_first) return explain("waits for " + peer + ", the first of 'nodes'");
    claim("is the first of 'nodes' at the very first start");
}

// The register names this node alone.
void MirrorMachine::evaluate_sole() {
    if (am_member()) return claim("is the only node in sync");
    evaluate_sole_restarted();
}

// The only one named, with an incarnation that is gone: no other copy is better, if this copy is
// still that one and this node had begun to serve under that value.
void MirrorMachine::evaluate_sole_restarted() {
    if (superblock_.histories.empty()) {
        return explain(
            "the register names this node as the only one in sync, but its state is "
            "gone: restore its state directory, or 'gemel promote " +
            options_.mirror + " --force' where the newest data are");
    }
    if (superblock_.epoch + kEpochLagMax < known_.epoch || !superblock_.is_consistent) {
        return explain("the register names this node as the only one in sync at epoch " +
                       std::to_string(known_.epoch) + ", but its state is that of epoch " +
                       std::to_string(superblock_.epoch) + ": it was restored from a backup");
    }
    if (known_.serving != options_.node) {
        GEMEL_PROBE("mirror machine: named by a failing node, but restarted");
        return explain("was named when " + known_.serving + "'s copy failed, but was restarted " +
                       "since: what had not been synced is on " + known_.serving +
                       " only; choose by 'gemel promote " + options_.mirror + " --force'");
    }
    const RegisterMember* peer = known_.find_previous(options_.peer);
    if (superblock_.epoch < known_.epoch && peer != nullptr) {
        const std::string wait = "was restarted before it had begun to serve alone: waits for ";
        if (!session_ || !hello_) return explain(wait + options_.peer);
        if (hello_->incarnation == peer->incarnation) {
            return explain(wait + options_.peer + ", which holds the newest data");
        }
    }
    // Its state may be an older one put back, whose intents are those of then.
    if (superblock_.epoch < known_.epoch) require_comparison();
    GEMEL_PROBE("mirror machine: sole node after a reboot");
    claim("is the only node in sync, and was restarted");
}

// Both nodes are named, this one with its present incarnation: it holds every acknowledged write.
void MirrorMachine::evaluate_member() {
    const RegisterMember* peer = known_.find(options_.peer);
    GEMEL_ASSERT(peer != nullptr);
    const bool may_take_over = peer_disk_hangs_ && !own_disk_hangs_ && options_.arbiter_votes;
    if (may_take_over && known_.serving == options_.peer) {
        close_session();  // M5
        return claim(options_.peer + "'s disk hangs");
    }
    if (!session_ || !hello_) {
        if (peer_silent_ && !session_) return claim(options_.peer + " is silent on every link");
        if (known_.serving == options_.node) return claim("is recorded as the serving node");
        return yield_first(options_.peer + " is alive: waits for its session");
    }
    if (known_.serving == options_.node) return claim("is recorded as the serving node");
    if (hello_->incarnation != peer->incarnation) {
        GEMEL_PROBE("mirror machine: the recorded serving node was rebooted");
        return claim(options_.peer + " was restarted and has lost what it held in memory");
    }
    if (hello_->is_failed) return claim(options_.peer + "'s copy failed");
    if (hello_->gives_way && !own_disk_hangs_) {
        return claim(options_.peer + " gives way: its disk hangs");
    }
    if (hello_->state == MirrorState::stopped) return claim(options_.peer + " is stopped");
    if (hello_->is_serving) return explain("waits for " + options_.peer + ", which serves");
    yield_first("waits for " + options_.peer + ", recorded as the serving node");
}

// Both are named, this one with an incarnation that is gone.
void MirrorMachine::evaluate_rebooted() {
    const RegisterMember* peer = known_.find(options_.peer);
    GEMEL_ASSERT(peer != nullptr);
    if (!session_ || !hello_) {
        return explain("was restarted and lost what it held in memory: waits for " + options_.peer +
                       ", which may hold newer data");
    }
    if (hello_->incarnation == peer->incarnation) {
        return explain("waits for " + options_.peer + ", which holds the newest data");
    }
    GEMEL_PROBE("mirror machine: both were rebooted");
    if (hello_->incarnation.boot == peer->incarnation.boot) {
        return explain("was restarted, and " + options_.peer +
                       "'s copy failed: what had not been " + "synced is on " + options_.peer +
                       " only; choose by 'gemel promote " + options_.mirror + " --force'");
    }
    // Both were restarted. What was synced is on both; the recorded serving node goes first.
    if (!is_fit() && (hello_->is_virgin() || !hello_->is_consistent)) {
        return explain(
            "both nodes were restarted, and neither copy is known to be whole: choose "
            "by 'gemel promote " +
            options_.mirror + " --force' where the newest data are");
    }
    if (!is_fit()) return explain("waits for " + options_.peer + ", whose copy is the better one");
    const bool peer_is_fit = !hello_->is_virgin() && hello_->is_consistent && !hello_->is_failed &&
                             hello_->state != MirrorState::stopped && !hello_->must_compare;
    if (known_.serving == options_.node || !peer_is_fit) {
        return claim("both nodes were restarted; it goes first");
    }
    yield_first("both nodes were restarted; waits for " + options_.peer + " to go first");
}

// Its state directory was made anew, or is an older one put back.
bool MirrorMachine::peer_lost_its_state() const noexcept {
    return hello_->is_virgin() || hello_->epoch + kEpochLagMax < known_.epoch;
}

bool MirrorMachine::is_fit() const noexcept {
    return superblock_.is_consistent && !superblock_.histories.empty() && !may_not_claim_ &&
           superblock_.epoch + kEpochLagMax >= known_.epoch;
}

void MirrorMachine::yield_first(const std::string& to_whom) {
    if (yield_over_) return claim(options_.peer + " had its time and did not begin");
    if (reason_ != to_whom) set_timer(MirrorTimer::yield, options_.yield);
    explain(to_whom);
}

void MirrorMachine::claim(const std::string& why) {
    GEMEL_ASSERT(phase_ == Phase::wait && !pending_);
    if (superblock_.incarnation.number.is_none()) draw_incarnation();
    was_held_ = false;
    enter(Phase::claiming, why);
    propose(Purpose::claim, known_, value_of_me_alone(), false);
}

// --- promote --force -----------------------------------------------------------------------------

void MirrorMachine::restored(Status status, const std::string& what) {
    if (phase_ != Phase::restoring) return;
    if (!status.ok()) {
        announce(LogLevel::error, "failure", what);
        reply(promote_command_, false, what);
        enter(Phase::wait, what);
        known_is_fresh_ = false;  // as at every begin of this state: what is read arms the timer
        return evaluate();
    }
    superblock_.is_consistent = true;
    announce(LogLevel::warning, "restored",
             "the state before the interrupted resync is back: what " + options_.peer +
                 " has written since is not in it");
    may_not_claim_ = may_not_follow_ = false;
    failure_.clear();
    begin_force();
}

void MirrorMachine::begin_force() {
    was_held_ = phase_ == Phase::held;
    cancel_timer(MirrorTimer::give_up);
    enter(Phase::forcing, "a person chose this node");
    // An unsettled proposal goes on being proposed; its outcome is met while serving unrecorded.
    if (pending_) return force_without_vote();
    read_register();
}

void MirrorMachine::force_with_vote() {
    if (superblock_.incarnation.number.is_none()) draw_incarnation();
    const std::uint64_t epoch =
        forced_epoch(std::max(known_.epoch, superblock_.epoch), options_.is_first);
    propose(Purpose::force, known_, value_of(epoch, options_.node, {me()}), true);
}

void MirrorMachine::force_without_vote() {
    GEMEL_PROBE("mirror machine: forced without a vote");
    if (superblock_.incarnation.number.is_none()) draw_incarnation();
    unrecorded_ = true;
    superblock_.served_alone_unrecorded = true;
    forced_from_ = std::max(known_.epoch, superblock_.epoch);
    superblock_.epoch = forced_epoch(forced_from_, options_.is_first);
    announce(LogLevel::warning, "forced",
             "goes on alone by force while " + options_.arbiter_name +
                 " cannot be reached: writes that only " + options_.peer +
                 " holds are missing here, and if it serves too the copies diverge");
    draw_history();
    if (!superblock_.is_consistent) {
        require_comparison();
        superblock_.is_consistent = true;
    }
    enter(Phase::starting, "forced by a person, not recorded by " + options_.arbiter_name);
    if (pending_) set_timer(MirrorTimer::retry, options_.retry);
    store(AfterStore::serve);
}

std::string MirrorMachine::divergence_with(const std::vector<Uuid>& source,
                                           const std::vector<Uuid>& target,
                                           const std::string& source_node,
                                           const std::string& target_node) const {
    if (target.empty()) return {};
    if (std::find(source.begin(), source.end(), target.front()) != source.end()) return {};
    const bool related = std::any_of(target.begin(), target.end(), [&](const Uuid& history) {
        return std::find(source.begin(), source.end(), history) != source.end();
    });
    return std::string(related ? "both copies were written apart from each other"
                               : "the copies have no common past") +
           ": choose the one to keep by 'gemel promote " + options_.mirror +
           " --force' on its node, then give up the other by 'gemel resync " + options_.mirror +
           " --full' there (" + source_node + " serves its own copy; " + target_node +
           " keeps its own untouched until then)";
}

}  // namespace gemel
