// SPDX-License-Identifier: Apache-2.0
// gemeld on a node: every mirror of this node, the sessions and heartbeats with the peers, the
// control socket, and the end on SIGTERM. Wiring only.
#pragma once

#include "controller/arbiter_none.hpp"
#include "controller/config.hpp"
#include "controller/control_server.hpp"
#include "controller/event_log.hpp"
#include "controller/register_store.hpp"
#include "engine/io/uring/uring_loop.hpp"
#include "netdev/heartbeat_thread.hpp"
#include "netdev/session_acceptor.hpp"
#include "tools/gemeld/command_line.hpp"
#include "tools/gemeld/mirror_host.hpp"
#include "tools/gemeld/peer_sessions.hpp"
#include "tools/gemeld/signal_watch.hpp"

#include <memory>
#include <string>
#include <vector>

namespace gemel {

class NodeDaemon final : private ControlApi, private SessionHandler, private MirrorEventSink {
   public:
    // Requires: all references outlive it.
    NodeDaemon(UringLoop& loop, LogSink& log, const Config& config, const DaemonOptions& options);
    ~NodeDaemon();

    // Opens and starts everything. False: `why` says what is wrong; nothing is served.
    bool start(std::string& why);
    // Until SIGTERM or SIGINT, and until every mirror has stopped then.
    void run();

   private:
    struct Hosted {
        std::unique_ptr<MirrorHost> host;
        std::unique_ptr<PeerSession> session;  // where this node connects
        std::string refused;                   // where the peer does: why it was not let in
    };

    bool open_mirrors(std::string& why);
    bool listen(std::string& why);
    bool start_heartbeats(std::string& why);
    void start_mirror(Hosted& hosted);
    void tick();
    void begin_stop() noexcept;
    void stopped_one() noexcept;
    [[nodiscard]] Hosted* find(const std::string& mirror) noexcept;
    bool open_registers(std::string& why);
    void start_without_arbiter(MirrorHost& host);

    // ControlApi
    NodeStatus status() override;
    void command(const ControlCommand& command, std::function<void(ControlReply)> reply) override;
    // SessionHandler: a peer has connected, or somebody who was not let in
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;
    void on_refused(const SocketAddress& remote, const std::string& why) noexcept override;
    // MirrorEventSink
    void event(const std::string& mirror, LogLevel level, const std::string& kind,
               const std::string& text) noexcept override;

    UringLoop& loop_;
    LogSink& log_;
    const Config& config_;
    const DaemonOptions& options_;
    const NodeConfig* self_ = nullptr;
    EventLog events_;
    SessionIdentity identity_;
    std::unique_ptr<VirtualIp> virtual_ip_;
    // Arbiter kind none: the registers live here.
    std::unique_ptr<RegisterStore> registers_;
    std::vector<std::unique_ptr<LocalRegister>> local_registers_;
    std::vector<Hosted> mirrors_;
    std::vector<std::string> peers_;  // of all mirrors; index as in the heartbeats
    std::vector<std::unique_ptr<SessionAcceptor>> acceptors_;
    std::unique_ptr<HeartbeatThread> heartbeats_;
    std::unique_ptr<ControlServer> control_;
    std::unique_ptr<SignalWatch> signals_;
    Timer timer_;
    std::size_t mirrors_running_ = 0;
    bool is_stopping_ = false;
};

}  // namespace gemel
