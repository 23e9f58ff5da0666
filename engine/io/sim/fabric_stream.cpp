// SPDX-License-Identifier: Apache-2.0
// Fabric: how the bytes of a connection move.
#include "engine/base/assert.hpp"
#include "engine/io/sim/fabric.hpp"
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/network.hpp"
#include "engine/io/sim/node.hpp"

#include <algorithm>
#include <utility>

namespace gemel::sim {

Fabric::Connection* Fabric::find(std::uint64_t id) noexcept {
    const auto entry = connections_.find(id);
    return entry == connections_.end() ? nullptr : entry->second.get();
}

// --- Sending -------------------------------------------------------------------------------------

void Fabric::add_segment(Connection& connection, int side, Segment::Kind kind,
                         std::size_t size) noexcept {
    Pipe& pipe = connection.pipes[side];
    Link& wire =
        link(*connection.ends[side].node, *connection.ends[1 - side].node, connection.network);
    // TCP keeps the order whatever the single delays are.
    pipe.last_arrival = std::max(pipe.last_arrival, arrival(wire, size));
    pipe.segments.push_back({kind, pipe.last_arrival, size});
    if (pipe.segments.size() == 1) arm_arrival(connection, side, pipe.last_arrival);
}

// Gives the kernel as much as it takes.
void Fabric::transmit(Connection& connection, int side) noexcept {
    Pipe& pipe = connection.pipes[side];
    const std::size_t in_kernel = pipe.taken + pipe.unreleased;
    const std::size_t room = kSocketBuffer - std::min(kSocketBuffer, in_kernel);
    const std::size_t size = std::min(room, pipe.unsent());
    if (size > 0) {
        Link& wire =
            link(*connection.ends[side].node, *connection.ends[1 - side].node, connection.network);
        if (prng_.below(1'000'000) < wire.options.corrupted_per_million) {
            corrupt(MutableBytes(pipe.bytes).subspan(pipe.begin + pipe.taken, size));
        }
        pipe.taken += size;
        add_segment(connection, side, Segment::Kind::data, size);
    }
    pipe.blocked = pipe.unsent() > 0;
}

void Fabric::arm_arrival(Connection& connection, int side, Instant due) noexcept {
    Pipe& pipe = connection.pipes[side];
    pipe.waiting = false;
    if (pipe.arrival_armed) return;
    pipe.arrival_armed = true;
    const std::uint64_t id = connection.id;
    world_.schedule(due, connection.ends[1 - side].node->machine(), EventKind::stream,
                    [this, id, side] { arrive(id, side); });
}

// --- Arriving ------------------------------------------------------------------------------------

bool Fabric::wire_is_open(const Connection& connection, int side) noexcept {
    const End& from = connection.ends[side];
    const End& to = connection.ends[1 - side];
    if (!to.node->is_on()) return false;
    return from.node == to.node || !is_cut(*from.node, *to.node, connection.network);
}

void Fabric::arrive(std::uint64_t id, int side) noexcept {
    Connection* connection = find(id);
    if (connection == nullptr) return;
    Pipe& pipe = connection->pipes[side];
    pipe.arrival_armed = false;
    if (pipe.segments.empty()) return;
    const Segment& front = pipe.segments.front();
    if (front.arrival > world_.now()) return arm_arrival(*connection, side, front.arrival);
    if (!wire_is_open(*connection, side)) return stall(*connection, side);
    if (wire_is_open(*connection, 1 - side)) pipe.stalled = false;
    const End& to = connection->ends[1 - side];
    if (to.state != EndState::open) {
        const bool says_more = front.kind != Segment::Kind::end;
        pipe.segments.clear();
        // A kernel without this connection answers so; a closed one only to data.
        if (says_more || to.state == EndState::vanished) send_reset(*connection, side);
        forget_if_over(id);
        return;
    }
    const bool is_ready =
        front.kind == Segment::Kind::accept ||
        (to.stream != nullptr && (front.kind == Segment::Kind::end || to.stream->wants_data()));
    if (to.node->is_paused() || !is_ready) {
        pipe.waiting = true;
        return;
    }
    switch (front.kind) {
        case Segment::Kind::accept:
            accept(*connection);
            break;
        case Segment::Kind::data:
            deliver_data(*connection, side);
            break;
        case Segment::Kind::end:
            deliver_end(*connection, side);
            break;
    }
    connection = find(id);
    if (connection == nullptr || connection->pipes[side].segments.empty()) return;
    arm_arrival(*connection, side, connection->pipes[side].segments.front().arrival);
}

void Fabric::accept(Connection& connection) noexcept {
    connection.pipes[0].segments.pop_front();
    End& end = connection.ends[1];
    SimListener* listener = listener_at(*end.node, end.address);
    if (listener == nullptr || listener->loop_.serial() != end.process) {
        end.state = EndState::closed;
        send_reset(connection, 0);
        return;
    }
    SimLoop& loop = listener->loop_;
    auto stream = std::make_unique<SimStream>(static_cast<SimNetwork&>(loop.network()),
                                              connection.id, 1, connection.ends[0].address);
    end.stream = stream.get();
    loop.turn([&] { listener->handler_.on_accepted(std::move(stream)); });
}

void Fabric::deliver_data(Connection& connection, int side) noexcept {
    Pipe& pipe = connection.pipes[side];
    std::size_t size = 0;
    for (const Segment& segment : pipe.segments) {
        if (segment.kind != Segment::Kind::data || segment.arrival > world_.now()) break;
        size += segment.size;
    }
    // A reader gets the stream in pieces that have nothing to do with the writer's.
    if (size > 1 && prng_.one_in(4)) size = 1 + prng_.below(size);
    SimStream& stream = *connection.ends[1 - side].stream;
    size = std::min<std::size_t>(size, stream.pulls_ ? stream.receive_buffer_.size() : 64 * kKiB);
    const auto begin = pipe.bytes.begin() + static_cast<std::ptrdiff_t>(pipe.begin);
    scratch_.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
    pipe.begin += size;
    pipe.taken -= size;
    pipe.unreleased += size;
    if (pipe.begin == pipe.bytes.size()) {
        pipe.bytes.clear();
        pipe.begin = 0;
    } else if (pipe.begin > kSocketBuffer && pipe.begin > pipe.bytes.size() / 2) {
        pipe.bytes.erase(pipe.bytes.begin(), begin + static_cast<std::ptrdiff_t>(size));
        pipe.begin = 0;
    }
    for (std::size_t left = size; left > 0;) {
        Segment& front = pipe.segments.front();
        const std::size_t part = std::min(left, front.size);
        front.size -= part;
        left -= part;
        if (front.size == 0) pipe.segments.pop_front();
    }
    release(connection, side);
    GEMEL_ASSERT(stream.handler_ != nullptr);  // set before the loop's next turn
    SimLoop& loop = connection.ends[1 - side].node->loop();
    if (stream.pulls_) {
        IoOp& op = *std::exchange(stream.receive_, nullptr);
        std::copy(scratch_.begin(), scratch_.end(), stream.receive_buffer_.begin());
        loop.turn([&] { op.on_complete(Status(), size); });
    } else {
        loop.turn([&] { stream.handler_->on_data(scratch_); });
    }
}

// The acknowledgement of what was delivered goes back, if it can.
void Fabric::release(Connection& connection, int side) noexcept {
    Pipe& pipe = connection.pipes[side];
    if (!wire_is_open(connection, 1 - side)) {
        stall(connection, side);
        return;
    }
    pipe.unreleased = 0;
    if (!pipe.blocked) return;
    const std::uint64_t id = connection.id;
    const End& from = connection.ends[side];
    const Link& back = link(*connection.ends[1 - side].node, *from.node, connection.network);
    world_.schedule(world_.now() + latency(back), {from.node->index(), from.process},
                    EventKind::stream_ack, [this, id, side] {
                        Connection* found = find(id);
                        if (found == nullptr || found->ends[side].state != EndState::open) return;
                        if (!found->pipes[side].blocked) return;
                        transmit(*found, side);
                        SimStream* stream = found->ends[side].stream;
                        if (found->pipes[side].blocked || stream == nullptr) return;
                        StreamHandler* handler = stream->handler_;
                        if (handler == nullptr) return;
                        found->ends[side].node->loop().turn([&] { handler->on_drained(); });
                    });
}

void Fabric::deliver_end(Connection& connection, int side) noexcept {
    connection.pipes[side].segments.clear();
    end_connection(connection, 1 - side, Status(Code::disconnected));
}

// --- Stalls --------------------------------------------------------------------------------------

void Fabric::stall(Connection& connection, int side) noexcept {
    Pipe& pipe = connection.pipes[side];
    if (pipe.stalled) return;
    pipe.stalled = true;
    const std::uint32_t number = ++pipe.stall;
    const std::uint64_t id = connection.id;
    const auto patience = static_cast<std::int64_t>(prng_.between(15'000, 120'000));
    world_.schedule(world_.now() + Duration::milliseconds(patience),
                    connection.ends[side].node->machine(), EventKind::stream_reset,
                    [this, id, side, number] { give_up(id, side, number); });
}

void Fabric::give_up(std::uint64_t id, int side, std::uint32_t stall) noexcept {
    Connection* connection = find(id);
    if (connection == nullptr) return;
    const Pipe& pipe = connection->pipes[side];
    if (!pipe.stalled || pipe.stall != stall) return;
    end_connection(*connection, side, Status::from_errno(ETIMEDOUT));
    forget_if_over(id);
}

void Fabric::unstall(Connection& connection) noexcept {
    for (int side = 0; side < 2; ++side) {
        Pipe& pipe = connection.pipes[side];
        if (!pipe.stalled || !wire_is_open(connection, side)) continue;
        // The sender tries again at times of its own.
        const auto delay = static_cast<std::int64_t>(prng_.between(1, 400));
        const std::uint64_t id = connection.id;
        world_.schedule(world_.now() + Duration::milliseconds(delay),
                        connection.ends[side].node->machine(), EventKind::stream, [this, id, side] {
                            Connection* found = find(id);
                            if (found == nullptr || !found->pipes[side].stalled) return;
                            if (!wire_is_open(*found, side)) return;
                            if (wire_is_open(*found, 1 - side)) {
                                found->pipes[side].stalled = false;
                                release(*found, side);
                            }
                            if (!found->pipes[side].segments.empty()) {
                                arm_arrival(*found, side, world_.now());
                            }
                        });
    }
}

void Fabric::retry_connections() noexcept {
    for (const auto& [id, connection] : connections_) unstall(*connection);
}

// --- Ends ----------------------------------------------------------------------------------------

void Fabric::end_connection(Connection& connection, int side, Status reason) noexcept {
    End& end = connection.ends[side];
    if (end.state != EndState::open) return;
    const std::uint64_t id = connection.id;
    world_.schedule(world_.now(), {end.node->index(), end.process}, EventKind::stream_reset,
                    [this, id, side, reason] {
                        Connection* found = find(id);
                        if (found == nullptr || found->ends[side].state != EndState::open) return;
                        End& over = found->ends[side];
                        over.state = EndState::closed;
                        found->pipes[side] = Pipe();
                        // The other end, if it is still open, hears of it when it sends.
                        if (over.stream != nullptr && over.stream->handler_ != nullptr) {
                            over.node->loop().turn([&] { tell_end(id, side, reason); });
                        }
                        forget_if_over(id);
                    });
}

// A receive under way ends first, and its completion may destroy the stream.
void Fabric::tell_end(std::uint64_t id, int side, Status reason) noexcept {
    const auto stream = [&]() -> SimStream* {
        Connection* connection = find(id);
        return connection == nullptr ? nullptr : connection->ends[side].stream;
    };
    if (IoOp* op = std::exchange(stream()->receive_, nullptr)) op->on_complete(reason, 0);
    if (stream() != nullptr && stream()->handler_ != nullptr) {
        stream()->handler_->on_closed(reason);
    }
}

void Fabric::send_reset(Connection& connection, int side) noexcept {
    const End& end = connection.ends[side];
    if (end.state != EndState::open) return;
    const std::uint64_t id = connection.id;
    const Link& wire = link(*connection.ends[1 - side].node, *end.node, connection.network);
    world_.schedule(world_.now() + latency(wire), end.node->machine(), EventKind::stream_reset,
                    [this, id, side] {
                        Connection* found = find(id);
                        if (found == nullptr || !wire_is_open(*found, 1 - side)) return;
                        end_connection(*found, side, Status::from_errno(ECONNRESET));
                    });
}

// What waited for the receiving process is gone with it. The sender does not send it again, its
// kernel was told that it had come; only one that was told to wait asks whether there is room.
// Either way nothing waits any more: what is sent from here on arrives, and is answered.
void Fabric::lose_unread(Connection& connection, int side) noexcept {
    Pipe& pipe = connection.pipes[side];
    if (!pipe.waiting) return;
    if (pipe.blocked) return arm_arrival(connection, side, world_.now());
    pipe = Pipe();
}

// The process has closed its end, or has ended. A kernel that still has bytes nobody read resets
// the connection instead of ending it (RFC 2525, 2.17); what it has not sent yet is lost then.
void Fabric::close_end(Connection& connection, int side, bool by_process) noexcept {
    End& end = connection.ends[side];
    GEMEL_ASSERT(end.state == EndState::open);
    Pipe& outgoing = connection.pipes[side];
    const Pipe& incoming = connection.pipes[1 - side];
    if (by_process) transmit(connection, side);
    outgoing.bytes.resize(outgoing.begin + outgoing.taken);
    outgoing.blocked = false;
    end.state = EndState::closed;
    if (end.stream != nullptr) end.stream->handler_ = nullptr;
    const bool has_unread = !incoming.segments.empty() &&
                            incoming.segments.front().kind == Segment::Kind::data &&
                            incoming.segments.front().arrival <= world_.now();
    lose_unread(connection, 1 - side);
    if (has_unread) {
        outgoing = Pipe();
        send_reset(connection, 1 - side);
    } else {
        add_segment(connection, side, Segment::Kind::end, 0);
    }
}

void Fabric::forget_if_over(std::uint64_t id) noexcept {
    const Connection* connection = find(id);
    if (connection == nullptr) return;
    for (int side = 0; side < 2; ++side) {
        const End& end = connection->ends[side];
        // What still has to reach an open end keeps the connection by that end.
        if (end.state == EndState::open || end.stream != nullptr) return;
    }
    connections_.erase(id);
}

}  // namespace gemel::sim
