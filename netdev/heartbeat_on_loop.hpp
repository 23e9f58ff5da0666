// SPDX-License-Identifier: Apache-2.0
// Heartbeats run by a Loop, on its datagram sockets: for the simulation, where a node has one
// thread. A real node runs them in a thread of their own (heartbeat_thread.hpp).
#pragma once

#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "netdev/heartbeat_engine.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace gemel {

class HeartbeatOnLoop {
   public:
    struct Link {
        SocketAddress local;
        std::vector<SocketAddress> peers;  // by index of the engine's peers
    };
    using Callback = std::function<void(const HeartbeatEngine::Verdict&)>;

    using Probe = std::function<std::vector<DiskAge>()>;

    // Requires: the loop outlives it. Errors: as bind_datagram.
    static Result<std::unique_ptr<HeartbeatOnLoop>> start(Loop& loop,
                                                          HeartbeatEngine::Options options,
                                                          std::vector<Link> links,
                                                          Callback callback, Probe probe);
    ~HeartbeatOnLoop();

    void refused(std::size_t peer) { engine_.refused(peer, loop_.now()); }
    [[nodiscard]] Duration disk_age(std::size_t peer, std::uint64_t mirror) const noexcept {
        return engine_.disk_age(peer, mirror);
    }

   private:
    class Receiver;

    HeartbeatOnLoop(Loop& loop, HeartbeatEngine::Options options, std::vector<Link> links,
                    Callback callback, Probe probe);
    void tick();

    Loop& loop_;
    HeartbeatEngine engine_;
    std::vector<Link> links_;
    Callback callback_;
    Probe probe_;
    std::vector<std::unique_ptr<Receiver>> receivers_;
    Timer timer_;
};

}  // namespace gemel
