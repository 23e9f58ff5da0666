// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/uring_stream.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/uring/posix_call.hpp"

#include <algorithm>

namespace gemel {
namespace {

constexpr std::size_t kReceiveSize = 64 * kKiB;
// Buffers that a slow peer made larger are given back once they are empty.
constexpr std::size_t kKeptCapacity = kMiB;

iovec part_of(Bytes data) noexcept { return {const_cast<std::byte*>(data.data()), data.size()}; }

bool is_transient(int result) noexcept { return result == -EINTR || result == -EAGAIN; }

}  // namespace

StreamCore::StreamCore(UringNetwork& network, Socket socket) noexcept
    : network_(network), socket_(std::move(socket)), remote_(socket_.remote()) {}

StreamCore::~StreamCore() { GEMEL_ASSERT(closed_); }

void StreamCore::set_handler(StreamHandler& handler) noexcept {
    GEMEL_ASSERT(!closed_);
    const bool first = handler_ == nullptr;
    handler_ = &handler;
    if (!first || pulls_) return;
    uses_provided_ = network_.ring().provide_buffers();
    arm_receive();
}

void StreamCore::set_pulling_handler(StreamHandler& handler) noexcept {
    GEMEL_ASSERT(handler_ == nullptr || pulls_);
    pulls_ = true;
    set_handler(handler);
}

void StreamCore::close() noexcept {
    if (closed_) return;
    flush();
    closed_ = true;
    handler_ = nullptr;
    // Ends the operations in flight. The descriptor stays until they have completed: a queued
    // submission names it by number.
    ::shutdown(socket_.descriptor(), SHUT_RDWR);
}

// ---- receiving ------------------------------------------------------------------------------

void StreamCore::arm_receive() noexcept {
    ++reference_count;
    network_.ring().prepare(receive_, [this](io_uring_sqe* entry) {
        if (uses_provided_) {
            io_uring_prep_recv_multishot(entry, socket_.descriptor(), nullptr, 0, 0);
            entry->flags |= IOSQE_BUFFER_SELECT;
            entry->buf_group = Ring::kBufferGroup;
        } else {
            receive_buffer_.resize(kReceiveSize);
            io_uring_prep_recv(entry, socket_.descriptor(), receive_buffer_.data(), kReceiveSize,
                               0);
        }
    });
}

void StreamCore::on_received(int result, unsigned flags) noexcept {
    const Reference<StreamCore> alive(*this);
    if (!receive_.is_in_flight()) --reference_count;
    if (pulls_) {  // a notice
        if (!closed_) end(failure_);
        return;
    }
    const auto size = static_cast<std::size_t>(std::max(result, 0));
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        if (size > 0) deliver(network_.ring().provided(flags, size));
        network_.ring().give_back(flags);
    } else if (size > 0) {
        deliver({receive_buffer_.data(), size});
    }
    if (closed_ || receive_.is_in_flight()) return;
    if (result == -EINVAL && uses_provided_) {
        uses_provided_ = false;  // Linux before 6.0 has no multishot receive
        arm_receive();
    } else if (result > 0 || result == -ENOBUFS || is_transient(result)) {
        arm_receive();  // ENOBUFS: all buffers were full; they have been given back by now
    } else {
        end(result == 0 ? Status(Code::disconnected) : Status::from_errno(-result));
    }
}

void StreamCore::deliver(Bytes data) noexcept {
    if (handler_ != nullptr) handler_->on_data(data);
}

// ---- receiving, pulled ------------------------------------------------------------------------

void StreamCore::receive(IoOp& op, MutableBytes buffer, bool whole) noexcept {
    GEMEL_ASSERT(pulls_ && pulled_op_ == nullptr && !buffer.empty());
    pulled_op_ = &op;
    pulled_buffer_ = buffer;
    pulled_flags_ = whole ? MSG_WAITALL : 0;
    arm_pull();
}

void StreamCore::arm_pull() noexcept {
    ++reference_count;
    network_.ring().prepare(pull_, [this](io_uring_sqe* entry) {
        if (closed_) {
            io_uring_prep_nop(entry);  // completes like any other
        } else {
            io_uring_prep_recv(entry, socket_.descriptor(), pulled_buffer_.data(),
                               pulled_buffer_.size(), pulled_flags_);
        }
    });
}

void StreamCore::on_pulled(int result, unsigned) noexcept {
    const Reference<StreamCore> alive(*this);
    --reference_count;
    if (!closed_ && is_transient(result)) return arm_pull();
    IoOp& op = *std::exchange(pulled_op_, nullptr);
    if (closed_) return op.on_complete(Status(Code::cancelled), 0);
    if (result > 0) return op.on_complete(Status(), static_cast<std::size_t>(result));
    const Status reason = !failure_.ok() ? failure_
                          : result == 0  ? Status(Code::disconnected)
                                         : Status::from_errno(-result);
    op.on_complete(reason, 0);
    if (!closed_) end(reason);
}

void StreamCore::arm_notice() noexcept {
    if (receive_.is_in_flight()) return;
    ++reference_count;
    network_.ring().prepare(receive_, [](io_uring_sqe* entry) { io_uring_prep_nop(entry); });
}

void StreamCore::end(Status reason) noexcept {
    closed_ = true;
    StreamHandler* handler = std::exchange(handler_, nullptr);
    ::shutdown(socket_.descriptor(), SHUT_RDWR);
    GEMEL_ASSERT(handler != nullptr);
    handler->on_closed(failure_.ok() ? reason : failure_);
}

// ---- sending --------------------------------------------------------------------------------

void StreamCore::send(Bytes head, Bytes body) noexcept {
    if (closed_ || !failure_.ok()) return;
    if (body.size() < kDirectSize || send_.is_in_flight()) {
        append(head);
        append(body);
        network_.add_dirty(*this);
        return;
    }
    GEMEL_ASSERT(sending_.empty());
    iovec parts[] = {part_of(pending_), part_of(head), part_of(body)};
    std::size_t taken = offer(parts);
    if (!failure_.ok()) return;
    const std::size_t from_pending = std::min(taken, pending_.size());
    taken -= from_pending;
    const std::size_t from_head = std::min(taken, head.size());
    taken -= from_head;
    append(head.subspan(from_head));
    append(body.subspan(taken));
    send_by_ring(from_pending);
}

void StreamCore::flush() noexcept {
    if (closed_ || !failure_.ok() || send_.is_in_flight() || pending_.empty()) return;
    iovec parts[] = {part_of(pending_)};
    send_by_ring(offer(parts));
}

std::size_t StreamCore::offer(std::span<iovec> parts) noexcept {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t taken = uninterrupted(
        [&] { return ::sendmsg(socket_.descriptor(), &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
    if (taken >= 0) return static_cast<std::size_t>(taken);
    if (errno != EAGAIN) fail(last_error());
    return 0;
}

void StreamCore::send_by_ring(std::size_t skip) noexcept {
    if (!failure_.ok()) return;
    GEMEL_ASSERT(!send_.is_in_flight() && sending_.empty() && skip <= pending_.size());
    if (skip == pending_.size()) {
        pending_.clear();
        release_memory();
        return;
    }
    std::swap(sending_, pending_);
    sent_ = skip;
    arm_send();
}

void StreamCore::arm_send() noexcept {
    ++reference_count;
    network_.ring().prepare(send_, [this](io_uring_sqe* entry) {
        io_uring_prep_send(entry, socket_.descriptor(), &sending_[sent_], sending_.size() - sent_,
                           MSG_NOSIGNAL);
    });
}

void StreamCore::on_sent(int result, unsigned) noexcept {
    const Reference<StreamCore> alive(*this);
    --reference_count;
    if (closed_ || !failure_.ok()) return;
    if (result < 0 && !is_transient(result)) {
        fail(Status::from_errno(-result));
        return;
    }
    sent_ += static_cast<std::size_t>(std::max(result, 0));
    GEMEL_ASSERT(sent_ <= sending_.size());
    if (sent_ < sending_.size()) {
        arm_send();
        return;
    }
    sending_.clear();
    sent_ = 0;
    flush();
    release_memory();
    if (unsent() == 0 && failure_.ok() && handler_ != nullptr) handler_->on_drained();
}

// The owner hears of it from the receiving side, which first delivers what the peer has still sent
// (its reason, perhaps) and then finds the stream shut. One who pulls may be waiting for nothing
// but this stream to drain, and is told at once.
void StreamCore::fail(Status reason) noexcept {
    failure_ = reason;
    pending_.clear();
    if (!send_.is_in_flight()) sending_.clear();
    sent_ = 0;
    ::shutdown(socket_.descriptor(), SHUT_RDWR);
    if (pulls_) arm_notice();
}

void StreamCore::release_memory() noexcept {
    if (pending_.empty() && pending_.capacity() > kKeptCapacity) ByteBuffer().swap(pending_);
    if (sending_.empty() && sending_.capacity() > kKeptCapacity) ByteBuffer().swap(sending_);
}

}  // namespace gemel
