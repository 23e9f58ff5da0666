// SPDX-License-Identifier: Apache-2.0
// gemeld --witness: the third vote.
#pragma once

#include "controller/config.hpp"
#include "controller/register_store.hpp"
#include "controller/witness_server.hpp"
#include "engine/io/uring/uring_loop.hpp"
#include "netdev/session_acceptor.hpp"
#include "tools/gemeld/command_line.hpp"
#include "tools/gemeld/signal_watch.hpp"

#include <memory>
#include <string>
#include <vector>

namespace gemel {

class WitnessDaemon final : private SessionHandler {
   public:
    // Requires: all references outlive it.
    WitnessDaemon(UringLoop& loop, LogSink& log, const Config& config,
                  const DaemonOptions& options);
    ~WitnessDaemon();

    bool start(std::string& why);
    // Until SIGTERM or SIGINT.
    void run();

   private:
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;

    UringLoop& loop_;
    LogSink& log_;
    const Config& config_;
    const DaemonOptions& options_;
    SessionIdentity identity_;
    std::unique_ptr<RegisterStore> store_;
    std::unique_ptr<WitnessServer> server_;
    std::unique_ptr<SessionAcceptor> acceptor_;
    std::unique_ptr<SignalWatch> signals_;
};

}  // namespace gemel
