// SPDX-License-Identifier: Apache-2.0
// Heartbeats of a real node in a thread of their own, with real-time priority where the kernel
// allows, so that a busy loop does not look like a dead node. Verdicts are handed to the loop.
//
// The loop is asked, once an interval, for the age of what its disks have under way. While it does
// not answer it hangs itself, in a call that waits for a disk: then that is the age.
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "netdev/heartbeat_engine.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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
    // Both on the loop.
    using Callback = std::function<void(const HeartbeatEngine::Verdict&)>;
    using Probe = std::function<std::vector<DiskAge>()>;

    // Requires: loop and log outlive it; the log may be called from any thread. On failure `why` is
    // a sentence (an address that this node does not have, a port in use).
    static std::unique_ptr<HeartbeatThread> start(Loop& loop, LogSink& log,
                                                  HeartbeatEngine::Options options,
                                                  std::vector<Link> links, Callback callback,
                                                  Probe probe, std::string& why);
    // Ends the thread. Verdicts already handed over may still come: see `alive` in the callback.
    ~HeartbeatThread();

    void refused(std::size_t peer);
    // State of the links with a peer, by link.
    [[nodiscard]] std::vector<HeartbeatMonitor::Link> links(std::size_t peer);
    // HeartbeatEngine::disk_age.
    [[nodiscard]] Duration disk_age(std::size_t peer, std::uint64_t mirror);

   private:
    HeartbeatThread(Loop& loop, LogSink& log, HeartbeatEngine::Options options,
                    std::vector<Link> links, Callback callback, Probe probe);
    bool bind(std::string& why);
    void run();
    void send_all(Instant now);
    void receive_all(std::size_t link, Instant now);
    void hand_over(const HeartbeatEngine::Verdict& verdict);
    void ask_loop(Instant now);
    [[nodiscard]] std::vector<DiskAge> ages(Instant now) const;
    void ask_for_priority();

    Loop& loop_;
    LogSink& log_;
    struct LoopSide {
        Callback callback;
        Probe probe;
    };
    std::mutex mutex_;  // of engine_ and the three behind it
    HeartbeatEngine engine_;
    std::vector<DiskAge> ages_;     // the loop's last answer
    Instant answered_;              // when it was given
    std::optional<Instant> asked_;  // and has not answered yet
    std::vector<Link> links_;
    std::vector<int> sockets_;
    std::shared_ptr<LoopSide> loop_side_;  // used on the loop only; emptied at the end
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace gemel
