// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/uring_datagram.hpp"

namespace gemel {

DatagramCore::DatagramCore(UringNetwork& network, Socket socket, DatagramHandler& handler) noexcept
    : network_(network),
      socket_(std::move(socket)),
      handler_(&handler),
      buffer_(new std::byte[kSizeMax]),
      part_{buffer_.get(), kSizeMax} {}

void DatagramCore::send(const SocketAddress& to, Bytes data) noexcept {
    const RawAddress raw(to);
    // Lost if the kernel has no room now or no route: so it is with datagrams.
    [[maybe_unused]] const ssize_t ignored =
        ::sendto(socket_.descriptor(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                 &raw.any, raw.size);
}

void DatagramCore::close() noexcept {
    handler_ = nullptr;
    if (receive_.is_in_flight()) network_.ring().cancel(receive_);
}

void DatagramCore::arm() noexcept {
    ++reference_count;
    message_.msg_name = &from_.storage;
    message_.msg_namelen = sizeof from_.storage;
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    network_.ring().prepare(receive_, [this](io_uring_sqe* entry) {
        io_uring_prep_recvmsg(entry, socket_.descriptor(), &message_, 0);
    });
}

void DatagramCore::on_received(int result, unsigned) noexcept {
    const Reference<DatagramCore> alive(*this);
    --reference_count;
    if (handler_ != nullptr && result >= 0) {
        handler_->on_datagram(from_.address(), {buffer_.get(), static_cast<std::size_t>(result)});
    }
    if (handler_ != nullptr) arm();
}

}  // namespace gemel
