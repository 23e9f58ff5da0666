// SPDX-License-Identifier: Apache-2.0
#include "netdev/handshake_session.hpp"

#include "netdev/frame_link.hpp"

#include <utility>

namespace gemel {

HandshakeSession::HandshakeSession(Loop& loop, std::unique_ptr<Stream> stream, Handshake handshake,
                                   Duration time_limit,
                                   std::function<void(HandshakeResult)> done) noexcept
    : loop_(loop),
      stream_(std::move(stream)),
      handshake_(std::move(handshake)),
      parser_(FrameExpectation{kHandshakeVersion, 0, kHandshakePayloadMax, 0}),
      done_(std::move(done)),
      remote_(stream_->remote()),
      timer_(loop, [this] { fail(Status(Code::timed_out), "the handshake took too long"); }) {
    stream_->set_handler(*this);
    timer_.start(time_limit);
    send(handshake_.start());
}

HandshakeSession::~HandshakeSession() { abandon(); }

void HandshakeSession::abandon() noexcept {
    timer_.cancel();
    done_ = nullptr;
    if (stream_ != nullptr && !std::exchange(is_closed_, true)) stream_->close();
}

void HandshakeSession::send(const Handshake::Step& step) noexcept {
    for (const Handshake::Reply& reply : step.replies) {
        FrameHeader header{};
        header.version = kHandshakeVersion;
        header.type = reply.type;
        header.body_size = static_cast<std::uint32_t>(reply.payload.size());
        header.plain_size = header.body_size;
        header.sequence = send_sequence_++;
        seal_frame(header, {}, reply.payload);
        stream_->send(std::as_bytes(std::span(&header, 1)), reply.payload);
    }
    stream_->flush();
}

void HandshakeSession::on_data(Bytes data) noexcept {
    while (const auto frame = parser_.next(data)) {
        const Handshake::Step step = handshake_.on_frame(frame->type, frame->payload);
        send(step);
        if (step.state == Handshake::State::done) return succeed(data);
        if (step.state == Handshake::State::failed) {
            return fail(Status(Code::refused), handshake_.failure());
        }
    }
    if (parser_.error() != nullptr) fail(Status(Code::corrupt), parser_.error());
}

void HandshakeSession::on_closed(Status reason) noexcept {
    is_closed_ = true;
    fail(reason, "the connection was closed in the handshake: " + reason.to_string());
}

void HandshakeSession::succeed(Bytes rest) noexcept {
    timer_.cancel();
    HandshakeResult result;
    result.peer = handshake_.peer();
    const FrameLink::Session session{result.peer.version, handshake_.session_tag(), send_sequence_};
    result.link =
        std::make_unique<FrameLink>(loop_, std::move(stream_), session, std::move(parser_), rest);
    const auto done = std::move(done_);
    done(std::move(result));
}

void HandshakeSession::fail(Status status, std::string sentence) noexcept {
    const auto done = std::move(done_);
    abandon();  // closing sends what is still queued: why the other side is refused
    HandshakeResult result;
    result.status = status;
    result.failure = std::move(sentence);
    result.is_stranger = handshake_.is_stranger();
    done(std::move(result));
}

}  // namespace gemel
