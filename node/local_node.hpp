// SPDX-License-Identifier: Apache-2.0
// This process as a node of its cluster: every mirror of the node, the sessions and heartbeats with
// the peers, the registers of arbiter kinds none and ping, and the control socket. Wiring only;
// gemeld and libgemel stand on it. What applications see of a mirror comes from the front ends that
// the program gives.
//
// All on the loop's thread.
#pragma once

#include "controller/arbiter_none.hpp"
#include "controller/config.hpp"
#include "controller/control_server.hpp"
#include "controller/event_log.hpp"
#include "controller/ping_vote.hpp"
#include "controller/register_store.hpp"
#include "engine/mirror/change_source.hpp"
#include "netdev/heartbeat_thread.hpp"
#include "netdev/session_acceptor.hpp"

#include "node/change_watch.hpp"
#include "node/mirror_host.hpp"
#include "node/peer_session.hpp"
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel {

class LocalNode final : private ControlApi, private SessionHandler, private MirrorEventSink {
   public:
    struct Options {
        std::string node;  // Requires: one of the configuration's
        std::string state_directory;
        std::string run_directory;  // empty: no control socket
        FrontEndFactory make_front_end;
        // Called if a mirror wants to know of changes that are not its own; empty: there is no
        // such source. On failure it says why not.
        std::function<Result<std::unique_ptr<ChangeSource>>(std::string& why)> open_changes = {};
        // What follows may be empty. A mirror's storage is open; nothing of it is used yet.
        std::function<void(MirrorHost& host)> on_open;
        // A mirror (by index) has taken a step, or a heartbeat's time has passed: its status may be
        // another one.
        std::function<void(std::size_t mirror)> on_step;
        // After the log and the list of events.
        std::function<void(const std::string& mirror, LogLevel level, const std::string& kind,
                           const std::string& text)>
            on_event;
    };

    // Requires: all references outlive it.
    LocalNode(Loop& loop, LogSink& log, const Config& config, Options options);
    // Requires: stop() has ended and the loop has nothing in flight any more; or start() failed.
    ~LocalNode() override;

    // Opens and starts everything. False: `why` says what is wrong; nothing is served.
    bool start(std::string& why);
    // Hands every mirror over, or leaves it; `done` comes once, inside the call or later.
    void stop(std::function<void()> done);
    // Ends the threads and the sockets. After it, run the loop until nothing is in flight.
    void close() noexcept;

    [[nodiscard]] const std::string& name() const noexcept { return options_.node; }
    [[nodiscard]] std::size_t mirror_count() const noexcept { return mirrors_.size(); }
    [[nodiscard]] MirrorHost& mirror(std::size_t index) noexcept { return *mirrors_[index].host; }
    // With the peer's links. Requires: started.
    [[nodiscard]] MirrorStatus mirror_status(std::size_t index);

   private:
    struct Hosted {
        std::unique_ptr<MirrorHost> host;
        std::unique_ptr<PeerSession> session;  // where this node connects
        std::string refused;                   // where the peer does: why it was not let in
        PingVote* vote = nullptr;              // arbiter kind ping: the arbiter's
    };

    bool open_mirrors(std::string& why);
    void watch_changes();
    bool listen(std::string& why);
    bool start_heartbeats(std::string& why);
    [[nodiscard]] bool keeps_registers() const noexcept;
    bool open_registers(std::string& why);
    void start_mirror(Hosted& hosted);
    void start_without_arbiter(Hosted& hosted);
    static void begin_session(Hosted& hosted, std::unique_ptr<PeerLink> link);
    [[nodiscard]] std::unique_ptr<Arbiter> make_arbiter(const std::string& mirror);
    void observe();
    void tick();
    void stopped_one();
    void hear(const HeartbeatEngine::Verdict& verdict);
    [[nodiscard]] std::vector<DiskAge> disk_ages();
    [[nodiscard]] Hosted* find(const std::string& mirror) noexcept;
    [[nodiscard]] MirrorStatus status_of(Hosted& hosted);

    // ControlApi
    NodeStatus status() override;
    void command(const ControlCommand& command, std::function<void(ControlReply)> reply) override;
    // SessionHandler: a peer has connected, or somebody who was not let in
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;
    void on_refused(const SocketAddress& remote, const std::string& why) noexcept override;
    // MirrorEventSink
    void event(const std::string& mirror, LogLevel level, const std::string& kind,
               const std::string& text) noexcept override;

    Loop& loop_;
    LogSink& log_;
    const Config& config_;
    const Options options_;
    const NodeConfig* self_ = nullptr;
    EventLog events_;
    SessionIdentity identity_;
    std::unique_ptr<VirtualIp> virtual_ip_;
    // Arbiter kinds none and ping: the registers live here.
    std::unique_ptr<RegisterStore> registers_;
    std::vector<std::unique_ptr<LocalRegister>> local_registers_;
    std::unique_ptr<ChangeWatch> changes_;  // null: none wanted, or none to be had
    std::vector<Hosted> mirrors_;
    std::vector<std::string> peers_;  // of all mirrors; index as in the heartbeats
    std::vector<std::unique_ptr<SessionAcceptor>> acceptors_;
    std::unique_ptr<HeartbeatThread> heartbeats_;
    std::unique_ptr<ControlServer> control_;
    Timer timer_;
    std::size_t mirrors_running_ = 0;
    std::function<void()> when_stopped_;
};

}  // namespace gemel
