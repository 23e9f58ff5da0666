// SPDX-License-Identifier: Apache-2.0
// One connection on its way to a session: carries out a Handshake on a stream, within a time limit,
// with frames of at most kHandshakePayloadMax bytes, and makes the FrameLink.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "netdev/frame_codec.hpp"
#include "netdev/handshake.hpp"

#include <functional>
#include <memory>
#include <string>

namespace gemel {

inline constexpr std::uint32_t kHandshakePayloadMax = 4096;

struct HandshakeResult {
    std::unique_ptr<PeerLink> link;  // null: failed
    PeerHello peer;
    Status status;
    std::string failure;       // a sentence for the log
    bool is_stranger = false;  // failed before it had proved anything
};

class HandshakeSession final : private StreamHandler {
   public:
    // `done` comes once, from the loop and never inside the constructor; the session may be
    // abandoned in it. Destroying it earlier closes the stream without a call.
    HandshakeSession(Loop& loop, std::unique_ptr<Stream> stream, Handshake handshake,
                     Duration time_limit, std::function<void(HandshakeResult)> done) noexcept;
    ~HandshakeSession();
    HandshakeSession(const HandshakeSession&) = delete;
    HandshakeSession& operator=(const HandshakeSession&) = delete;

    // Gives up without a call. The session may still be running one of its functions; destroy it
    // when it has returned.
    void abandon() noexcept;
    [[nodiscard]] SocketAddress remote() const noexcept { return remote_; }

   private:
    void on_data(Bytes data) noexcept override;
    void on_closed(Status reason) noexcept override;
    void send(const Handshake::Step& step) noexcept;
    void succeed(Bytes rest) noexcept;
    void fail(Status status, std::string sentence) noexcept;

    Loop& loop_;
    std::unique_ptr<Stream> stream_;  // null: handed on
    Handshake handshake_;
    FrameParser parser_;
    std::uint64_t send_sequence_ = 0;
    std::function<void(HandshakeResult)> done_;
    SocketAddress remote_;
    bool is_closed_ = false;
    Timer timer_;
};

}  // namespace gemel
