// SPDX-License-Identifier: Apache-2.0
// Addresses, links and their faults, connecting, datagrams.
#include "engine/io/sim/fabric.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/network.hpp"
#include "engine/io/sim/node.hpp"

#include <algorithm>
#include <utility>

namespace gemel::sim {

namespace {

// The loopback network of every node; its links are never cut.
constexpr std::uint8_t kLoopback = 0xFE;

bool is_loopback(const SocketAddress& address) noexcept {
    return address.is_v6 ? Fabric::is_local(address) : address.ip[0] == 127;
}

SocketAddress without_port(SocketAddress address) noexcept {
    address.port = 0;
    return address;
}

bool is_wildcard(const SocketAddress& address) noexcept { return address.ip == SocketAddress().ip; }

bool same_ip(const SocketAddress& a, const SocketAddress& b) noexcept {
    return a.is_v6 == b.is_v6 && a.ip == b.ip;
}

// Whether something bound to `local` gets what is sent to `to`.
bool is_bound_to(const SocketAddress& local, const SocketAddress& to) noexcept {
    return local.port == to.port && (is_wildcard(local) || same_ip(local, to));
}

}  // namespace

SocketAddress ipv4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                   std::uint16_t port) noexcept {
    SocketAddress address;
    address.ip[0] = a;
    address.ip[1] = b;
    address.ip[2] = c;
    address.ip[3] = d;
    address.port = port;
    return address;
}

Fabric::Fabric(World& world) : world_(world), prng_(world.prng().fork()) {}

Fabric::~Fabric() = default;

// --- Addresses -----------------------------------------------------------------------------------

void Fabric::add_address(Node& node, const SocketAddress& ip, std::uint8_t network) noexcept {
    remove_address(node, ip);
    addresses_.push_back({without_port(ip), &node, network});
}

void Fabric::remove_address(Node& node, const SocketAddress& ip) noexcept {
    std::erase_if(addresses_, [&](const Address& address) {
        return address.node == &node && same_ip(address.ip, ip);
    });
}

bool Fabric::has_address(const Node& node, const SocketAddress& ip) const noexcept {
    if (is_loopback(ip) || is_wildcard(ip)) return true;
    return std::any_of(addresses_.begin(), addresses_.end(), [&](const Address& address) {
        return address.node == &node && same_ip(address.ip, ip);
    });
}

Fabric::Route Fabric::route(Node& from, const SocketAddress& to) noexcept {
    if (is_loopback(to) || has_address(from, to)) return {&from, kLoopback};
    for (auto address = addresses_.rbegin(); address != addresses_.rend(); ++address) {
        if (same_ip(address->ip, to)) return {address->node, address->network};
    }
    return {};
}

const Fabric::Address* Fabric::address_on(const Node& node, std::uint8_t network) const noexcept {
    for (const Address& address : addresses_) {
        if (address.node == &node && address.network == network) return &address;
    }
    return nullptr;
}

// --- Links ---------------------------------------------------------------------------------------

Fabric::Link& Fabric::link(const Node& from, const Node& to, std::uint8_t network) noexcept {
    const auto [entry, is_new] = links_.try_emplace({from.index(), to.index(), network});
    if (is_new) entry->second.options = default_options_;
    return entry->second;
}

void Fabric::set_links(const LinkOptions& options) noexcept {
    default_options_ = options;
    for (auto& [key, link] : links_) {
        if (!link.is_own) link.options = options;
    }
}

void Fabric::set_link(Node& from, Node& to, const LinkOptions& options) noexcept {
    for (const Address& address : addresses_) {
        if (address.node != &to) continue;
        Link& own = link(from, to, address.network);
        own.options = options;
        own.is_own = true;
    }
}

void Fabric::unset_links() noexcept {
    for (auto& [key, link] : links_) {
        link.options = default_options_;
        link.is_own = false;
    }
}

void Fabric::cut(Node& from, Node& to, std::uint8_t network) noexcept {
    GEMEL_ASSERT(&from != &to);
    world_.note(from.machine(), EventKind::fault, "cut off from " + to.name());
    for (const Address& address : addresses_) {
        if (address.node != &to) continue;
        if (network != kEveryNetwork && address.network != network) continue;
        link(from, to, address.network).cut = true;
    }
}

void Fabric::heal(Node& from, Node& to, std::uint8_t network) noexcept {
    world_.note(from.machine(), EventKind::fault, "reaches " + to.name());
    for (const Address& address : addresses_) {
        if (address.node != &to) continue;
        if (network != kEveryNetwork && address.network != network) continue;
        link(from, to, address.network).cut = false;
    }
    retry_connections();
}

void Fabric::cut_both(Node& a, Node& b, std::uint8_t network) noexcept {
    cut(a, b, network);
    cut(b, a, network);
}

void Fabric::heal_both(Node& a, Node& b, std::uint8_t network) noexcept {
    heal(a, b, network);
    heal(b, a, network);
}

void Fabric::isolate(Node& node) noexcept {
    for (std::size_t i = 0; i < world_.node_count(); ++i) {
        if (&world_.node(i) != &node) cut_both(node, world_.node(i));
    }
}

void Fabric::heal_all() noexcept {
    for (auto& [key, link] : links_) link.cut = false;
    world_.note({}, EventKind::fault, "all links are whole");
    retry_connections();
}

bool Fabric::is_cut(const Node& from, const Node& to, std::uint8_t network) noexcept {
    return network != kLoopback && link(from, to, network).cut;
}

Duration Fabric::latency(const Link& link) noexcept {
    return Latency{link.options.latency_min, link.options.latency_max}.sample(prng_);
}

Instant Fabric::arrival(Link& link, std::size_t size) noexcept {
    Instant sent = world_.now();
    if (link.options.bytes_per_s != 0) {
        const auto ns = static_cast<std::int64_t>(size * 1'000'000'000 / link.options.bytes_per_s);
        if (link.free_at > sent) ++harm_.queued;
        link.free_at = std::max(link.free_at, sent) + Duration{ns};
        sent = link.free_at;
    }
    return sent + latency(link);
}

// --- Connecting ----------------------------------------------------------------------------------

std::uint64_t Fabric::begin_attempt(Attempt attempt) noexcept {
    const std::uint64_t id = next_id_++;
    attempts_.emplace(id, attempt);
    schedule_attempt(id, Duration{0});
    return id;
}

// The way there and back, after `delay`.
void Fabric::schedule_attempt(std::uint64_t id, Duration delay) noexcept {
    const Attempt& attempt = attempts_.at(id);
    const Route to = route(*attempt.node, attempt.remote);
    if (to.node != nullptr) {
        delay = delay + latency(link(*attempt.node, *to.node, to.network)) +
                latency(link(*to.node, *attempt.node, to.network));
    }
    world_.schedule(world_.now() + delay, attempt.node->machine(), EventKind::connect,
                    [this, id] { try_attempt(id); });
}

void Fabric::try_attempt(std::uint64_t id) noexcept {
    const auto entry = attempts_.find(id);
    if (entry == attempts_.end()) return;
    Attempt& attempt = entry->second;
    Node& from = *attempt.node;
    GEMEL_ASSERT(from.is_process(attempt.process));  // else process_gone has taken it away
    if (!has_address(from, attempt.local)) {
        return fail_attempt(id, Status::from_errno(EADDRNOTAVAIL));
    }
    const Route to = route(from, attempt.remote);
    const bool is_open = to.node != nullptr && to.node->is_on() &&
                         !is_cut(from, *to.node, to.network) && !is_cut(*to.node, from, to.network);
    if (!is_open) {  // nobody answers; asked again after 1, 2, 4, ... s, as Linux does
        attempt.tries = std::min(attempt.tries + 1, 6U);
        return schedule_attempt(id, Duration::seconds(std::int64_t{1} << (attempt.tries - 1)));
    }
    SimListener* listener = listener_at(*to.node, attempt.remote);
    if (listener == nullptr) return fail_attempt(id, Status::from_errno(ECONNREFUSED));

    auto connection = std::make_unique<Connection>();
    connection->id = next_id_++;
    connection->network = to.network;
    SocketAddress local = attempt.local;
    if (is_wildcard(local)) {
        const Address* own = address_on(from, to.network);
        local = own != nullptr && to.network != kLoopback ? own->ip : attempt.remote;
    }
    local.port = next_port_++;
    if (next_port_ == 0) next_port_ = 32768;
    connection->ends[0] = {&from, attempt.process, local, nullptr, EndState::open};
    connection->ends[1] = {to.node, listener->loop_.serial(), attempt.remote, nullptr,
                           EndState::open};
    attempt.connection = connection->id;
    Connection& made = *connection;
    connections_.emplace(made.id, std::move(connection));
    add_segment(made, 0, Segment::Kind::accept, 0);
    // An event of the process: it waits while the process is paused.
    world_.schedule(world_.now(), {from.index(), attempt.process}, EventKind::connect,
                    [this, id] { finish_attempt(id); });
}

void Fabric::fail_attempt(std::uint64_t id, Status reason) noexcept {
    const Attempt& attempt = attempts_.at(id);
    world_.schedule(
        world_.now(), {attempt.node->index(), attempt.process}, EventKind::connect,
        [this, id, reason] {
            const auto entry = attempts_.find(id);
            if (entry == attempts_.end()) return;
            const Attempt failed = entry->second;
            attempts_.erase(entry);
            failed.owner->attempt_ = 0;
            failed.node->loop().turn([&] { failed.handler->on_connect_failed(reason); });
        });
}

void Fabric::finish_attempt(std::uint64_t id) noexcept {
    const auto entry = attempts_.find(id);
    if (entry == attempts_.end()) return;
    const Attempt attempt = entry->second;
    attempts_.erase(entry);
    attempt.owner->attempt_ = 0;
    Connection* connection = find(attempt.connection);
    SimLoop& loop = attempt.node->loop();
    if (connection == nullptr || connection->ends[0].state != EndState::open) {
        forget_if_over(attempt.connection);
        loop.turn([&] { attempt.handler->on_connect_failed(Status::from_errno(ECONNRESET)); });
        return;
    }
    auto stream = std::make_unique<SimStream>(static_cast<SimNetwork&>(loop.network()),
                                              connection->id, 0, attempt.remote);
    connection->ends[0].stream = stream.get();
    if (connection->pipes[1].waiting) arm_arrival(*connection, 1, world_.now());
    loop.turn([&] { attempt.handler->on_connected(std::move(stream)); });
}

SimListener* Fabric::listener_at(const Node& node, const SocketAddress& at) noexcept {
    for (SimListener* listener : listeners_) {
        if (&listener->node_ == &node && is_bound_to(listener->local_, at)) return listener;
    }
    return nullptr;
}

bool Fabric::is_local(const SocketAddress& address) noexcept {
    SocketAddress one;
    one.ip[15] = 1;
    return address.is_v6 && address.ip == one.ip;
}

SocketAddress Fabric::local_address(const Node& node, std::string_view path) {
    const auto [entry, is_new] = local_ports_.try_emplace({node.index(), std::string(path)});
    if (is_new) entry->second = static_cast<std::uint16_t>(local_ports_.size());
    SocketAddress address;
    address.is_v6 = true;
    address.ip[15] = 1;
    address.port = entry->second;
    return address;
}

// --- Datagrams -----------------------------------------------------------------------------------

SimDatagramSocket* Fabric::socket_at(const Node& node, const SocketAddress& at) noexcept {
    for (SimDatagramSocket* socket : sockets_) {
        if (&socket->node_ == &node && is_bound_to(socket->local_, at)) return socket;
    }
    return nullptr;
}

void Fabric::send_datagram(SimDatagramSocket& from, const SocketAddress& to, Bytes data) noexcept {
    const Route target = route(from.node_, to);
    if (target.node == nullptr) return;
    Link& wire = link(from.node_, *target.node, target.network);
    SocketAddress source = from.local_;
    if (is_wildcard(source)) {
        const Address* own = address_on(from.node_, target.network);
        source = own != nullptr ? own->ip : to;
        source.port = from.local_.port;
    }
    const LinkOptions& options = wire.options;
    const int copies = prng_.below(1000) < options.datagrams_doubled_per_mille ? 2 : 1;
    harm_.datagrams_doubled += copies == 2 ? 1 : 0;
    for (int i = 0; i < copies; ++i) {
        if (is_cut(from.node_, *target.node, target.network)) return;
        if (prng_.below(1000) < options.datagrams_lost_per_mille) {
            ++harm_.datagrams_lost;
            continue;
        }
        ByteBuffer bytes(data.begin(), data.end());
        if (!bytes.empty() && prng_.below(1'000'000) < options.corrupted_per_million) {
            corrupt(bytes);
        }
        Node& node = *target.node;
        world_.schedule(
            arrival(wire, data.size()), node.machine(), EventKind::datagram,
            [this, &node, source, to, bytes = std::move(bytes)]() mutable {
                SimDatagramSocket* socket = socket_at(node, to);
                if (!node.is_on() || socket == nullptr) return;
                world_.schedule(
                    world_.now(), socket->loop_.owner(), EventKind::datagram,
                    [this, &node, source, to, bytes = std::move(bytes)] {
                        SimDatagramSocket* at = socket_at(node, to);
                        if (at == nullptr) return;
                        at->loop_.turn([&] { at->handler_.on_datagram(source, bytes); });
                    });
            });
    }
}

void Fabric::corrupt(MutableBytes bytes) noexcept {
    ++harm_.corrupted;
    bytes[prng_.below(bytes.size())] ^= std::byte{1} << prng_.below(8);
}

// --- Nodes ---------------------------------------------------------------------------------------

void Fabric::process_gone(Node& node, std::uint32_t process) noexcept {
    std::erase_if(listeners_, [&](const SimListener* one) { return &one->node_ == &node; });
    std::erase_if(sockets_, [&](const SimDatagramSocket* one) { return &one->node_ == &node; });
    std::erase_if(attempts_, [&](auto& entry) {
        if (entry.second.node != &node) return false;
        entry.second.owner->attempt_ = 0;
        return true;
    });
    std::vector<std::uint64_t> ids;
    for (const auto& [id, connection] : connections_) ids.push_back(id);
    for (const std::uint64_t id : ids) {
        for (int side = 0; side < 2; ++side) {
            Connection* connection = find(id);
            if (connection == nullptr) break;
            End& end = connection->ends[side];
            if (end.node != &node || end.process != process) continue;
            if (end.state == EndState::open) close_end(*connection, side, false);
        }
        forget_if_over(id);
    }
}

void Fabric::power_lost(Node& node) noexcept {
    for (const auto& [id, connection] : connections_) {
        for (End& end : connection->ends) {
            if (end.node != &node) continue;
            end.state = EndState::vanished;
            if (end.stream != nullptr) end.stream->handler_ = nullptr;
        }
        // What its kernel still had to send, or to hand to a process, is gone as well.
        for (int side = 0; side < 2; ++side) {
            if (connection->ends[side].node == &node) {
                connection->pipes[side] = Pipe();
            } else if (connection->ends[1 - side].node == &node) {
                lose_unread(*connection, side);
            }
        }
    }
}

void Fabric::power_returned(Node&) noexcept { retry_connections(); }

void Fabric::process_resumed(Node& node) noexcept {
    for (const auto& [id, connection] : connections_) {
        for (int side = 0; side < 2; ++side) {
            if (connection->ends[1 - side].node != &node) continue;
            if (connection->pipes[side].waiting) arm_arrival(*connection, side, world_.now());
        }
    }
}

void Fabric::reset_streams(Node& a, Node& b) noexcept {
    for (const auto& [id, connection] : connections_) {
        const Node* first = connection->ends[0].node;
        const Node* second = connection->ends[1].node;
        if (!(first == &a && second == &b) && !(first == &b && second == &a)) continue;
        for (int side = 0; side < 2; ++side) {
            if (connection->ends[side].state == EndState::open) ++harm_.ends_reset;
            send_reset(*connection, side);
        }
    }
}

void Fabric::lose_ends(Node& node, const Node& other) noexcept {
    for (const auto& [id, connection] : connections_) {
        for (int side = 0; side < 2; ++side) {
            const End& end = connection->ends[side];
            if (end.node != &node || connection->ends[1 - side].node != &other) continue;
            if (end.state != EndState::open) continue;
            ++harm_.ends_lost;
            end_connection(*connection, side, Status::from_errno(ECONNRESET));
        }
    }
}

}  // namespace gemel::sim
