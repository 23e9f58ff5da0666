// SPDX-License-Identifier: Apache-2.0
// The wires between simulated nodes, and the kernels' ends of them. A link is one direction from
// one node to another on one network; it has its own delays and may be cut by itself.
//
// Streams behave as TCP does: bytes arrive in order, in pieces of any size, or not at all. While a
// link is cut, or the other machine has no power, they wait and are sent again afterwards; the
// sender gives up after 15 to 120 s (ETIMEDOUT). Who returns from a power cut answers with a reset
// to what belongs to lost connections, and only when something arrives: silence stays silence. A
// killed process's connections end (disconnected) or are reset (ECONNRESET). Connecting to a node
// without a listener is refused, to one that cannot be reached waits for ever.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/prng.hpp"
#include "engine/base/units.hpp"
#include "engine/io/network.hpp"
#include "engine/io/sim/world.hpp"

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel::sim {

class Node;
class SimLoop;
class SimStream;
class SimListener;
class SimConnecting;
class SimDatagramSocket;

struct LinkOptions {
    Duration latency_min = Duration::microseconds(40);
    Duration latency_max = Duration::microseconds(200);  // at times several times as much
    std::uint64_t bytes_per_s = 0;                       // 0: no limit
    std::uint32_t datagrams_lost_per_mille = 0;
    std::uint32_t datagrams_doubled_per_mille = 0;
    // Pieces of a stream, and datagrams, that arrive with a bit flipped.
    std::uint32_t corrupted_per_million = 0;
};

// "10.0.0.1" as ipv4(10, 0, 0, 1, port).
SocketAddress ipv4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                   std::uint16_t port = 0) noexcept;

class Fabric {
   public:
    // What the kernel of a sender takes before it says that it is full, per stream.
    static constexpr std::size_t kSocketBuffer = 1024 * kKiB;
    static constexpr std::uint8_t kEveryNetwork = 0xFF;

    explicit Fabric(World& world);
    ~Fabric();
    Fabric(const Fabric&) = delete;
    Fabric& operator=(const Fabric&) = delete;

    // --- Faults ------------------------------------------------------------------------------
    void set_links(const LinkOptions& options) noexcept;  // of all that are not set one by one
    void set_link(Node& from, Node& to, const LinkOptions& options) noexcept;
    // Links that were set one by one are as all others again.
    void unset_links() noexcept;
    // Nothing passes any more from `from` to `to` (the other direction is another link).
    void cut(Node& from, Node& to, std::uint8_t network = kEveryNetwork) noexcept;
    void heal(Node& from, Node& to, std::uint8_t network = kEveryNetwork) noexcept;
    void cut_both(Node& a, Node& b, std::uint8_t network = kEveryNetwork) noexcept;
    void heal_both(Node& a, Node& b, std::uint8_t network = kEveryNetwork) noexcept;
    void isolate(Node& node) noexcept;  // from every other, both directions
    void heal_all() noexcept;
    [[nodiscard]] bool is_cut(const Node& from, const Node& to, std::uint8_t network) noexcept;
    // Every connection between the two is reset at both ends.
    void reset_streams(Node& a, Node& b) noexcept;
    // Half open: the ends of these connections at `node` are over, and the other side hears of it
    // only when it sends (a firewall that has sent a reset one way).
    void lose_ends(Node& node, const Node& other) noexcept;
    // What the faults above have done so far.
    struct Harm {
        std::uint64_t corrupted = 0;  // pieces of streams, datagrams
        std::uint64_t datagrams_lost = 0, datagrams_doubled = 0;
        std::uint64_t queued = 0;      // pieces and datagrams that waited for a slow wire
        std::uint64_t ends_reset = 0;  // by reset_streams
        std::uint64_t ends_lost = 0;   // by lose_ends
    };
    [[nodiscard]] const Harm& harm() const noexcept { return harm_; }
    [[nodiscard]] std::size_t connection_count() const noexcept { return connections_.size(); }
    // Listeners, datagram sockets, and attempts to connect.
    [[nodiscard]] std::size_t socket_count() const noexcept {
        return listeners_.size() + sockets_.size() + attempts_.size();
    }

    // --- For Node ----------------------------------------------------------------------------
    void add_address(Node& node, const SocketAddress& ip, std::uint8_t network) noexcept;
    void remove_address(Node& node, const SocketAddress& ip) noexcept;
    void power_lost(Node& node) noexcept;
    void power_returned(Node& node) noexcept;
    void process_resumed(Node& node) noexcept;
    // What stands for a socket with a path: each has a port of its own at ::1 of its node.
    [[nodiscard]] SocketAddress local_address(const Node& node, std::string_view path);
    [[nodiscard]] static bool is_local(const SocketAddress& address) noexcept;

   private:
    friend class SimNetwork;
    friend class SimStream;
    friend class SimListener;
    friend class SimConnecting;
    friend class SimDatagramSocket;

    struct LinkKey {
        std::uint16_t from, to;
        std::uint8_t network;
        friend auto operator<=>(const LinkKey&, const LinkKey&) = default;
    };
    struct Link {
        LinkOptions options;
        bool is_own = false;  // set by set_link
        bool cut = false;
        Instant free_at;  // when what was sent has left, with bytes_per_s
    };
    struct Address {
        SocketAddress ip;  // port 0
        Node* node;
        std::uint8_t network;
    };
    // Where packets to an address go, and over which network.
    struct Route {
        Node* node = nullptr;
        std::uint8_t network = 0;
    };
    enum class EndState : std::uint8_t { open, closed, vanished };
    struct End {
        Node* node = nullptr;
        std::uint32_t process = 0;
        SocketAddress address;
        SimStream* stream = nullptr;  // the process's; null: not handed over yet, or destroyed
        EndState state = EndState::open;
    };
    struct Segment {
        enum class Kind : std::uint8_t { accept, data, end } kind;
        Instant arrival;
        std::size_t size;
    };
    // One direction of a connection; index i sends from end i to end 1 - i.
    struct Pipe {
        ByteBuffer bytes;            // sent, not delivered yet
        std::size_t begin = 0;       // of what is not delivered, in `bytes`
        std::size_t taken = 0;       // of these, how many the kernel has
        std::size_t unreleased = 0;  // delivered, but the acknowledgement has not come back
        std::deque<Segment> segments;
        Instant last_arrival;
        bool arrival_armed = false;
        bool blocked = false;     // on_drained is owed
        bool waiting = false;     // the receiving process is not ready
        bool stalled = false;     // a wire is cut, or a machine has no power
        std::uint32_t stall = 0;  // counts stalls

        [[nodiscard]] std::size_t pending() const noexcept { return bytes.size() - begin; }
        [[nodiscard]] std::size_t unsent() const noexcept { return pending() - taken; }
    };
    struct Connection {
        std::uint64_t id = 0;
        std::uint8_t network = 0;
        End ends[2];
        Pipe pipes[2];
    };
    struct Attempt {
        SimConnecting* owner = nullptr;
        ConnectHandler* handler = nullptr;
        Node* node = nullptr;
        std::uint32_t process = 0;
        SocketAddress local, remote;
        std::uint32_t tries = 0;
        std::uint64_t connection = 0;
    };

    [[nodiscard]] Prng& prng() noexcept { return prng_; }
    Link& link(const Node& from, const Node& to, std::uint8_t network) noexcept;
    [[nodiscard]] Route route(Node& from, const SocketAddress& to) noexcept;
    [[nodiscard]] bool has_address(const Node& node, const SocketAddress& ip) const noexcept;
    // The address that `node` sends from on this network.
    [[nodiscard]] const Address* address_on(const Node& node, std::uint8_t network) const noexcept;
    [[nodiscard]] Duration latency(const Link& link) noexcept;
    [[nodiscard]] Instant arrival(Link& link, std::size_t size) noexcept;
    [[nodiscard]] Connection* find(std::uint64_t id) noexcept;

    // Streams (fabric_stream.cpp).
    void transmit(Connection& connection, int side) noexcept;
    void add_segment(Connection& connection, int side, Segment::Kind kind,
                     std::size_t size) noexcept;
    void arm_arrival(Connection& connection, int side, Instant due) noexcept;
    void arrive(std::uint64_t id, int side) noexcept;
    void deliver_data(Connection& connection, int side) noexcept;
    void deliver_end(Connection& connection, int side) noexcept;
    void accept(Connection& connection) noexcept;
    void release(Connection& connection, int side) noexcept;
    void stall(Connection& connection, int side) noexcept;
    void unstall(Connection& connection) noexcept;
    void give_up(std::uint64_t id, int side, std::uint32_t stall) noexcept;
    [[nodiscard]] bool wire_is_open(const Connection& connection, int side) noexcept;
    // The connection is over for end `side`: tells its process, from the loop.
    void end_connection(Connection& connection, int side, Status reason) noexcept;
    void tell_end(std::uint64_t id, int side, Status reason) noexcept;
    // A reset is on its way to end `side`.
    void send_reset(Connection& connection, int side) noexcept;
    void corrupt(MutableBytes bytes) noexcept;
    void close_end(Connection& connection, int side, bool by_process) noexcept;
    void lose_unread(Connection& connection, int side) noexcept;
    void forget_if_over(std::uint64_t id) noexcept;
    void retry_connections() noexcept;

    // Connecting (fabric.cpp).
    std::uint64_t begin_attempt(Attempt attempt) noexcept;
    void schedule_attempt(std::uint64_t id, Duration delay) noexcept;
    void try_attempt(std::uint64_t id) noexcept;
    void fail_attempt(std::uint64_t id, Status reason) noexcept;
    void finish_attempt(std::uint64_t id) noexcept;
    [[nodiscard]] SimListener* listener_at(const Node& node, const SocketAddress& at) noexcept;
    [[nodiscard]] SimDatagramSocket* socket_at(const Node& node, const SocketAddress& at) noexcept;
    void process_gone(Node& node, std::uint32_t process) noexcept;
    void send_datagram(SimDatagramSocket& from, const SocketAddress& to, Bytes data) noexcept;

    World& world_;
    Prng prng_;
    LinkOptions default_options_;
    Harm harm_;
    std::map<LinkKey, Link> links_;
    std::vector<Address> addresses_;  // the last one for an address counts
    std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
    std::map<std::uint64_t, Attempt> attempts_;
    std::vector<SimListener*> listeners_;
    std::map<std::pair<std::uint16_t, std::string>, std::uint16_t> local_ports_;
    std::vector<SimDatagramSocket*> sockets_;
    std::uint64_t next_id_ = 1;
    std::uint16_t next_port_ = 32768;
    ByteBuffer scratch_;
};

}  // namespace gemel::sim
