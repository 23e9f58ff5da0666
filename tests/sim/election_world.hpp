// SPDX-License-Identifier: Apache-2.0
// Two nodes and an arbiter around the real MirrorNode: who serves, and whether anything
// acknowledged is lost. The replica is a model (a set of op numbers, volatile and durable), the
// network delays, drops, cuts one way, repeats and delivers late; nodes lose power, processes die
// and are paused, copies fail. Everything follows from one seed.
//
// Checked at every acknowledgement and every begin of serving:
//   E1  a node acknowledges alone only while the register names it alone, with its incarnation;
//   E2  else only what its in-sync peer has applied;
//   E3  whoever begins to serve holds every acknowledged op that is not excused. Excused is what
//   had
//       not been synced by every node in the register's set and was lost by a power cut of the only
//       one in it, or by power cuts of both;
//   E4  no epoch begins twice (object ids are tagged with it);
//   E5  a mount serves, and an address is held, only on a node whose replica serves;
//   E6  an op begun after a newer epoch has acknowledged one is not acknowledged in an older epoch,
//       unless a person has forced a node to serve.
#pragma once

#include "controller/mirror_node.hpp"
#include "netdev/heartbeat_monitor.hpp"
#include "tests/sim/election_clock.hpp"

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel::sim {

class ElectionWorld;
class ModelReplica;

// Deliberate faults of the product, to show that the checkers see them.
enum class Mutant : std::uint8_t {
    none,
    takeover_without_swap,    // a claim is taken as won without asking
    eligible_by_epoch_alone,  // a rebooted node passes for the recorded one
    alone_before_outcome,     // an unknown outcome is taken as won
    forget_incarnation,       // a new boot keeps the old incarnation
    read_settles_unknown,     // an unknown swap is dropped because a read shows the old value
    join_before_all_acked,    // begin_attaching only when the target is ready
    target_not_synced,        // a target joins before its copy is durable
    swap_without_comparing,   // the arbiter records whatever it is asked to
    lost_is_won,              // a swap that was refused is taken as won
    witness_forgets,          // what was recorded last is gone when the arbiter is back
    superblock_not_stored,    // a store of the superblock but the first is answered and not done
    serves_before_stored,     // ... is answered before it is carried out
    answers_held_ops,         // what is in flight when the session is lost is answered at once
    answers_when_deposed,     // a service that ends answers what is in flight with success
    keeps_session,            // whoever stops following goes on applying what the session brings
    acknowledges_unapplied,   // the secondary acknowledges first and applies later
    mount_not_aborted,        // the mount of a service that has ended goes on answering
    address_not_dropped,      // ... and its address stays
    failed_copy_comes_back,   // with the incarnation it had, once its process is restarted
};

enum class Fault : std::uint8_t {
    power_cut,
    kill,
    pause,
    cut_link,
    arbiter_down,
    copy_fails,
    slow_disk,
    hanging_disk,
    command,
};
inline constexpr std::uint64_t kFaultCount = 9;

struct ElectionOptions {
    std::uint64_t seed = 1;
    Mutant mutant = Mutant::none;
    Duration faulty_time = Duration::seconds(60);
    std::uint64_t faults_max = 12;
    bool trace = false;
};

using OpSet = std::vector<bool>;  // by op number

// What survives the death of a node's process; `disk` part survives a power cut.
struct NodeDisk {
    Superblock superblock;
    OpSet content;  // as read by the node
    OpSet durable;
    Uuid boot;
};

class ElectionNode;

class ElectionWorld {
   public:
    explicit ElectionWorld(const ElectionOptions& options);
    ~ElectionWorld();

    // The whole random run. Empty when every check held, else what broke.
    std::string run();

    // --- For scenarios ---------------------------------------------------------------------------
    void run_for(Duration time);
    // Runs until the condition holds; false when it does not within `limit`.
    bool run_until(const std::function<bool()>& condition, Duration limit);
    void boot(int node);
    void power_cut(int node);
    void kill(int node);
    void pause(int node, Duration time);
    void cut(int from, int to, bool is_cut) { cuts_[index(from)][index(to)] = is_cut; }
    void heal();
    void command(int node, Command command);
    // One op of a client at this node; its number, or -1 when it does not serve.
    int write(int node);
    [[nodiscard]] bool is_acked(int op) const { return acked_[index(op)]; }
    [[nodiscard]] bool has(int node, int op) const;
    [[nodiscard]] MirrorState state(int node) const;
    [[nodiscard]] std::string reason(int node) const;
    [[nodiscard]] bool is_up(int node) const { return nodes_[index(node)] != nullptr; }
    [[nodiscard]] MirrorNode& mirror(int node);
    [[nodiscard]] ModelReplica& replica(int node);
    [[nodiscard]] NodeDisk& disk(int node) { return disks_[index(node)]; }
    [[nodiscard]] RegisterValue& recorded() { return register_; }
    // An arbiter's register has got this value.
    void record(const RegisterValue& value);
    [[nodiscard]] bool is_paired() const;  // primary and secondary, connected
    [[nodiscard]] const std::string& broken() const { return broken_; }
    // While true, swaps reach the arbiter but no answer to them comes back to this node.
    void lose_swap_answers(int node, bool lose) { lose_swap_answers_[index(node)] = lose; }
    // The next swap of this node is carried out only after `delay`, and answered as unknown.
    void delay_next_swap(int node, Duration delay) { delay_swap_[index(node)] = delay; }
    // Its disk has lost some of what was not synced; that shows as soon as the failure is on
    // record. (A process that dies earlier takes the knowledge with it: nobody could tell.)
    void fail_copy(int node);
    void failure_stored(int node);
    // Only the sign of it: whatever the node decides, ops go on being carried out meanwhile.
    void hang_disk(int node, bool hangs);
    [[nodiscard]] Duration disk_age(int node) const;
    void sync_all();
    void set_automatic_writes(bool on) { automatic_writes_ = on; }
    static constexpr int kArbiter = 2;

    // --- For the models --------------------------------------------------------------------------
    ElectionClock clock;
    Prng prng;
    const ElectionOptions options;
    [[nodiscard]] static std::size_t index(int i) { return static_cast<std::size_t>(i); }
    void trace(int node, const std::string& text);
    void broke(const std::string& what);
    [[nodiscard]] bool is_cut(int from, int to) const { return cuts_[index(from)][index(to)]; }
    [[nodiscard]] Duration delay();
    void acknowledged(int node, int op, bool alone);
    void begins_to_serve(int node, std::uint64_t epoch);
    int new_op();
    void applied(int node, int op) { applied_[index(node)][index(op)] = true; }
    void sync(int node);
    void heartbeat(int from);
    void ask_arbiter(int node, ElectionLoop& loop, std::function<void(RegisterValue&)> at_arbiter,
                     std::function<void(bool answered)> done, bool is_swap);

    std::array<Duration, 2> superblock_delay{};
    bool arbiter_is_down = false;
    std::array<bool, 2> lose_swap_answers_{};
    std::array<Duration, 2> delay_swap_{};  // 0: as usual

   private:
    friend class ElectionNode;
    void inject();
    void connect();
    void open_session();
    [[nodiscard]] bool is_member(int node) const;
    void write_sometimes();
    [[nodiscard]] bool memory_is_gone(int node) const;
    void lose_unsynced(int node, bool peer_is_gone);
    std::string finish();

    std::array<NodeDisk, 2> disks_;
    std::array<std::unique_ptr<ElectionNode>, 2> nodes_;
    std::vector<std::unique_ptr<ElectionNode>> graveyard_;
    std::array<std::array<bool, 3>, 3> cuts_{};
    std::array<std::optional<Instant>, 2> hangs_since_;
    std::array<bool, 2> has_lost_pages_{};  // which nobody has read yet
    RegisterValue register_;
    int next_op_ = 0;
    // The boot in which a member of the register was recorded with its incarnation, whatever that
    // one says of itself (a mutant's may lie).
    std::array<Uuid, 2> recorded_boots_{};
    OpSet acked_, excused_, synced_;
    std::array<OpSet, 2> applied_;
    std::vector<std::uint64_t> epochs_begun_;
    std::array<std::uint64_t, 2> serving_epoch_{};  // of the newest service, by node
    std::uint64_t acked_epoch_ = 0;                 // the newest that has acknowledged something
    std::vector<std::uint64_t> acked_before_;       // acked_epoch_ when an op was begun
    RegisterValue register_before_;
    bool automatic_writes_ = true;
    bool is_faulty_ = false;              // faults are being injected
    bool faults_follow_changes_ = false;  // of the register, too
    bool was_forced_ = false;             // a person accepted the loss
    std::string broken_;
};

}  // namespace gemel::sim
