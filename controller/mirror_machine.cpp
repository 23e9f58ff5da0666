// SPDX-License-Identifier: Apache-2.0
// Dispatch of events, the register and its one unsettled proposal, the superblock and its waiters.
#include "controller/mirror_machine.hpp"

#include "engine/base/probe.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

MirrorMachine::MirrorMachine(MirrorMachineOptions options, Superblock superblock, Prng& prng)
    : options_(std::move(options)), superblock_(std::move(superblock)), prng_(prng) {
    GEMEL_ASSERT(!options_.node.empty() && options_.node != options_.peer);
    GEMEL_ASSERT(!options_.boot.is_none());
    // Another boot: what was held in memory is gone, so this node is in no set (protocol.md 1).
    if (superblock_.incarnation.boot != options_.boot) superblock_.incarnation = {};
    comparison_ = prng_.uuid();
}

MirrorActions MirrorMachine::step(const MirrorEvent& event) {
    GEMEL_ASSERT(actions_.empty());
    std::visit([this](const auto& e) { handle(e); }, event);
    return std::exchange(actions_, {});
}

bool MirrorMachine::is_serving() const noexcept {
    return phase_ == Phase::alone || phase_ == Phase::primary || phase_ == Phase::held ||
           phase_ == Phase::handing_over || (phase_ == Phase::starting && was_held_);
}

bool MirrorMachine::is_following() const noexcept {
    return phase_ == Phase::preparing || phase_ == Phase::target || phase_ == Phase::syncing ||
           phase_ == Phase::ready || phase_ == Phase::secondary || phase_ == Phase::leaving;
}

MirrorState MirrorMachine::state() const noexcept {
    switch (phase_) {
        case Phase::stopped:
            return MirrorState::stopped;
        case Phase::wait:
        case Phase::claiming:
        case Phase::restoring:
        case Phase::forcing:
            return MirrorState::wait;
        case Phase::starting:
            return was_held_ ? MirrorState::primary : MirrorState::wait;
        case Phase::alone:
            return MirrorState::alone;
        case Phase::primary:
        case Phase::held:
            return MirrorState::primary;
        case Phase::handing_over:
            return known_.is_only(options_.node) ? MirrorState::alone : MirrorState::primary;
        case Phase::preparing:
        case Phase::target:
        case Phase::syncing:
        case Phase::ready:
            return MirrorState::resync;
        case Phase::secondary:
        case Phase::leaving:
            return MirrorState::secondary;
    }
    return MirrorState::stopped;
}

bool MirrorMachine::must_compare() const noexcept {
    return std::any_of(superblock_.volumes.begin(), superblock_.volumes.end(),
                       [](const SuperblockVolume& v) { return v.must_compare; });
}

void MirrorMachine::require_comparison() {
    comparison_ = prng_.uuid();
    for (SuperblockVolume& volume : superblock_.volumes) volume.must_compare = true;
}

MirrorHello MirrorMachine::make_hello() const {
    MirrorHello hello;
    hello.state = state();
    hello.is_serving = is_serving();
    hello.is_failed = may_not_claim_ && (may_not_follow_ || is_serving());
    hello.is_consistent = superblock_.is_consistent;
    hello.is_empty = options_.directories_are_empty;
    hello.must_compare = must_compare();
    hello.accepts_overwrite = accepts_overwrite_;
    hello.is_unrecorded = unrecorded_;
    hello.gives_way = gives_way_;
    hello.epoch = superblock_.epoch;
    hello.known = known_;
    hello.incarnation = superblock_.incarnation;
    hello.histories = superblock_.histories;
    hello.config = options_.config;
    return hello;
}

// --- Building actions ----------------------------------------------------------------------------

void MirrorMachine::enter(Phase phase, std::string reason) {
    const MirrorState before = state();
    if (phase_ != phase) ++era_;
    phase_ = phase;
    reason_ = std::move(reason);
    gives_way_ = false;
    if (phase != Phase::wait) {
        yield_over_ = false;
        cancel_timer(MirrorTimer::yield);
    }
    if (state() != before) {
        announce(LogLevel::info, "state",
                 std::string(mirror_state_name(state())) + (reason_.empty() ? "" : ": ") + reason_);
    }
    send_hello();
}

void MirrorMachine::explain(std::string reason) {
    if (reason_ == reason) return;
    reason_ = std::move(reason);
    announce(LogLevel::info, "reason", reason_);
}

void MirrorMachine::announce(LogLevel level, std::string kind, std::string text) {
    actions_.emplace_back(Announce{level, std::move(kind), std::move(text)});
}

void MirrorMachine::reply(CommandId& id, bool done, std::string text) {
    if (id != 0) actions_.emplace_back(ReplyCommand{id, done, std::move(text)});
    id = 0;
}

void MirrorMachine::send(ControlMessage message) {
    if (session_) actions_.emplace_back(SendControl{std::move(message)});
}

void MirrorMachine::send_hello() {
    if (session_) actions_.emplace_back(SendHello{make_hello()});
}

void MirrorMachine::call(ReplicaCall replica_call) {
    CallReplica action;
    action.call = replica_call;
    action.epoch = superblock_.epoch;
    actions_.emplace_back(action);
}

void MirrorMachine::call(ServiceCall service_call) {
    actions_.emplace_back(CallService{service_call, service_generation_});
}

void MirrorMachine::set_timer(MirrorTimer timer, Duration delay) {
    actions_.emplace_back(SetTimer{timer, delay});
}

void MirrorMachine::cancel_timer(MirrorTimer timer) { actions_.emplace_back(CancelTimer{timer}); }

// --- Superblock ----------------------------------------------------------------------------------

void MirrorMachine::store(AfterStore after, CommandId command) {
    const std::uint64_t ticket = next_ticket_++;
    // A new history is awaited by the replica for as long as this serving lasts, whatever phases it
    // passes through.
    const std::uint64_t era = after == AfterStore::history ? served_ : era_;
    waiters_.push_back({ticket, era, after, command});
    actions_.emplace_back(StoreSuperblock{ticket, superblock_});
}

void MirrorMachine::handle(const SuperblockStored& event) {
    const auto found = std::find_if(waiters_.begin(), waiters_.end(), [&](const Waiter& waiter) {
        return waiter.ticket == event.ticket;
    });
    GEMEL_ASSERT(found != waiters_.end());
    Waiter waiter = *found;
    waiters_.erase(found);
    stored(waiter, event.status);
}

void MirrorMachine::stored(Waiter waiter, Status status) {
    if (!status.ok()) {
        const std::string what = "the state directory cannot be written: " + status.to_string();
        reply(waiter.command, false, what);
        if (is_serving() || phase_ == Phase::starting) return serving_failed(what);
        if (is_following()) return following_failed(what, false);
        if (phase_ == Phase::restoring) return restored(status, what);
        announce(LogLevel::error, "failure", what);
        return;
    }
    if (waiter.after == AfterStore::history) {
        if (waiter.era == served_ && is_serving()) {
            actions_.emplace_back(CallReplica{ReplicaCall::history_stored, 0, false, status, {}});
        }
        return;
    }
    const bool is_overtaken = waiter.era != era_;  // what it was for
    const bool is_done = waiter.after == AfterStore::nothing || !is_overtaken;
    reply(waiter.command, is_done, is_done ? "" : "another command came in between");
    if (is_overtaken) return;
    switch (waiter.after) {
        case AfterStore::nothing:
        case AfterStore::history:
            break;
        case AfterStore::serve:
            serve();
            break;
        case AfterStore::withdraw:
            call(ReplicaCall::finish_attaching_out);
            attach_ = Attach::none;
            consider_attach();
            break;
        case AfterStore::complete:
            complete_target();
            break;
        case AfterStore::follow:
            begin_following();
            break;
        case AfterStore::ready: {
            ControlMessage message;
            message.kind = ControlKind::ready;
            message.incarnation = superblock_.incarnation;
            enter(Phase::ready, "the copy is complete; " + options_.peer + " records it");
            send(std::move(message));
            break;
        }
        case AfterStore::recorded:
            join_recorded();
            break;
        case AfterStore::restore:
            call(ReplicaCall::restore_before);
            break;
        case AfterStore::uncover:
            actions_.emplace_back(ShowMount{MountMode::bare, ++mount_generation_});
            break;
    }
}

void MirrorMachine::draw_incarnation() { superblock_.incarnation = {options_.boot, prng_.uuid()}; }

// In no set any more, and yet not restarted: the boot stays, so that the peer can tell.
void MirrorMachine::void_incarnation() { superblock_.incarnation = {options_.boot, {}}; }

// A history that no other copy carries is replaced, so that a node that is restarted again and
// again while it is alone does not push out the one that its peer has.
void MirrorMachine::draw_history() {
    std::vector<Uuid>& histories = superblock_.histories;
    if (superblock_.history_is_shared || histories.empty()) {
        histories.insert(histories.begin(), Uuid{});
        histories.resize(std::min(histories.size(), Superblock::kHistoriesMax));
    }
    histories.front() = prng_.uuid();
    superblock_.history_is_shared = false;
}

// The peer has made durable which history it has. What is newer here was offered to it and not
// taken: only our own newest is still carried by a copy. Hence the peer's never stands further
// behind than what was offered since, and the end of the list can be cut off.
void MirrorMachine::drop_unknown_histories() {
    std::vector<Uuid>& histories = superblock_.histories;
    if (histories.empty() || !hello_ || hello_->histories.empty()) return;
    const auto found = std::find(histories.begin() + 1, histories.end(), hello_->histories.front());
    if (found != histories.end()) histories.erase(histories.begin() + 1, found);
}

// --- Register ------------------------------------------------------------------------------------

void MirrorMachine::learn(const RegisterValue& value) {
    const bool is_new = !value.same_as(known_);
    known_ = value;
    known_is_fresh_ = true;
    arbiter_trouble_.clear();
    if (is_new) send_hello();
}

std::string MirrorMachine::older_register_sentence() const {
    return options_.arbiter_name + " records epoch " + std::to_string(known_.epoch) +
           ", older than epoch " + std::to_string(superblock_.epoch) +
           " that this node acted on: its state was lost or restored from a backup; choose the "
           "node with the newest data by 'gemel promote " +
           options_.mirror + " --force' there";
}

RegisterValue MirrorMachine::value_of(std::uint64_t epoch, const std::string& serving,
                                      std::vector<RegisterMember> members) {
    RegisterValue value;
    value.epoch = epoch;
    value.serving = serving;
    value.in_sync = std::move(members);
    // A sole node that has not begun under the present value passes on what that one replaced.
    const bool has_begun = superblock_.epoch >= known_.epoch;
    value.previous = known_.in_sync.size() == 1 && !has_begun ? known_.previous : known_.in_sync;
    value.token = prng_.uuid();
    return value;
}

RegisterValue MirrorMachine::value_of_me_alone() {
    std::uint64_t epoch = known_.epoch + 1;
    if (options_.has_own_epochs && epoch % 2 != (options_.is_first ? 0U : 1U)) ++epoch;
    return value_of(epoch, options_.node, {me()});
}

void MirrorMachine::read_register() {
    if (arbiter_busy_) return;
    arbiter_busy_ = true;
    actions_.emplace_back(ReadRegister{});
}

void MirrorMachine::propose(Purpose purpose, const RegisterValue& expected, RegisterValue value,
                            bool forced) {
    GEMEL_ASSERT(!pending_.has_value());
    GEMEL_ASSERT(value.epoch > expected.epoch);
    Pending pending;
    pending.proposal = {expected.epoch, expected.token, forced, std::move(value)};
    pending.purpose = purpose;
    pending_ = std::move(pending);
    send_pending();
}

void MirrorMachine::send_pending() {
    GEMEL_ASSERT(pending_.has_value());
    if (arbiter_busy_) return;  // sent when the call under way has ended
    arbiter_busy_ = true;
    pending_->sent_before = pending_->maybe_sent;
    pending_->maybe_sent = true;
    actions_.emplace_back(SwapRegister{pending_->proposal});
}

void MirrorMachine::handle(const RegisterRead& event) {
    arbiter_busy_ = false;
    if (pending_) return send_pending();  // a read settles no proposal
    const bool ok = event.answer.status.ok();
    if (!ok) arbiter_trouble_ = event.answer.text;
    switch (phase_) {
        case Phase::forcing:
            if (!ok && event.answer.current.is_empty()) return force_without_vote();
            learn(event.answer.current);
            return force_with_vote();
        case Phase::wait:
            set_timer(MirrorTimer::retry, options_.retry);
            // Not at once: an arbiter that is refused or not connected fails within no time.
            if (!ok) return explain(arbiter_trouble_);
            learn(event.answer.current);
            return evaluate();
        case Phase::alone:
            set_timer(MirrorTimer::retry, options_.retry * 8);
            if (ok) check_alone(event.answer.current);
            return;
        case Phase::held:
            if (ok) learn(event.answer.current);
            if (ok && !register_is_older() && !am_member()) return settle_lost(Purpose::isolate);
            return isolate();
        case Phase::secondary:
            if (!peer_disk_hangs_) return;
            if (!ok) return set_timer(MirrorTimer::retry, options_.retry);
            learn(event.answer.current);
            return leave_hanging_peer();
        default:
            return;
    }
}

void MirrorMachine::handle(const RegisterSwapped& event) {
    GEMEL_ASSERT(arbiter_busy_ && pending_.has_value());
    arbiter_busy_ = false;
    const SwapAnswer& answer = event.answer;
    if (answer.outcome == SwapOutcome::won) {
        Pending settled = std::move(*pending_);
        pending_.reset();
        reservation_ = answer.text;
        if (!reservation_.empty()) announce(LogLevel::warning, "vote", reservation_);
        learn(settled.proposal.value);
        return settle_won(std::move(settled));
    }
    if (answer.outcome == SwapOutcome::lost) {
        const Purpose purpose = pending_->purpose;
        pending_.reset();
        if (phase_ == Phase::alone && !unrecorded_ && answer.current.epoch < superblock_.epoch) {
            return register_went_back(answer.current);
        }
        learn(answer.current);
        return settle_lost(purpose);
    }
    arbiter_trouble_ = answer.text;
    if (answer.outcome == SwapOutcome::unreachable) {
        pending_->maybe_sent = pending_->sent_before;
        if (phase_ == Phase::claiming && !pending_->maybe_sent) {
            pending_.reset();
            enter(Phase::wait, answer.text);
            set_timer(MirrorTimer::retry, options_.retry);
            return;
        }
    } else {
        GEMEL_PROBE("mirror machine: outcome of a swap unknown");
    }
    if (phase_ == Phase::forcing) return force_without_vote();
    set_timer(MirrorTimer::retry, options_.retry);
    if (phase_ == Phase::held) {
        explain("acknowledges nothing: " + options_.peer + " is gone and " + answer.text);
    } else if (phase_ == Phase::claiming) {
        explain("waits for the outcome of its claim: " + answer.text);
    } else if (phase_ == Phase::alone && attach_ == Attach::joining) {
        explain("waits until it is recorded that " + options_.peer + " is in sync: " + answer.text);
    }
}

void MirrorMachine::settle_won(Pending settled) {
    if (phase_ == Phase::stopped) return;
    if (phase_ == Phase::wait) return evaluate();
    if (phase_ == Phase::alone && unrecorded_) return check_alone(known_);
    switch (settled.purpose) {
        case Purpose::claim:
        case Purpose::force:
            if (phase_ == Phase::claiming || phase_ == Phase::forcing) start_serving(was_held_);
            break;
        case Purpose::isolate:
            if (phase_ == Phase::primary) {
                close_session();
                call(ReplicaCall::detach);
                start_serving(true);
            } else if (phase_ == Phase::held) {
                start_serving(true);
            }
            break;
        case Purpose::join:
            if (phase_ == Phase::held) return isolate();
            GEMEL_ASSERT(phase_ == Phase::alone && attach_ == Attach::joining);
            attach_ = Attach::recording;
            superblock_.epoch = known_.epoch;
            store(AfterStore::recorded);
            break;
        case Purpose::hand_over:
            GEMEL_ASSERT(phase_ == Phase::handing_over);
            hand_over_done();
            break;
    }
}

void MirrorMachine::settle_lost(Purpose purpose) {
    if (phase_ == Phase::stopped) return;
    if (phase_ == Phase::wait) return evaluate();
    if (phase_ == Phase::claiming) {
        enter(Phase::wait, "another change was recorded first");
        set_timer(MirrorTimer::retry, options_.retry);
        return evaluate();
    }
    if (phase_ == Phase::forcing) {
        if (purpose == Purpose::force) return force_with_vote();
        return begin_force();
    }
    if (phase_ == Phase::alone && unrecorded_) return check_alone(known_);
    if (!is_serving() || phase_ == Phase::starting) return;
    if (register_is_older()) return end_serving(Phase::wait, older_register_sentence());
    if (!am_member()) {
        GEMEL_PROBE("mirror machine: deposed");
        return end_serving(Phase::wait,
                           options_.peer + " has taken over (" + describe(known_) + ")");
    }
    // Still named with this incarnation: claim it again over what is recorded now.
    GEMEL_PROBE("mirror machine: swap lost, still a member");
    if (phase_ == Phase::held) return isolate();
    if (phase_ == Phase::alone) {
        GEMEL_ASSERT(attach_ == Attach::joining);
        call(ReplicaCall::finish_attaching_in);
    }
    close_session();
    call(ReplicaCall::detach);
    hold("another change was recorded first");
}

// --- Session and the rest ------------------------------------------------------------------------

void MirrorMachine::handle(const SessionUp&) {
    if (session_) session_is_lost("replaced by a new session");
    session_ = true;
    hello_.reset();
    send_hello();
}

void MirrorMachine::handle(const SessionLost& event) {
    if (!session_) return;
    session_ = false;
    hello_.reset();
    session_is_lost("the session with " + options_.peer + " was lost (" + event.why + ")");
}

void MirrorMachine::close_session() {
    if (!session_) return;
    actions_.emplace_back(CloseSession{});
    session_ = false;
    hello_.reset();
}

void MirrorMachine::session_is_lost(const std::string& why) {
    refusal_.clear();
    switch (phase_) {
        case Phase::alone:
            return lose_target(why);
        case Phase::primary:
            call(ReplicaCall::detach);
            return hold(why);
        case Phase::handing_over:
            return hand_over_broken(why);
        case Phase::leaving:
            return finish_stop("");
        case Phase::wait:
            return evaluate();
        default:
            if (is_following()) stop_following(why);
            return;
    }
}

void MirrorMachine::handle(const MirrorHello& event) {
    if (!session_) return;
    hello_ = event;
    if (phase_ == Phase::wait) {
        if (event.known.epoch > known_.epoch) known_is_fresh_ = false;
        return evaluate();
    }
    if (phase_ == Phase::alone) consider_attach();
}

void MirrorMachine::handle(const PeerSilent&) {
    if (peer_silent_) return;
    peer_silent_ = true;
    if (session_) {
        close_session();
        session_is_lost(options_.peer + " is silent on every link");
    } else if (phase_ == Phase::wait) {
        evaluate();
    }
}

void MirrorMachine::handle(const PeerAlive&) {
    peer_silent_ = false;
    if (phase_ == Phase::wait) evaluate();
}

void MirrorMachine::handle(const DisksJudged& event) {
    own_disk_hangs_ = event.own_hangs;
    peer_disk_hangs_ = event.peer_hangs;
    if (event.peer_hangs) {
        announce(LogLevel::warning, "failure",
                 options_.peer + "'s disk hangs: what it was given " +
                     std::to_string(event.peer_age.ns / 1'000'000'000) +
                     " s ago is not done ('io-timeout')");
    }
    switch (phase_) {
        case Phase::wait:
            return evaluate();
        case Phase::alone:
            if (peer_disk_hangs_ && attach_ != Attach::none && attach_ != Attach::withdrawing) {
                // What it does not get done holds up the application sooner or later.
                close_session();
                return lose_target("its disk hangs");
            }
            return consider_attach();
        case Phase::held:
            return isolate();
        case Phase::secondary:
            // Only where a vote can be had against a peer that lives: otherwise it is better to
            // wait for its disk together.
            if (peer_disk_hangs_ && options_.arbiter_votes) read_register();
            return;
        default:
            return;
    }
}

void MirrorMachine::handle(const ControlMessage& event) {
    if (!session_) return;
    switch (event.kind) {
        case ControlKind::follow:
            return follow(event);
        case ControlKind::following:
            if (phase_ == Phase::alone && attach_ == Attach::offered) {
                attach_ = Attach::filling;
                drop_unknown_histories();
                explain("brings " + options_.peer + " up to date");
                CallReplica action;
                action.call = ReplicaCall::attach_target;
                action.full_compare = compare_fully_;
                actions_.emplace_back(action);
            }
            return;
        case ControlKind::complete:
            if (phase_ == Phase::target) {
                source_histories_ = event.histories;
                copy_complete();
            }
            return;
        case ControlKind::ready:
            return target_ready(event);
        case ControlKind::joined:
            if (phase_ == Phase::ready) joined(event.value);
            return;
        case ControlKind::decline:
            if (phase_ == Phase::alone && attach_ == Attach::offered) attach_ = Attach::none;
            if (phase_ == Phase::alone || phase_ == Phase::wait) {
                refusal_ = event.text;
                explain(event.text);
            }
            return;
        case ControlKind::leave:
            if (phase_ == Phase::primary && !pending_) {
                explain(options_.peer + " leaves");
                propose(Purpose::isolate, known_, value_of_me_alone(), false);
            }
            return;
        case ControlKind::swap_request:
            if (phase_ == Phase::primary && !pending_) begin_hand_over(false, 0);
            return;
        default:
            return;  // the arbiter's own
    }
}

void MirrorMachine::handle(const ReplicaNoticed& event) {
    switch (event.notice) {
        case ReplicaNotice::local_failure:
            if (is_serving()) return serving_failed(event.what);
            if (is_following()) return following_failed(event.what, event.is_suspect);
            return;
        case ReplicaNotice::peer_failure:
        case ReplicaNotice::peer_stuck:
            if (!session_ || !is_serving()) return;
            // Held, ops wait for the register, whatever the peer does.
            if (phase_ == Phase::held && event.notice == ReplicaNotice::peer_stuck) return;
            announce(LogLevel::warning, "failure", options_.peer + ": " + event.what);
            if (event.notice == ReplicaNotice::peer_failure) peer_failure_ = event.what;
            close_session();
            return session_is_lost(event.what);
        case ReplicaNotice::first_write_alone:
            if (!is_serving()) return;
            draw_history();
            return store(AfterStore::history);
        case ReplicaNotice::resync_complete:
            return resync_completed();
        case ReplicaNotice::quiesced:
            if (phase_ != Phase::handing_over || hand_over_ != HandOver::quiescing) return;
            if (!event.status.ok()) return hand_over_broken(event.what);
            return hand_over_step(HandOver::swapping);
        case ReplicaNotice::before_forgotten:
            return before_forgotten(event);
        case ReplicaNotice::restored:
            return restored(event.status, event.what);
        case ReplicaNotice::volumes_synced:
            return copy_synced(event.status);
    }
}

void MirrorMachine::handle(const ServiceNoticed& event) {
    if (event.notice == ServiceNotice::mounted) return mounted(event);
    if (event.generation != service_generation_ || phase_ != Phase::handing_over) return;
    if (event.notice == ServiceNotice::application_stopped && hand_over_ == HandOver::application) {
        hand_over_step(HandOver::draining);
    } else if (event.notice == ServiceNotice::drained && hand_over_ == HandOver::draining) {
        if (!event.status.ok()) return hand_over_broken(event.what);
        hand_over_step(HandOver::quiescing);
    }
}

void MirrorMachine::handle(const TimerFired& event) {
    switch (event.timer) {
        case MirrorTimer::retry:
            if (pending_) return send_pending();
            if (phase_ == Phase::wait || phase_ == Phase::alone || phase_ == Phase::held ||
                (phase_ == Phase::secondary && peer_disk_hangs_)) {
                read_register();
            }
            return;
        case MirrorTimer::give_up:
            if (phase_ == Phase::held || phase_ == Phase::handing_over) {
                end_serving(Phase::wait, "neither " + options_.peer + " nor " +
                                             options_.arbiter_name + " could be reached");
            }
            return;
        case MirrorTimer::yield:
            yield_over_ = true;
            if (phase_ == Phase::wait) evaluate();
            if (phase_ == Phase::held) isolate();
            return;
        case MirrorTimer::rejoin:
            may_not_follow_ = false;
            send_hello();
            if (phase_ == Phase::wait) evaluate();
            return;
        case MirrorTimer::steady:
            losses_ = 0;
            return;
        case MirrorTimer::admit:
            admits_ = true;
            if (phase_ == Phase::alone) consider_attach();
            return;
        case MirrorTimer::leave:
            if (phase_ == Phase::leaving) finish_stop("");
            return;
        case MirrorTimer::command:
            reply(swap_command_, false, "the roles were not exchanged in time");
            return;
    }
}

}  // namespace gemel
