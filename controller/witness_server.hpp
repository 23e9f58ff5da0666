// SPDX-License-Identifier: Apache-2.0
// The witness: keeps registers for nodes that have proved their cluster's key. A node reads and
// swaps only registers of the cluster that it belongs to.
#pragma once

#include "controller/register_store.hpp"
#include "engine/mirror/peer_link.hpp"

#include <memory>
#include <string>
#include <unordered_map>

namespace gemel {

class WitnessServer {
   public:
    // Requires: all references outlive it; the store is destroyed before the loop stops.
    WitnessServer(Loop& loop, LogSink& log, RegisterStore& store) noexcept;
    ~WitnessServer();

    // An authenticated session of a node of `cluster`, for questions about `mirror`. It takes the
    // place of the one that the node had before: a machine that lost its power, or a wire, never
    // ends its connections, and nothing is ever sent to them that would show it.
    void on_session(std::unique_ptr<PeerLink> link, const std::string& cluster,
                    const std::string& node, const std::string& mirror);
    [[nodiscard]] std::size_t session_count() const noexcept { return sessions_.size(); }

   private:
    class Session;

    void end(std::uint64_t id) noexcept;

    Loop& loop_;
    LogSink& log_;
    RegisterStore& store_;
    std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
    std::uint64_t next_id_ = 1;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // callbacks hold it weakly
};

}  // namespace gemel
