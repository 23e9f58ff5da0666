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

    // An authenticated session of a node of `cluster`.
    void on_session(std::unique_ptr<PeerLink> link, const std::string& cluster,
                    const std::string& node);

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
