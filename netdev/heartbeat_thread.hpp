// SPDX-License-Identifier: Apache-2.0
// Heartbeats of a real node in a thread of their own, with real-time priority where the kernel
// allows, so that a busy loop does not look like a dead node. Verdicts are handed to the loop.
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "netdev/heartbeat_engine.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace gemel {

class HeartbeatThread {
   public:
    struct Link {
        SocketAddress local;
        std::vector<SocketAddress> peers;  // by index of the engine's peers
    };
    // On the loop.
    using Callback = std::function<void(const HeartbeatEngine::Verdict&)>;

    // Requires: loop and log outlive it; the log may be called from any thread. On failure `why` is
    // a sentence (an address that this node does not have, a port in use).
    static std::unique_ptr<HeartbeatThread> start(Loop& loop, LogSink& log,
                                                  HeartbeatEngine::Options options,
                                                  std::vector<Link> links, Callback callback,
                                                  std::string& why);
    // Ends the thread. Verdicts already handed over may still come: see `alive` in the callback.
    ~HeartbeatThread();

    void refused(std::size_t peer);
    // State of the links with a peer, by link.
    [[nodiscard]] std::vector<HeartbeatMonitor::Link> links(std::size_t peer);

   private:
    HeartbeatThread(Loop& loop, LogSink& log, HeartbeatEngine::Options options,
                    std::vector<Link> links, Callback callback);
    bool bind(std::string& why);
    void run();
    void send_all(Instant now);
    void receive_all(std::size_t link, Instant now);
    void hand_over(const HeartbeatEngine::Verdict& verdict);
    void ask_for_priority();

    Loop& loop_;
    LogSink& log_;
    std::mutex mutex_;  // of engine_
    HeartbeatEngine engine_;
    std::vector<Link> links_;
    std::vector<int> sockets_;
    std::shared_ptr<Callback> callback_;  // called on the loop only; emptied at the end
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace gemel
