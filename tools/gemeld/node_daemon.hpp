// SPDX-License-Identifier: Apache-2.0
// gemeld on a node: the node itself with gemeld's front ends, and its end on SIGTERM. Wiring only.
#pragma once

#include "engine/io/uring/uring_loop.hpp"
#include "tools/gemeld/command_line.hpp"
#include "tools/gemeld/signal_watch.hpp"

#include "node/local_node.hpp"
#include <memory>
#include <string>

namespace gemel {

class NodeDaemon {
   public:
    // Requires: all references outlive it.
    NodeDaemon(UringLoop& loop, LogSink& log, const Config& config, const DaemonOptions& options);

    // Opens and starts everything. False: `why` says what is wrong; nothing is served.
    bool start(std::string& why);
    // Until SIGTERM or SIGINT, and until every mirror has stopped then.
    void run();

   private:
    void begin_stop() noexcept;

    UringLoop& loop_;
    LogSink& log_;
    LocalNode node_;
    std::unique_ptr<SignalWatch> signals_;
    bool is_stopping_ = false;
};

}  // namespace gemel
