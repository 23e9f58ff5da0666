// SPDX-License-Identifier: Apache-2.0
// Sync rounds of the serving node: at intervals, when something changed, everything is made durable
// here and, while the peer is in the in-sync set, there; then the intents of regions that have been
// quiet long enough are cleared on both nodes (I5). syncfs(2) of an application never reaches a
// FUSE server; these rounds stand in for it.
#pragma once

#include "engine/mirror/replica_context.hpp"
#include "engine/mirror/sync_runner.hpp"

#include <functional>

namespace gemel {

class Rounds {
   public:
    Rounds(ReplicaContext& context, SyncRunner& syncs,
           std::function<bool()> take_activity) noexcept;

    void start() noexcept;
    void stop() noexcept;
    // One round now, whatever the interval; `done` when it is durable on every node that counts.
    void run_now(std::function<void(Status)> done) noexcept;
    Status on_round_synced(Bytes payload) noexcept;
    // A peer has joined that holds intents of its resync: all of it would be compared again after
    // its next crash. What only the resync touched goes with the round that begins here; the others
    // have to run out even if nothing changes any more.
    void on_peer_joined() noexcept;
    // The peer does not take part any more: a running round ends without clearing anything.
    void on_peer_gone() noexcept;

   private:
    void tick() noexcept;
    void begin() noexcept;
    void finish_if_done() noexcept;

    ReplicaContext& context_;
    SyncRunner& syncs_;
    std::function<bool()> take_activity_;
    Timer timer_;
    std::vector<std::function<void(Status)>> waiters_, running_waiters_;
    std::uint64_t number_ = 0;  // of the running round; 0: none runs
    std::uint64_t generation_ = 0;
    bool with_peer_ = false;
    bool local_done_ = false, peer_done_ = false;
    std::uint64_t quiet_ticks_ = 0;
};

}  // namespace gemel
