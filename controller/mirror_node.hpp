// SPDX-License-Identifier: Apache-2.0
// One mirror on one node: owns the machine (mirror_machine.hpp), turns callbacks into its events
// and carries out its actions on the ports. No decision is made here. Used unmodified by gemeld and
// by the simulation.
//
// An event is stepped, and its actions are carried out, before the call that brought it returns;
// one that arises while actions are carried out waits until all of them are done.
#pragma once

#include "controller/mirror_machine.hpp"
#include "controller/ports.hpp"
#include "controller/progress_watch.hpp"
#include "engine/io/loop.hpp"
#include "engine/mirror/peer_link.hpp"

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

namespace gemel {

class MirrorNode final : private ReplicaPortEvents, private PeerLinkHandler {
   public:
    struct Ports {
        ReplicaPort& replica;
        Arbiter& arbiter;
        MirrorMounts& mounts;
        MirrorService& service;
        SuperblockStore& superblocks;
        MirrorEventSink& events;
    };
    using Reply = std::function<void(bool done, const std::string& text)>;

    // Requires: loop and ports outlive it.
    MirrorNode(Loop& loop, const Ports& ports, MirrorMachineOptions options, Superblock superblock,
               const ProgressWatch::Options& watch);
    ~MirrorNode();
    MirrorNode(const MirrorNode&) = delete;
    MirrorNode& operator=(const MirrorNode&) = delete;

    // `reply` comes once: inside the call or later. A node that is destroyed first never replies.
    void command(Command command, Reply reply);
    // A new authenticated session with the peer, for this mirror. It replaces an earlier one.
    void on_session(std::unique_ptr<PeerLink> link) noexcept;
    void on_peer_silent() noexcept;
    void on_peer_alive() noexcept;
    // Looks whether work goes on here and there; call it every heartbeat. `peer_disk`: how long the
    // oldest work of the peer's disk has been under way, as its heartbeats say.
    void check_progress(Duration peer_disk) noexcept;
    // Called with every control message of the arbiter kind none (register_*).
    void set_register_handler(std::function<void(const ControlMessage&)> handler) {
        register_handler_ = std::move(handler);
    }
    // Sends one; false without a session.
    bool send_register_message(const ControlMessage& message) noexcept;

    [[nodiscard]] const MirrorMachine& machine() const noexcept { return machine_; }
    [[nodiscard]] WallTime since() const noexcept { return since_; }
    [[nodiscard]] bool is_connected() const noexcept { return machine_.has_session(); }
    // Called after every step.
    void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }

   private:
    void step(MirrorEvent event) noexcept;
    void drain() noexcept;
    void carry_out(MirrorActions actions) noexcept;
    void act(const ReadRegister& action);
    void act(const SwapRegister& action);
    void act(const StoreSuperblock& action);
    void act(const CallReplica& action);
    void act(const SendHello& action);
    void act(const SendControl& action);
    void act(const CloseSession& action);
    void act(const ShowMount& action);
    void act(const CallService& action);
    void act(const SetTimer& action);
    void act(const CancelTimer& action);
    void act(const Announce& action);
    void act(const ReplyCommand& action);
    void receive(FrameType type, Bytes payload) noexcept;
    void service_notice(ServiceNotice notice, std::uint64_t generation, Status status,
                        std::string what) noexcept;
    [[nodiscard]] PeerLink* current_link() noexcept;

    // ReplicaPortEvents; the session is the replica's
    void on_replica(const ReplicaNoticed& notice) noexcept override;
    void on_session_lost(Status reason) noexcept override;
    // PeerLinkHandler (the session is ours) and ReplicaPortEvents
    void on_frame(FrameType type, Bytes payload) noexcept override;
    void on_lost(Status reason) noexcept override;

    Loop& loop_;
    Ports ports_;
    MirrorMachine machine_;
    std::unique_ptr<PeerLink> link_;  // until the replica takes it
    std::deque<MirrorEvent> events_;
    bool stepping_ = false;
    std::array<std::unique_ptr<Timer>, kMirrorTimerCount> timers_;
    std::unordered_map<CommandId, Reply> replies_;
    CommandId next_command_ = 1;
    ProgressWatch watch_;
    DisksJudged disks_;  // as told last
    Instant last_hello_;
    MirrorState last_state_ = MirrorState::stopped;
    WallTime since_;
    std::function<void(const ControlMessage&)> register_handler_;
    std::function<void()> observer_;
    std::shared_ptr<bool> alive_;  // callbacks of ports hold it weakly
};

}  // namespace gemel
