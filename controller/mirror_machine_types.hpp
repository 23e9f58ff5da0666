// SPDX-License-Identifier: Apache-2.0
// What the mirror machine is told (MirrorEvent) and what it asks for (MirrorAction). Plain values:
// the shell (mirror_node.hpp) turns callbacks into events and carries out actions, in their order,
// before it hands over the next event.
#pragma once

#include "controller/arbiter.hpp"
#include "controller/mirror_machine_messages.hpp"
#include "engine/base/log.hpp"
#include "engine/store/superblock.hpp"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace gemel {

// Names a person's command until its reply; 0 is none.
using CommandId = std::uint64_t;

enum class MirrorTimer : std::uint8_t {
    retry,    // ask the arbiter again: an unsettled swap, or what is recorded now
    steady,   // the peer has been in sync for long enough to be trusted
    admit,    // a peer that was lost again and again may be taken in
    give_up,  // held for so long without any outcome: stop serving
    yield,    // the node that ought to serve first has had its time
    rejoin,   // a copy that failed may try to be filled again
    leave,    // the serving node did not answer a secondary that leaves
    command,  // a person's command has waited long enough
};
inline constexpr std::size_t kMirrorTimerCount = 8;

enum class MountMode : std::uint8_t {
    guard,      // read-only, empty: covers the bare directory
    serving,    // read and write, through the replica
    secondary,  // readable, every change answers EROFS
    bare,       // uncovered, by `gemel release`
};

// --- Events -------------------------------------------------------------------------------------

enum class Command : std::uint8_t {
    start,
    stop,
    swap,
    promote_force,
    // ... with the state before the resync that was interrupted.
    promote_before,
    resync_full,
    // Not a person's: what somebody has changed behind the mount is noted in the intents and, on
    // the serving node, in the dirty maps.
    resync_changed,
    release,
};
struct CommandGiven {
    Command command = Command::start;
    CommandId id = 0;
};
struct SessionUp {};  // authenticated; hellos may be exchanged
struct SessionLost {
    std::string why;
};
struct PeerSilent {};  // nothing heard on any link for `detect`
struct PeerAlive {};
// Whether the oldest work of a node's disk has been under way for too long.
struct DisksJudged {
    bool own_hangs = false;
    bool peer_hangs = false;
    Duration peer_age;
};
struct RegisterRead {
    ReadAnswer answer;
};
struct RegisterSwapped {
    SwapAnswer answer;
};
struct SuperblockStored {
    std::uint64_t ticket = 0;
    Status status;
};
enum class ReplicaNotice : std::uint8_t {
    local_failure,      // this copy can't follow, or must not be the source, any more
    peer_failure,       // the peer says so of its own
    first_write_alone,  // waits for a new history id
    resync_complete,    // everything was acknowledged at this very moment
    quiesced,           // nothing in flight, both nodes have synced (status)
    peer_stuck,         // ops wait for the peer too long (progress_watch.hpp)
    volumes_synced,     // the target's copy is on stable storage (status)
    before_forgotten,   // no state before a resync is kept any more, durably (status)
    restored,           // the state before a resync is back, and on stable storage (status)
};
struct ReplicaNoticed {
    ReplicaNotice notice = ReplicaNotice::local_failure;
    Status status;
    std::string what;
    bool is_suspect = false;  // a failure: of the disk, which has not only refused
};
enum class ServiceNotice : std::uint8_t {
    mounted,              // the mode asked for last (generation) is shown (status)
    drained,              // nobody holds the mount any more, what they wrote is synced (status)
    application_stopped,  // its stop command has ended
};
struct ServiceNoticed {
    ServiceNotice notice = ServiceNotice::mounted;
    std::uint64_t generation = 0;
    Status status;
    std::string what;
};
struct TimerFired {
    MirrorTimer timer = MirrorTimer::retry;
};

using MirrorEvent = std::variant<CommandGiven, SessionUp, SessionLost, MirrorHello, ControlMessage,
                                 PeerSilent, PeerAlive, DisksJudged, RegisterRead, RegisterSwapped,
                                 SuperblockStored, ReplicaNoticed, ServiceNoticed, TimerFired>;

// --- Actions ------------------------------------------------------------------------------------

struct ReadRegister {};
struct SwapRegister {
    RegisterProposal proposal;
};
// Stores are carried out in the order asked for, each answered by SuperblockStored.
struct StoreSuperblock {
    std::uint64_t ticket = 0;
    Superblock superblock;
};
// What a target does about the last consistent state of its copy (resync/before_image.hpp).
enum class BeforeResync : std::uint8_t {
    drop,   // there is none
    begin,  // the copy is it
    go_on,  // an interrupted resync may have kept it
};
// What a target knows of its copy.
struct CopyToFill {
    bool must_compare = false;  // not enough: everything has to be compared
    // ResyncHello::comparison: changes with every new reason to compare everything.
    Uuid comparison;
    bool is_suspect = false;  // a disk failed under it: what the cache shows may not be there
    BeforeResync before = BeforeResync::drop;
};
// The calls of ReplicaPort (ports.hpp), where their contracts stand.
enum class ReplicaCall : std::uint8_t {
    distrust_cache,
    begin_alone,
    history_stored,
    attach_target,
    compare_everything,
    begin_attaching,
    finish_attaching_in,
    finish_attaching_out,
    forget_before,
    begin_following,
    promote_to_secondary,
    restore_before,
    detach,
    quiesce,
    resume,
    sync_volumes,
    stop,
};
struct CallReplica {
    ReplicaCall call = ReplicaCall::stop;
    std::uint64_t epoch = 0;    // begin_alone
    bool full_compare = false;  // attach_target
    Status status;              // history_stored
    CopyToFill copy;            // begin_following
};
struct SendHello {
    MirrorHello hello;
};
struct SendControl {
    ControlMessage message;
};
struct CloseSession {};  // no SessionLost follows
// Replaces what the path shows; the generation comes back with ServiceNotice::mounted.
struct ShowMount {
    MountMode mode = MountMode::guard;
    std::uint64_t generation = 0;
};
enum class ServiceCall : std::uint8_t {
    abort_mount,  // serving ends with this: effective when the call returns
    drain_mount,  // kill who still holds it, fsync what was written through it
    claim_addresses,
    drop_addresses,
    start_application,
    stop_application,
};
struct CallService {
    ServiceCall call = ServiceCall::abort_mount;
    std::uint64_t generation = 0;  // of drain_mount and stop_application: comes back
};
struct SetTimer {
    MirrorTimer timer = MirrorTimer::retry;
    Duration delay;
};
struct CancelTimer {
    MirrorTimer timer = MirrorTimer::retry;
};
struct Announce {  // an event for people
    LogLevel level = LogLevel::info;
    std::string kind;
    std::string text;
};
struct ReplyCommand {
    CommandId id = 0;
    bool done = false;
    std::string text;  // why not
};

using MirrorAction = std::variant<ReadRegister, SwapRegister, StoreSuperblock, CallReplica,
                                  SendHello, SendControl, CloseSession, ShowMount, CallService,
                                  SetTimer, CancelTimer, Announce, ReplyCommand>;
using MirrorActions = std::vector<MirrorAction>;

}  // namespace gemel
