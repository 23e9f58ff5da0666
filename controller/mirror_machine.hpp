// SPDX-License-Identifier: Apache-2.0
// Decides what one node does with one mirror: a state machine without any I/O. The shell feeds it
// events and carries out its actions. controller/README.md argues why nothing acknowledged is lost.
//
// Invariants kept here:
//   M1  serving begins only after a swap to {me} was won and the superblock holds its epoch;
//   M2  at most one proposal is unsettled, and nothing else is proposed, and no peer is followed,
//       before its outcome is known (but a person's promote --force);
//   M3  this node's incarnation is drawn anew, durably, before its copy is touched as a target, and
//       is void from an error of its copy on: an old value of the register names it no more;
//   M4  begin_attaching precedes the swap that adds the peer, at the moment when all was acked;
//   M5  a node that sends a takeover has closed the session of the old serving node before;
//   M6  a person's force is marked in the superblock and by a new history before it takes effect;
//   M7  while this copy is on record as half filled, what is kept of its last consistent state is
//       that of the parting which was followed by this filling: nothing older is left by then.
#pragma once

#include "controller/mirror_machine_types.hpp"
#include "engine/base/prng.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

struct MirrorMachineOptions {
    std::string mirror, node, peer;
    bool is_first = false;  // of the mirror's `nodes`: preferred at the very first start
    bool directories_are_empty = false;
    Uuid boot;          // Loop::boot_id
    ByteBuffer config;  // canonical listing, compared with the peer's
    // Sentence naming the first key in which two listings differ.
    std::function<std::string(Bytes ours, Bytes theirs)> describe_difference;
    std::string arbiter_name;  // for sentences
    // A node that is in sync may be recorded as the only one while the other is heard.
    bool arbiter_votes = true;
    // Both nodes may win a swap to themselves over the same value (arbiter kind ping): the first
    // node begins at even epochs only, the other at odd ones, so that no epoch begins twice.
    bool has_own_epochs = false;
    Duration detect = Duration::seconds(1);
    Duration retry = Duration::milliseconds(250);
    Duration give_up = Duration::seconds(10);
    Duration yield = Duration::seconds(3);
    Duration rejoin = Duration::seconds(30);
    // A peer that is lost again and again within `steady` of having been taken in costs the
    // application a stall each time: from the third loss on it is let in after a pause, which
    // doubles each time.
    Duration steady = Duration::seconds(60);
    Duration admit = Duration::seconds(1);
    Duration admit_max = Duration::seconds(30);
    Duration command_timeout = Duration::seconds(60);
};

class MirrorMachine {
   public:
    // `superblock`: as read from the disk, or a fresh one that names cluster, mirror, node,
    // volumes. The machine is stopped until the start command. Requires: `prng` outlives it.
    MirrorMachine(MirrorMachineOptions options, Superblock superblock, Prng& prng);

    // Carries out nothing itself. Requires: the actions of the step before have been carried out.
    [[nodiscard]] MirrorActions step(const MirrorEvent& event);

    [[nodiscard]] MirrorState state() const noexcept;
    [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
    [[nodiscard]] const RegisterValue& known() const noexcept { return known_; }
    [[nodiscard]] const Superblock& superblock() const noexcept { return superblock_; }
    [[nodiscard]] const std::optional<MirrorHello>& peer_hello() const noexcept { return hello_; }
    [[nodiscard]] bool has_session() const noexcept { return session_; }
    [[nodiscard]] MirrorHello make_hello() const;

   private:
    // Finer than MirrorState.
    enum class Phase : std::uint8_t {
        stopped,
        wait,
        claiming,   // wait: a swap to {me} is unsettled
        restoring,  // wait: the state before a resync is being put back
        forcing,    // wait: by promote --force
        starting,   // the swap is won, its epoch is being stored
        alone,
        primary,
        held,          // was primary: acknowledges nothing until a swap to {me} is settled
        handing_over,  // by swap or stop
        preparing,     // becoming a target: the new incarnation is being stored
        target,
        syncing,  // target, filled: its copy is being made durable
        ready,    // target: asks to be added to the set
        secondary,
        leaving,  // secondary that a person stopped
    };
    enum class Attach : std::uint8_t {
        none,
        offered,      // asked the peer to become the target
        filling,      // the resync runs
        sharing,      // everything acknowledged; that the target gets our history is being stored
        completing,   // ... and the target makes its copy durable
        joining,      // the swap that adds the peer is unsettled
        recording,    // ... is won, its epoch is being stored
        withdrawing,  // lost the target after begin_attaching; a new history is being stored
    };
    enum class Purpose : std::uint8_t { claim, isolate, join, hand_over, force };
    enum class HandOver : std::uint8_t { application, draining, quiescing, swapping };
    enum class AfterStore : std::uint8_t {
        nothing,
        serve,
        history,
        withdraw,
        complete,
        follow,
        ready,
        recorded,
        restore,
        uncover,
    };

    struct Pending {
        RegisterProposal proposal;
        Purpose purpose = Purpose::claim;
        bool maybe_sent = false;   // some attempt may have reached the arbiter
        bool sent_before = false;  // ... some attempt before the one under way
    };
    struct Waiter {
        std::uint64_t ticket = 0;
        std::uint64_t era = 0;
        AfterStore after = AfterStore::nothing;
        CommandId command = 0;  // a person's, answered with the outcome
    };

    // mirror_machine.cpp: dispatch, register, superblock
    void handle(const CommandGiven& event);
    void handle(const SessionUp& event);
    void handle(const SessionLost& event);
    void handle(const MirrorHello& event);
    void handle(const ControlMessage& event);
    void handle(const PeerSilent& event);
    void handle(const PeerAlive& event);
    void handle(const DisksJudged& event);
    void handle(const RegisterRead& event);
    void handle(const RegisterSwapped& event);
    void handle(const SuperblockStored& event);
    void handle(const ReplicaNoticed& event);
    void handle(const ServiceNoticed& event);
    void handle(const TimerFired& event);

    void enter(Phase phase, std::string reason);
    void explain(std::string reason);
    void announce(LogLevel level, std::string kind, std::string text);
    void reply(CommandId& id, bool done, std::string text);
    void send(ControlMessage message);
    void send_hello();
    void call(ReplicaCall replica_call);
    void call(ServiceCall service_call);
    void set_timer(MirrorTimer timer, Duration delay);
    void cancel_timer(MirrorTimer timer);
    void store(AfterStore after, CommandId command = 0);
    void stored(Waiter waiter, Status status);
    void read_register();
    void propose(Purpose purpose, const RegisterValue& expected, RegisterValue value, bool forced);
    void send_pending();
    void settle_won(Pending settled);
    void settle_lost(Purpose purpose);
    [[nodiscard]] RegisterValue value_of(std::uint64_t epoch, const std::string& serving,
                                         std::vector<RegisterMember> members);
    // {me}, at the next epoch that this node may begin at.
    [[nodiscard]] RegisterValue value_of_me_alone();
    [[nodiscard]] RegisterMember me() const { return {options_.node, superblock_.incarnation}; }
    [[nodiscard]] bool am_member() const noexcept {
        return known_.has(options_.node, superblock_.incarnation);
    }
    [[nodiscard]] bool register_is_older() const noexcept {
        return known_.epoch < superblock_.epoch;
    }
    [[nodiscard]] std::string older_register_sentence() const;
    void draw_incarnation();
    void void_incarnation();
    void draw_history();
    void drop_unknown_histories();
    void learn(const RegisterValue& value);
    void close_session();
    void session_is_lost(const std::string& why);

    // mirror_machine_wait.cpp: who may begin to serve
    void evaluate();
    void evaluate_first_start();
    void evaluate_sole();
    void evaluate_sole_restarted();
    void evaluate_outside();
    void evaluate_member();
    void evaluate_rebooted();
    void claim(const std::string& why);
    void yield_first(const std::string& to_whom);
    void restored(Status status, const std::string& what);
    void begin_force();
    void force_with_vote();
    void force_without_vote();
    // Requires: hello_.
    [[nodiscard]] bool peer_lost_its_state() const noexcept;
    [[nodiscard]] bool is_fit() const noexcept;
    [[nodiscard]] std::string divergence_with(const std::vector<Uuid>& source,
                                              const std::vector<Uuid>& target,
                                              const std::string& source_node,
                                              const std::string& target_node) const;

    // mirror_machine_serve.cpp: serving, alone or with a secondary, and its end
    void start_serving(bool was_held);
    void serve();
    void mounted(const ServiceNoticed& event);
    void consider_attach();
    void resync_completed();
    void complete_target();
    void target_ready(const ControlMessage& message);
    void join_recorded();
    void hold(const std::string& why);
    void isolate();
    // Leaves the mirror to the peer, for a while, because this node's own disk hangs.
    bool give_way();
    void count_loss();
    void forget_losses();
    void lose_target(const std::string& why);
    void check_alone(const RegisterValue& current);
    void register_went_back(const RegisterValue& current);
    void end_serving(Phase next, const std::string& reason);
    void begin_hand_over(bool then_stop, CommandId id);
    void hand_over_step(HandOver step);
    void hand_over_broken(const std::string& why);
    void hand_over_done();
    void serving_failed(const std::string& what);

    // mirror_machine_follow.cpp: target and secondary
    void follow(const ControlMessage& message);
    void before_forgotten(const ReplicaNoticed& event);
    void prepare_copy();
    void begin_following();
    void copy_complete();
    void copy_synced(Status status);
    void joined(const RegisterValue& value);
    void stop_following(const std::string& reason);
    void leave_hanging_peer();
    // `is_suspect`: what the copy holds is not known any more.
    void following_failed(const std::string& what, bool is_suspect);

    // mirror_machine_commands.cpp: what a person asks for
    void command_start(CommandId id);
    void command_stop(CommandId id);
    void command_swap(CommandId id);
    void command_promote(CommandId id);
    void command_promote_before(CommandId id);
    void command_resync_full(CommandId id);
    void command_resync_changed(CommandId id);
    void command_release(CommandId id);
    void finish_stop(const std::string& reason);

    [[nodiscard]] bool is_serving() const noexcept;
    [[nodiscard]] bool is_following() const noexcept;
    // Some volume of this copy has to be compared wholly.
    [[nodiscard]] bool must_compare() const noexcept;
    // From here on all of them have to be, anew even where that is under way. To be stored.
    void require_comparison();

    MirrorMachineOptions options_;
    Superblock superblock_;
    Prng& prng_;
    MirrorActions actions_;

    Phase phase_ = Phase::stopped;
    Attach attach_ = Attach::none;
    HandOver hand_over_ = HandOver::application;
    std::string reason_ = "not started yet";
    std::uint64_t era_ = 0;     // grows with every change of phase
    std::uint64_t served_ = 0;  // grows with every begin of serving
    std::uint64_t next_ticket_ = 1;
    std::uint64_t mount_generation_ = 0;
    std::uint64_t service_generation_ = 0;

    RegisterValue known_;          // newest value seen
    bool known_is_fresh_ = false;  // read from the arbiter since this wait began
    bool arbiter_busy_ = false;    // one call is outstanding
    std::string arbiter_trouble_;  // why the last call failed; empty when it did not
    std::string reservation_;      // of the arbiter, on the swap that was won last
    std::optional<Pending> pending_;
    std::vector<Waiter> waiters_;

    bool session_ = false;
    std::optional<MirrorHello> hello_;  // of this session
    bool peer_silent_ = false;
    bool own_disk_hangs_ = false;
    bool peer_disk_hangs_ = false;
    bool gives_way_ = false;    // held: the yield timer runs
    std::uint64_t losses_ = 0;  // of the peer, each soon after it had been taken in
    bool admits_ = true;        // no pause is under way
    bool yield_over_ = false;
    bool may_not_claim_ = false;   // this copy failed: not a source until a person says start
    bool may_not_follow_ = false;  // ... and not a target until the rejoin timer
    std::string failure_;
    std::string peer_failure_;  // what the peer's copy failed of, until it is in sync again
    std::string refusal_;       // why the peer is not taken in (serving) or we are not (wait)
    bool accepts_overwrite_ = false;
    BeforeResync before_ = BeforeResync::drop;  // of the target that this copy becomes
    // Changes with every new reason to compare the whole of this copy as a target: those that the
    // superblock, accepts_overwrite_ or intents of whole volumes stand for. A new process can't
    // tell theirs from new ones.
    Uuid comparison_;
    bool compare_fully_ = false;  // the next target is compared fully
    bool services_up_ = false;    // addresses claimed and application started
    bool mount_serves_ = false;   // the serving mount is shown or being made
    bool hand_over_stops_ = false;
    bool register_is_back_ = false;  // alone: the arbiter's value is older than ours
    bool unrecorded_ = false;        // serving by force, unknown to the register
    std::uint64_t forced_from_ = 0;  // newest epoch known when it was forced
    bool was_held_ = false;
    std::vector<Uuid> source_histories_;
    CommandId stop_command_ = 0, swap_command_ = 0, promote_command_ = 0;
};

}  // namespace gemel
