// SPDX-License-Identifier: Apache-2.0
// What a mirror's shell (mirror_node.hpp) needs of the world, as interfaces: the daemon gives the
// real things, the simulation gives models. All calls come on the mirror's loop; callbacks come
// from the loop, never inside the call, and never after the port's destruction.
#pragma once

#include "controller/mirror_machine_types.hpp"
#include "engine/base/log.hpp"
#include "engine/mirror/application_load.hpp"
#include "engine/mirror/peer_link.hpp"
#include "engine/store/superblock.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace gemel {

// What the replica tells; engine/mirror's ReplicaEvents in the words of the machine.
class ReplicaPortEvents {
   public:
    // resync_complete must be told at a moment when every acknowledged op is acknowledged by the
    // target too; begin_attaching() is called before this returns (mirror_machine.hpp, M4), or,
    // when told inside a call of the controller's, before that call's caller is back in the loop.
    virtual void on_replica(const ReplicaNoticed& notice) noexcept = 0;
    // A mirror_state or control frame on the replica's session.
    virtual void on_frame(FrameType type, Bytes payload) noexcept = 0;
    virtual void on_session_lost(Status reason) noexcept = 0;

   protected:
    ~ReplicaPortEvents() = default;
};

// One mirror's replica as the controller uses it. It keeps the promises of
// engine/mirror/replica.hpp and these, on which the argument of controller/README.md rests:
//   - while attaching or primary, a lost session (or detach) completes nothing more by itself: the
//     ops in flight wait for begin_alone, finish_attaching(false) or stop;
//   - after detach or a loss nothing that the old session still brings is applied.
class ReplicaPort {
   public:
    virtual ~ReplicaPort() = default;
    virtual void set_events(ReplicaPortEvents& events) noexcept = 0;

    // Role idle. This copy has failed and is to serve all the same: what the page cache shows of it
    // may not be on the disk, and is forgotten.
    virtual void distrust_cache() noexcept = 0;
    // Serve without a peer. From held or idle. Answers held ops alone. Ends a quiesce.
    virtual void begin_alone(std::uint64_t epoch) noexcept = 0;
    virtual void history_stored(Status status) noexcept = 0;
    // Takes the link and starts a resync source on it. Role alone.
    virtual void attach_target(std::unique_ptr<PeerLink> link, bool full_compare) noexcept = 0;
    // The next attach_target compares everything, however much of that has been done already.
    // Requires: role alone or held, without a session of its own.
    virtual void compare_everything() noexcept = 0;
    virtual void begin_attaching() noexcept = 0;
    // true: primary, or held when the session is gone. false: alone; ops in flight are answered.
    virtual void finish_attaching(bool peer_in_set) noexcept = 0;
    // Role idle. Nothing of this copy is kept any more for restore_before(); then
    // `before_forgotten`, with an error where something may be found again after a restart. stop()
    // ends it.
    virtual void forget_before() noexcept = 0;
    // Takes the link and a resync target on it. Role idle.
    virtual void begin_following(std::unique_ptr<PeerLink> link,
                                 const CopyToFill& copy) noexcept = 0;
    virtual void promote_to_secondary() noexcept = 0;
    // Role idle. Puts the volumes back to what they were before the resync that was interrupted,
    // durably; then `restored`, with not_found where that was not kept. stop() ends it half-way;
    // it may be called again then.
    virtual void restore_before() noexcept = 0;
    // Ends the session, if there is one, as if it had been lost, without on_session_lost.
    virtual void detach() noexcept = 0;
    // New ops wait; what is in flight completes; then both copies (this one, when alone) are
    // synced; then `quiesced`, or a status why not.
    virtual void quiesce() noexcept = 0;
    virtual void resume() noexcept = 0;
    // Makes all that was applied so far durable here; then `volumes_synced`. Applying goes on.
    virtual void sync_volumes() noexcept = 0;
    virtual void stop() noexcept = 0;

    // Null without a session of its own.
    [[nodiscard]] virtual PeerLink* link() noexcept = 0;
    // How long the oldest op has been waiting for nothing but the peer; 0: none does.
    [[nodiscard]] virtual Duration waiting_for_peer() const noexcept = 0;
    // How long the oldest of what was given to this node's disk has been under way; 0: nothing is.
    [[nodiscard]] virtual Duration waiting_for_disk() const noexcept = 0;
    // Ops that the in-sync peer has acknowledged since the port was made, and their waits for it.
    [[nodiscard]] virtual ApplicationLoad::Answered peer_answers() const noexcept = 0;
};

class MirrorMounts {
   public:
    virtual ~MirrorMounts() = default;
    // Replaces what the volumes' paths show; ends an earlier connection first (protocol.md 16). A
    // later call overtakes an earlier one, whose `done` is then never called.
    virtual void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept = 0;
    // When it returns, the connection is dead: no request of it is answered any more.
    virtual void abort() noexcept = 0;
    // Kills who holds the serving mount, then syncs what was written through it, from outside the
    // loop that answers it.
    virtual void drain(std::function<void(Status, std::string)> done) noexcept = 0;
};

// Addresses and application of the mirror.
class MirrorService {
   public:
    virtual ~MirrorService() = default;
    virtual void claim_addresses() noexcept = 0;
    virtual void drop_addresses() noexcept = 0;
    // A start that meets a stop under way waits for it; a stop overtakes a start.
    virtual void start_application() noexcept = 0;
    virtual void stop_application(std::function<void()> done) noexcept = 0;
};

// Durable home of the superblock; stores are carried out in the order of the calls.
class SuperblockStore {
   public:
    virtual ~SuperblockStore() = default;
    virtual void store(const Superblock& superblock, std::function<void(Status)> done) noexcept = 0;
};

class MirrorEventSink {
   public:
    virtual ~MirrorEventSink() = default;
    virtual void event(const std::string& mirror, LogLevel level, const std::string& kind,
                       const std::string& text) noexcept = 0;
};

}  // namespace gemel
