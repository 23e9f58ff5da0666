// SPDX-License-Identifier: Apache-2.0
// One UDP socket: sends at once or not at all, receives one datagram at a time through the ring.
#pragma once

#include "engine/io/uring/uring_network.hpp"

#include <memory>

namespace gemel {

class DatagramCore {
   public:
    DatagramCore(UringNetwork& network, Socket socket, DatagramHandler& handler) noexcept;

    void start() noexcept { arm(); }
    void send(const SocketAddress& to, Bytes data) noexcept;
    void close() noexcept;

    std::size_t reference_count = 0;

   private:
    static constexpr std::size_t kSizeMax = 64 * kKiB;  // more than UDP can carry

    void arm() noexcept;
    void on_received(int result, unsigned flags) noexcept;

    UringNetwork& network_;
    Socket socket_;
    DatagramHandler* handler_;
    std::unique_ptr<std::byte[]> buffer_;
    iovec part_;
    RawAddress from_;
    msghdr message_{};
    MemberOp<DatagramCore, &DatagramCore::on_received> receive_{*this};
};

class UringDatagramSocket final : public DatagramSocket {
   public:
    UringDatagramSocket(UringNetwork& network, Socket socket, DatagramHandler& handler) noexcept
        : count_(network), core_(*new DatagramCore(network, std::move(socket), handler)) {
        core_->start();
    }
    ~UringDatagramSocket() override { core_->close(); }
    void send(const SocketAddress& to, Bytes data) noexcept override { core_->send(to, data); }

   private:
    UringNetwork::HandleCount count_;
    Reference<DatagramCore> core_;
};

}  // namespace gemel
