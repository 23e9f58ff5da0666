// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/network.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"

#include <utility>

namespace gemel::sim {

SimNetwork::SimNetwork(SimLoop& loop) noexcept
    : loop_(loop), node_(loop.node()), fabric_(loop.node().world().fabric()) {}

Status SimNetwork::check_local(const SocketAddress& local) noexcept {
    if (!loop_.is_alive()) return Status(Code::cancelled);
    return fabric_.has_address(node_, local) ? Status() : Status::from_errno(EADDRNOTAVAIL);
}

Result<std::unique_ptr<Listener>> SimNetwork::listen(const SocketAddress& local,
                                                     ListenerHandler& handler) noexcept {
    GEMEL_TRY(check_local(local));
    if (fabric_.listener_at(node_, local) != nullptr) return Status::from_errno(EADDRINUSE);
    return std::unique_ptr<Listener>(std::make_unique<SimListener>(*this, local, handler));
}

std::unique_ptr<Connecting> SimNetwork::connect(const SocketAddress& remote,
                                                const SocketAddress* local,
                                                ConnectHandler& handler) noexcept {
    auto connecting = std::make_unique<SimConnecting>(fabric_);
    if (!loop_.is_alive()) return connecting;
    Fabric::Attempt attempt;
    attempt.owner = connecting.get();
    attempt.handler = &handler;
    attempt.node = &node_;
    attempt.process = loop_.serial();
    attempt.remote = remote;
    if (local != nullptr) attempt.local = *local;
    connecting->attempt_ = fabric_.begin_attempt(attempt);
    return connecting;
}

Result<std::unique_ptr<Listener>> SimNetwork::listen_local(std::string_view path,
                                                           ListenerHandler& handler) noexcept {
    if (!loop_.is_alive()) return Status(Code::cancelled);
    const SocketAddress local = fabric_.local_address(node_, path);
    if (fabric_.listener_at(node_, local) != nullptr) return Status::from_errno(EADDRINUSE);
    return std::unique_ptr<Listener>(std::make_unique<SimListener>(*this, local, handler));
}

std::unique_ptr<Connecting> SimNetwork::connect_local(std::string_view path,
                                                      ConnectHandler& handler) noexcept {
    return connect(fabric_.local_address(node_, path), nullptr, handler);
}

Result<std::unique_ptr<DatagramSocket>> SimNetwork::bind_datagram(
    const SocketAddress& local, DatagramHandler& handler) noexcept {
    GEMEL_TRY(check_local(local));
    SocketAddress own = local;
    if (own.port == 0) own.port = fabric_.next_port_++;
    if (fabric_.socket_at(node_, own) != nullptr) return Status::from_errno(EADDRINUSE);
    return std::unique_ptr<DatagramSocket>(
        std::make_unique<SimDatagramSocket>(*this, own, handler));
}

void SimNetwork::mark_dirty(std::uint64_t connection, int side) noexcept {
    dirty_.push_back({connection, side});
    loop_.need_turn_end();
}

void SimNetwork::flush_all() noexcept {
    for (const Dirty& dirty : dirty_) {
        Fabric::Connection* connection = fabric_.find(dirty.connection);
        if (connection == nullptr) continue;
        if (connection->ends[dirty.side].state != Fabric::EndState::open) continue;
        fabric_.transmit(*connection, dirty.side);
    }
    dirty_.clear();
}

void SimNetwork::process_died() noexcept {
    dirty_.clear();
    fabric_.process_gone(node_, loop_.serial());
}

// --- Streams -------------------------------------------------------------------------------------

SimStream::~SimStream() {
    close();
    Fabric::Connection* connection = fabric_.find(connection_);
    if (connection == nullptr) return;
    connection->ends[side_].stream = nullptr;
    fabric_.forget_if_over(connection_);
}

Fabric::Connection* SimStream::open_connection() const noexcept {
    Fabric::Connection* connection = fabric_.find(connection_);
    if (connection == nullptr) return nullptr;
    return connection->ends[side_].state == Fabric::EndState::open ? connection : nullptr;
}

void SimStream::set_handler(StreamHandler& handler) noexcept {
    if (open_connection() != nullptr) handler_ = &handler;
}

void SimStream::set_pulling_handler(StreamHandler& handler) noexcept {
    set_handler(handler);
    pulls_ = true;
}

void SimStream::receive(IoOp& op, MutableBytes buffer, bool) noexcept {
    GEMEL_ASSERT(pulls_ && receive_ == nullptr && !buffer.empty());
    receive_ = &op;
    receive_buffer_ = buffer;
    Fabric::Connection* connection = open_connection();
    if (connection == nullptr) return end_receive(Status(Code::cancelled));
    const int from = 1 - side_;
    if (!connection->pipes[from].waiting) return;
    fabric_.arm_arrival(*connection, from, fabric_.world_.now());
}

void SimStream::end_receive(Status reason) noexcept {
    IoOp* op = std::exchange(receive_, nullptr);
    if (op == nullptr) return;
    network_.loop().post([op, reason] { op->on_complete(reason, 0); });
}

void SimStream::send(Bytes head, Bytes body) noexcept {
    Fabric::Connection* connection = open_connection();
    if (connection == nullptr || head.size() + body.size() == 0) return;
    Fabric::Pipe& pipe = connection->pipes[side_];
    if (pipe.unsent() == 0) network_.mark_dirty(connection_, side_);
    pipe.bytes.insert(pipe.bytes.end(), head.begin(), head.end());
    pipe.bytes.insert(pipe.bytes.end(), body.begin(), body.end());
}

void SimStream::flush() noexcept {
    Fabric::Connection* connection = open_connection();
    if (connection != nullptr) fabric_.transmit(*connection, side_);
}

std::size_t SimStream::unsent() const noexcept {
    const Fabric::Connection* connection = open_connection();
    return connection == nullptr ? 0 : connection->pipes[side_].unsent();
}

void SimStream::close() noexcept {
    handler_ = nullptr;
    end_receive(Status(Code::cancelled));
    Fabric::Connection* connection = open_connection();
    if (connection != nullptr) fabric_.close_end(*connection, side_, true);
}

// --- Listeners, attempts, datagrams --------------------------------------------------------------

SimListener::SimListener(SimNetwork& network, const SocketAddress& local,
                         ListenerHandler& handler) noexcept
    : fabric_(network.fabric()),
      node_(network.loop().node()),
      loop_(network.loop()),
      local_(local),
      handler_(handler) {
    fabric_.listeners_.push_back(this);
}

SimListener::~SimListener() { std::erase(fabric_.listeners_, this); }

SimConnecting::~SimConnecting() {
    if (attempt_ == 0) return;
    const auto attempt = fabric_.attempts_.find(attempt_);
    GEMEL_ASSERT(attempt != fabric_.attempts_.end());
    Fabric::Connection* connection = fabric_.find(attempt->second.connection);
    fabric_.attempts_.erase(attempt);
    // Established meanwhile, but not handed over: the kernel closes it.
    if (connection == nullptr || connection->ends[0].state != Fabric::EndState::open) return;
    fabric_.close_end(*connection, 0, true);
}

SimDatagramSocket::SimDatagramSocket(SimNetwork& network, const SocketAddress& local,
                                     DatagramHandler& handler) noexcept
    : fabric_(network.fabric()),
      node_(network.loop().node()),
      loop_(network.loop()),
      local_(local),
      handler_(handler) {
    fabric_.sockets_.push_back(this);
}

SimDatagramSocket::~SimDatagramSocket() { std::erase(fabric_.sockets_, this); }

void SimDatagramSocket::send(const SocketAddress& to, Bytes data) noexcept {
    if (loop_.is_alive()) fabric_.send_datagram(*this, to, data);
}

}  // namespace gemel::sim
