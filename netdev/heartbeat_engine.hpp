// SPDX-License-Identifier: Apache-2.0
// The heartbeats of one node with its peers, without I/O and without a clock: makes the datagrams,
// judges those that come, and keeps a HeartbeatMonitor a peer. A thread of its own runs it in
// production (heartbeat_thread.hpp), the loop in the simulation (heartbeat_on_loop.hpp).
//
// A datagram proves the cluster's key by a truncated HMAC-SHA-256 over all of it and counts up
// within one start of its sender. A new start of a peer is believed only when it echoes the start
// of this node: so a copy of an old datagram is not a sign of life, nor can it shut the peer out,
// whatever was recorded before this node began. docs/wire.md.
//
// It also says how long the oldest work of the sender's disks has been under way, for each mirror:
// a node that answers heartbeats while its I/O hangs is not alive. What that means, the controller
// decides.
#pragma once

#include "engine/base/bytes.hpp"
#include "netdev/heartbeat_monitor.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

inline constexpr std::size_t kHeartbeatSizeMax = 1400;  // in one packet of Ethernet

// How long the oldest work of a mirror's disk has been under way on a node.
struct DiskAge {
    std::uint64_t mirror = 0;  // disk_age_key(); 0: of all its mirrors, the loop itself hangs
    Duration age;
};
[[nodiscard]] std::uint64_t disk_age_key(std::string_view mirror) noexcept;

class HeartbeatEngine {
   public:
    struct Peer {
        std::string node;
        std::size_t link_count = 1;
    };
    struct Options {
        std::string cluster, node;
        ByteBuffer key;
        std::vector<Peer> peers;
        Duration interval = Duration::milliseconds(100);
        Duration detect = Duration::seconds(1);
        std::uint64_t start = 0;  // random, drawn at each start of this node
    };
    struct Verdict {
        std::size_t peer = 0;
        HeartbeatMonitor::Change change = HeartbeatMonitor::Change::silent;
    };

    HeartbeatEngine(Options options, Instant now);

    // The datagram to send to `peer` over `link` now. Of `ages`, the greatest are told, as many as
    // there is room for.
    [[nodiscard]] ByteBuffer make(std::size_t peer, std::size_t link, Instant now,
                                  std::span<const DiskAge> ages = {});
    // Something came over `link`. Whatever is not an authentic, new heartbeat of a peer is ignored.
    [[nodiscard]] std::optional<Verdict> receive(std::size_t link, Bytes datagram, Instant now);
    // Call it at least once an interval.
    [[nodiscard]] std::vector<Verdict> tick(Instant now);
    // The peer's machine answers but its process is gone (its session was reset).
    void refused(std::size_t peer, Instant now) { peers_[peer].monitor.refused(now); }

    // What the peer said last; 0 when it said nothing.
    [[nodiscard]] Duration disk_age(std::size_t peer, std::uint64_t mirror) const noexcept;
    [[nodiscard]] const HeartbeatMonitor& monitor(std::size_t peer) const noexcept {
        return peers_[peer].monitor;
    }
    [[nodiscard]] const Options& options() const noexcept { return options_; }

   private:
    // What the peer last said on one link, to be echoed.
    struct Echo {
        std::uint64_t start = 0;
        std::uint64_t sent_ns = 0;  // by the peer's clock
        Instant heard;
    };
    struct PeerState {
        HeartbeatMonitor monitor;
        std::vector<Echo> echoes;
        std::uint64_t start = 0;             // its present one
        std::uint64_t sequence = 0;          // newest of that start
        std::uint64_t seen = 0;              // bit i: number sequence - i has come
        std::vector<std::uint64_t> retired;  // earlier starts, whose copies are worth nothing
        std::vector<DiskAge> ages;           // of the newest datagram
    };

    static bool is_new(PeerState& peer, std::uint64_t start, std::uint64_t sequence);

    Options options_;
    std::vector<PeerState> peers_;
    std::uint64_t sequence_ = 0;
};

}  // namespace gemel
