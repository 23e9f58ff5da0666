// SPDX-License-Identifier: Apache-2.0
// One connection. Receiving: a multishot receive into the ring's provided buffers, or single
// receives into an own one, or (pulled) into the buffers that its owner names. Sending: as much as
// the kernel takes at once by sendmsg, so that the peer begins before this node goes on with its
// own work; the rest through the ring.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/intrusive_list.hpp"
#include "engine/io/uring/uring_network.hpp"

#include <span>
#include <sys/uio.h>

namespace gemel {

// In the dirty list of its network while something waits for the end of the turn.
class StreamCore : public ListLink {
   public:
    StreamCore(UringNetwork& network, Socket socket) noexcept;
    ~StreamCore();

    void set_handler(StreamHandler& handler) noexcept;
    void set_pulling_handler(StreamHandler& handler) noexcept;
    void receive(IoOp& op, MutableBytes buffer, bool whole) noexcept;
    void send(Bytes head, Bytes body) noexcept;
    void flush() noexcept;
    [[nodiscard]] std::size_t unsent() const noexcept {
        return sending_.size() - sent_ + pending_.size();
    }
    // Nothing is told to the handler after this.
    void close() noexcept;
    [[nodiscard]] SocketAddress remote() const noexcept { return remote_; }

    std::size_t reference_count = 0;

   private:
    // Bodies from this size on are offered to the kernel where they lie, without copying.
    static constexpr std::size_t kDirectSize = 16 * kKiB;

    void arm_receive() noexcept;
    void on_received(int result, unsigned flags) noexcept;
    void deliver(Bytes data) noexcept;
    void arm_pull() noexcept;
    void on_pulled(int result, unsigned flags) noexcept;
    // A failure is to be told by the loop, although nothing is received.
    void arm_notice() noexcept;
    // Offers `parts` to the kernel; the number of bytes it took, which may be 0.
    std::size_t offer(std::span<iovec> parts) noexcept;
    // What is pending behind its first `skip` bytes.
    void send_by_ring(std::size_t skip) noexcept;
    void arm_send() noexcept;
    void on_sent(int result, unsigned flags) noexcept;
    void append(Bytes data) noexcept { pending_.insert(pending_.end(), data.begin(), data.end()); }
    void fail(Status reason) noexcept;
    void end(Status reason) noexcept;
    void release_memory() noexcept;

    UringNetwork& network_;
    Socket socket_;
    SocketAddress remote_;
    StreamHandler* handler_ = nullptr;
    bool closed_ = false;
    Status failure_;

    bool pulls_ = false;
    IoOp* pulled_op_ = nullptr;
    MutableBytes pulled_buffer_;
    int pulled_flags_ = 0;
    bool uses_provided_ = false;
    ByteBuffer receive_buffer_;  // only where the kernel provides no buffers
    // [sent_, end) of sending_ is with the ring, or next; pending_ follows it.
    ByteBuffer sending_;
    std::size_t sent_ = 0;
    ByteBuffer pending_;

    MemberOp<StreamCore, &StreamCore::on_received> receive_{*this};
    MemberOp<StreamCore, &StreamCore::on_pulled> pull_{*this};
    MemberOp<StreamCore, &StreamCore::on_sent> send_{*this};
};

class UringStream final : public Stream {
   public:
    UringStream(UringNetwork& network, Socket socket) noexcept
        : count_(network), core_(*new StreamCore(network, std::move(socket))) {}
    ~UringStream() override { core_->close(); }

    void set_handler(StreamHandler& handler) noexcept override { core_->set_handler(handler); }
    void set_pulling_handler(StreamHandler& handler) noexcept override {
        core_->set_pulling_handler(handler);
    }
    void receive(IoOp& op, MutableBytes buffer, bool whole) noexcept override {
        core_->receive(op, buffer, whole);
    }
    void send(Bytes head, Bytes body) noexcept override { core_->send(head, body); }
    void flush() noexcept override { core_->flush(); }
    [[nodiscard]] std::size_t unsent() const noexcept override { return core_->unsent(); }
    void close() noexcept override { core_->close(); }
    [[nodiscard]] SocketAddress remote() const noexcept override { return core_->remote(); }

   private:
    UringNetwork::HandleCount count_;
    Reference<StreamCore> core_;
};

}  // namespace gemel
