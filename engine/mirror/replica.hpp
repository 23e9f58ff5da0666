// SPDX-License-Identifier: Apache-2.0
// One mirror's replication engine on one node: executes and ships the ops of its front ends while
// it serves, applies the peer's while it is the secondary, and keeps the intents and the dirty map
// that make every difference between the two copies known. It does not decide who serves: the
// controller does, by the calls below, and the safety of each rests on the register (protocol.md).
//
// Invariants kept here:
//   I1  a region is touched on a node only after its intent is durable on that node;
//   I2  the order of frames in the stream is the order of local execution;
//   I3  an op is acknowledged only when it has completed here, and (while the peer is in the
//   in-sync
//       set, or a swap that adds it is under way) when the peer has acknowledged it too;
//   I4  whatever the peer may lack is in the dirty map or among the unacknowledged ops;
//   I5  an intent is cleared only after a round that both nodes have synced.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/mirror/application_load.hpp"
#include "engine/mirror/intent_rules.hpp"
#include "engine/mirror/peer_link.hpp"
#include "engine/store/block_volume.hpp"
#include "engine/store/directory_volume.hpp"
#include "engine/store/dirty_map.hpp"
#include "engine/store/intent_log.hpp"
#include "engine/store/op.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gemel {

// A request of a front end. The front end owns it and all that op's views point to until
// on_complete, which comes exactly once, from the loop, never inside submit().
class ClientOp : public ListLink {
   public:
    virtual ~ClientOp() = default;
    // ok: acknowledged under the mirror's sync rule. Else the errno for the application:
    // status.as_errno(). After `refused` (EROFS) or EIO of a deposed node nothing is promised.
    virtual void on_complete(Status status) noexcept = 0;

    Op op;
    Instant submitted;  // set by submit()
};

// A request for durability: fsync of one object and the names that lead to it, or of everything
// (object == none or the root).
class ClientSync : public ListLink {
   public:
    virtual ~ClientSync() = default;
    virtual void on_complete(Status status) noexcept = 0;

    std::uint16_t volume = 0;
    ObjectId object;
    // As fdatasync(2): of a regular file's attributes, only what its content needs.
    bool data_only = false;
    Instant submitted;  // set by sync()
};

// An error after which what is on the disk is not known, in contrast to a refusal that changed
// nothing (ENOSPC, EDQUOT, EPERM, ...): protocol.md 10.
[[nodiscard]] bool is_disk_failure(Status status) noexcept;
// One of whatever failed, for failures that can't be a mere refusal: of a sync, since the kernel
// tells of lost pages once.
[[nodiscard]] Status as_disk_failure(Status status) noexcept;

enum class ReplicaRole : std::uint8_t {
    idle,       // refuses client ops; no session
    alone,      // serves; acknowledges by itself; what the peer lacks is recorded
    attaching,  // serves as alone, but acknowledges only what a connected peer holds too: a
                // register swap that adds the peer is under way
    primary,    // serves; every acknowledgement needs the peer
    held,       // was primary, the session is lost: completes nothing until told
    secondary,  // applies
    target,     // is being filled by a resync; applies
};

class ReplicaEvents {
   public:
    // An op of the peer's could not be carried out here, or the log or a sync failed: this copy
    // can't follow any more (secondary, target) or must not be the source (serving). `what` is a
    // sentence for people. Nothing of the copy is known any more if is_disk_failure(reason).
    virtual void on_local_failure(Status reason, const std::string& what) noexcept = 0;
    // The peer says so of itself.
    virtual void on_peer_failure(const std::string& what) noexcept = 0;
    // First op about to be carried out while alone since begin_alone: the controller must draw and
    // store a new history id and then call history_stored(); ops wait for it (protocol.md 3).
    virtual void on_first_write_alone() noexcept = 0;
    // Serving, role attaching or alone with a target: the resync is through (map empty, nothing
    // outstanding, everything acknowledged).
    virtual void on_resync_complete() noexcept = 0;
    // A frame that belongs to the controller (mirror_state, control), or was not understood by the
    // engine (then the controller closes the session).
    virtual void on_control_frame(FrameType type, Bytes payload) noexcept = 0;
    virtual void on_session_lost(Status reason) noexcept = 0;

   protected:
    ~ReplicaEvents() = default;
};

// Gets the resync frames of a session and is told when it may go on. resync/ implements a source
// and a target; the replica forwards frames 40..48 in stream order. Of a verify (frames 50..53),
// which runs while both are in sync, likewise.
class ResyncParty {
   public:
    virtual ~ResyncParty() = default;
    // Target: what applying this frame will touch; made durable before on_frame is called.
    // Errors: corrupt (the session ends).
    virtual Status intents_of(FrameType type, Bytes payload, IntentSet& set) noexcept = 0;
    // Target: no change of a block volume is under way where this frame reads or writes. Asked
    // again when one has been carried out. Requires: intents_of has accepted the frame.
    [[nodiscard]] virtual bool is_ready(FrameType, Bytes) noexcept { return true; }
    // Errors: corrupt (the session ends). A disk's error is reported by Replica::fail_locally.
    virtual Status on_frame(FrameType type, Bytes payload) noexcept = 0;
    // Source: where the map calls the object's content clean, the target has it at this point of
    // the stream. False while it may answer a check of it with want: it may still have what was
    // there before.
    [[nodiscard]] virtual bool is_settled(std::uint16_t, ObjectId) const noexcept { return true; }
    // Target: the op is about to be carried out here. An error: it must not be.
    virtual Status before_op(const Op&) noexcept { return Status(); }
    // Source: ops were acknowledged or carried out; a place to go on with work that waited.
    virtual void on_progress() noexcept = 0;
    // Source of a verify: this op has been put into the stream; `op` is as the peer carries it out.
    virtual void on_shipped(const Op&) noexcept {}
    // The session is over; what was sent and not answered counts as not sent.
    virtual void on_session_lost() noexcept = 0;
};

struct ReplicaCounters {
    ApplicationLoad load;                    // from submit() or sync() to on_complete
    ApplicationLoad::Answered peer_answers;  // ops, from being sent to the in-sync peer's ack
    std::uint64_t ops_executed = 0, ops_shipped = 0, ops_marked = 0, ops_applied = 0;
    std::uint64_t bytes_shipped = 0, rounds = 0;
    std::uint64_t unacknowledged_ops = 0;
    Duration oldest_unfinished;  // age of the oldest op in flight; 0 when there is none
};

class Replica {
   public:
    struct Options {
        Duration sync_interval = Duration::seconds(1);
        std::uint64_t idle_rounds = 30;        // intents idle for so many rounds are cleared
        std::size_t live_intents_max = 65536;  // above it rounds clear whatever they may
        // sync = "fsync": a change of a block volume is answered when this node holds it, while it
        // is on its way to the peer. What a sync answers is durable on both as ever.
        bool answers_blocks_early = false;
    };

    // Requires: all references outlive it. `volumes[i]` is Op::volume i.
    Replica(Loop& loop, LogSink& log, IntentLog& intents,
            std::span<const std::unique_ptr<Volume>> volumes, ReplicaEvents& events,
            const Options& options) noexcept;
    ~Replica();
    Replica(const Replica&) = delete;
    Replica& operator=(const Replica&) = delete;

    // --- For front ends ----------------------------------------------------------------------
    void submit(ClientOp& op) noexcept;
    void sync(ClientSync& sync) noexcept;
    [[nodiscard]] Volume& volume(std::uint16_t index) noexcept;
    // Requires: it is one.
    [[nodiscard]] DirectoryVolume& directory(std::uint16_t index) noexcept;
    [[nodiscard]] std::size_t volume_count() const noexcept;
    [[nodiscard]] bool is_serving() const noexcept;  // alone, attaching, primary or held
    // A read of the volume that a front end made by itself has failed. An error of the disk makes
    // this copy one that can't be trusted (protocol.md 10); anything else is no concern of ours.
    void note_read_failure(Status status) noexcept;

    // Makes a block volume larger, on the peer first and then here, while it serves; clients see it
    // when both are durably ready for it. `done` from the loop, with a sentence if it is not done.
    // Errors: not_found (no such block volume), refused (this node is neither primary nor alone
    // without a session, or has ceased to be; the size is smaller; the peer refuses; one is under
    // way), ENOSPC, EINVAL. After an error the next session or start may find it larger: what is
    // there then is zeros.
    void grow(std::uint16_t volume, std::uint64_t size,
              std::function<void(Status, std::string)> done) noexcept;

    // --- For the controller ------------------------------------------------------------------
    [[nodiscard]] ReplicaRole role() const noexcept;
    // Serve without a peer. Requires: role idle, secondary (its session closed) or held, and the
    // register says {me} with `epoch`. From held: answers the ops in flight, so the caller has
    // stored a new history before (they count as written alone). Else: the dirty map begins empty,
    // and the live intents are to be marked before anything is shipped: at a takeover nobody waits
    // for that.
    void begin_alone(std::uint64_t epoch) noexcept;
    // This copy has failed and serves next all the same: shows what the disk has of it from here on
    // (suspect_cache.hpp). Requires: role idle. What can't be looked at is told as a failure by
    // begin_alone().
    void distrust_cache() noexcept;
    void history_stored(Status status) noexcept;
    // A session with a node that is to be filled. Requires: role alone. From here on ops are
    // shipped where the map allows; the caller then makes a resync source on this link.
    void attach_target(std::unique_ptr<PeerLink> link) noexcept;
    // Ends the session without on_session_lost: primary and attaching become held, alone goes on.
    void detach() noexcept;
    // The swap that adds the peer is being sent: acknowledge only what both hold.
    void begin_attaching() noexcept;
    // ... its outcome: the peer is in the set, or is not (back to alone).
    void finish_attaching(bool peer_in_set) noexcept;
    // Apply what comes. Requires: role idle. `as_target`: being filled; else an in-sync secondary.
    void begin_following(std::unique_ptr<PeerLink> link, bool as_target) noexcept;
    // The resync is done and the register names both: from target to secondary.
    void promote_to_secondary() noexcept;
    // Stop: held and queued requests are answered EIO, the session is closed, role idle.
    void stop() noexcept;
    // Drain for a swap: refuse new ops (they wait), `done` when nothing is in flight and the
    // peer has everything; then stop() or resume().
    void quiesce(std::function<void(Status)> done) noexcept;
    void resume() noexcept;
    // Everything must be compared with the next target (full mode).
    void require_full_compare() noexcept;

    // --- For a resync ------------------------------------------------------------------------
    // Source: the intents of both nodes are united in the dirty map: ops go to the peer from here
    // on.
    void start_shipping() noexcept;
    // Source: adds what `key` (an intent of either node) covers to the dirty map.
    void mark_intent(const IntentKey& key) noexcept;
    // Source: true if no change of the block volume is under way in the range, as long as the
    // caller does not return to the loop: what is shipped or marked of the range until then has
    // been carried out here. Else no op in it is begun until this is called again, and on_progress
    // tells when that may be worth while. One range at a time.
    [[nodiscard]] bool claim_content(std::uint16_t volume, std::uint64_t offset,
                                     std::uint64_t size) noexcept;
    // The same, but nothing waits where it is false.
    [[nodiscard]] bool is_content_settled(std::uint16_t volume, std::uint64_t offset,
                                          std::uint64_t size) const noexcept;
    // What waits because of a claim goes on.
    void release_claim() noexcept;
    // Source, at its end: from here on, as long as the session lasts, an op is answered only when
    // the target has it, so that all_acknowledged() comes true however busy the applications are.
    void hold_answers() noexcept;
    // Source: every op answered so far has been acknowledged by the target.
    [[nodiscard]] bool all_acknowledged() const noexcept;
    // Source: how fast it may go has been changed from outside: it is told as by on_progress.
    void wake_resync() noexcept;
    // Source: dirty maps empty, all answered: tells the controller.
    void report_resync_complete() noexcept;
    // Either: this node's disk failed during a resync step.
    void fail_locally(Status reason, const std::string& what) noexcept;
    // Everything on this node becomes durable; `done` from the loop.
    void sync_everything(std::function<void(Status)> done) noexcept;

    [[nodiscard]] PeerLink* link() noexcept;  // null without a session
    // How long somebody has been waiting for nothing but the peer; 0: nobody is. Of a target, how
    // long it has been silent meanwhile.
    [[nodiscard]] Duration waiting_for_peer() const noexcept;
    // How long the oldest of what was given to this node's disk for an application, here or on the
    // peer, has been under way; 0: nothing is. A call that blocks the loop is not seen here.
    [[nodiscard]] Duration waiting_for_disk() const noexcept;
    void set_resync_party(std::unique_ptr<ResyncParty> party) noexcept;
    // Null: frames of a verify end the session, but for late answers. Dropped by stop() and when a
    // service begins, after on_session_lost.
    void set_verify_party(std::unique_ptr<ResyncParty> party) noexcept;
    [[nodiscard]] DirtyMap& dirty_map(std::uint16_t volume) noexcept;
    [[nodiscard]] IntentLog& intents() noexcept;
    [[nodiscard]] const ReplicaCounters& counters() const noexcept;

   private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace gemel
