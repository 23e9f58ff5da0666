// SPDX-License-Identifier: Apache-2.0
// The PeerLink over a stream: what a handshake has made of a connection. It checks every frame and
// ends the session at the first that is wrong. Encryption fits in as a decorator of the Stream.
//
// Frames that come before the first set_handler wait; they are bounded, a peer that sends more
// before anybody listens loses the session. A handler may close or destroy the link, or give it
// another handler, inside its own calls.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "engine/mirror/peer_link.hpp"
#include "netdev/frame_codec.hpp"
#include "netdev/frame_compression.hpp"

#include <cstdint>
#include <memory>

namespace gemel {

// Data are compressed only while the link lags so far behind: where it is faster than the
// compressor that would cost more time than it saves.
inline constexpr std::size_t kCompressBacklogMin = 256 * 1024;
// The content of a resync comes in frames of a MiB, of which one or two always wait.
inline constexpr std::size_t kCompressBacklogMinOfResync = 2 * 1024 * 1024;
inline constexpr std::size_t kCompressSizeMin = 16 * 1024;

class FrameLink final : public PeerLink, private StreamHandler {
   public:
    struct Session {
        std::uint16_t version = 1;
        std::uint64_t tag = 0;
        std::uint64_t send_sequence = 0;  // frames already sent on the stream
    };

    // Takes the stream over, with the parser of what has come so far and `rest`, which came behind
    // the last frame that the parser gave. Requires: the loop outlives it.
    FrameLink(Loop& loop, std::unique_ptr<Stream> stream, const Session& session,
              FrameParser parser, Bytes rest) noexcept;
    ~FrameLink() override;
    FrameLink(const FrameLink&) = delete;
    FrameLink& operator=(const FrameLink&) = delete;

    void send(FrameType type, Bytes head, Bytes body) noexcept override;
    void flush() noexcept override;
    [[nodiscard]] std::size_t unsent() const noexcept override;
    void close() noexcept override;
    void set_handler(PeerLinkHandler& handler) noexcept override;

   private:
    void on_data(Bytes data) noexcept override;
    void on_closed(Status reason) noexcept override;
    void deliver(Bytes data) noexcept;
    void deliver_waiting() noexcept;
    void lose(Status reason) noexcept;
    void report_lost(Status reason) noexcept;
    [[nodiscard]] bool wants_compression(FrameType type, std::size_t size) const noexcept;

    Loop& loop_;
    std::unique_ptr<Stream> stream_;
    Session session_;
    FrameParser parser_;
    FrameCompressor compressor_;
    PeerLinkHandler* handler_ = nullptr;
    ByteBuffer waiting_;       // arrived before there was a handler
    Status lost_;              // of a stream that ended before there was a handler
    bool is_started_ = false;  // there is one, and what waited has been delivered
    bool is_over_ = false;     // closed or lost: nothing is sent any more
    bool is_closed_ = false;   // by the owner: nothing is delivered any more either
    ByteBuffer scratch_;       // header and head of the frame being sent
    std::shared_ptr<bool> alive_;
};

}  // namespace gemel
