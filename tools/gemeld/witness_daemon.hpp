// SPDX-License-Identifier: Apache-2.0
// gemeld --witness: the third vote, for any number of clusters.
#pragma once

#include "controller/register_store.hpp"
#include "controller/witness_config.hpp"
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
    // Requires: all references outlive it; `config` has no errors.
    WitnessDaemon(UringLoop& loop, LogSink& log, const WitnessConfig& config,
                  const DaemonOptions& options);
    ~WitnessDaemon();

    bool start(std::string& why);
    // Until SIGTERM or SIGINT.
    void run();

   private:
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;
    bool listen(std::string& why);

    UringLoop& loop_;
    LogSink& log_;
    const WitnessConfig& config_;
    const DaemonOptions& options_;
    std::vector<SessionIdentity> identities_;  // one a cluster
    std::unique_ptr<RegisterStore> store_;
    std::unique_ptr<WitnessServer> server_;
    std::vector<std::unique_ptr<SessionAcceptor>> acceptors_;  // one an address
    std::unique_ptr<SignalWatch> signals_;
};

}  // namespace gemel
