// SPDX-License-Identifier: Apache-2.0
// What the engine needs of a connection to the peer: ordered, authenticated frames. netdev
// implements it over a stream; a test may implement it by a queue. One session = one PeerLink:
// after on_lost nothing is delivered any more and a new session starts with a new PeerLink.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"

#include <cstdint>

namespace gemel {

// Every frame between two nodes (docs/wire.md). The numbers are wire format: never reuse one.
enum class FrameType : std::uint8_t {
    // netdev: handshake, before anything else
    hello = 1,
    proof = 2,
    refuse = 3,
    // controller: facts and agreements between the two nodes' mirror state machines
    mirror_state = 10,
    control = 11,
    // engine/mirror: replication
    intend = 20,
    op = 21,
    ack = 22,
    failed = 23,
    sync = 24,
    sync_done = 25,
    round = 26,
    round_synced = 27,
    round_durable = 28,
    resize = 29,
    resized = 30,
    // resync
    resync_begin = 40,
    resync_intents = 41,
    resync_names = 42,
    resync_attributes = 43,
    resync_check = 44,
    resync_content = 45,
    resync_answer = 46,
    resync_end = 47,
    resync_done = 48,
    // verify
    verify_check = 50,
    verify_answer = 51,
    verify_question = 52,
    verify_reply = 53,
    // witness
    register_read = 60,
    register_swap = 61,
    register_answer = 62,
};

// Largest head + body of a frame. A receiver refuses longer ones before allocating.
inline constexpr std::size_t kFrameSizeMax = 4 * 1024 * 1024 + 64 * 1024;

class PeerLinkHandler {
   public:
    // `payload` is valid during the call only; it has passed its checksum but not validation.
    virtual void on_frame(FrameType type, Bytes payload) noexcept = 0;
    // The session is over. Not called after the owner's own close().
    virtual void on_lost(Status reason) noexcept = 0;

   protected:
    ~PeerLinkHandler() = default;
};

class PeerLink {
   public:
    virtual ~PeerLink() = default;
    // Frames sent by one side arrive at the other in order, each whole or not at all. `head` and
    // `body` form one payload; both are copied or handed to the kernel before the return.
    // Requires: head.size() + body.size() <= kFrameSizeMax.
    virtual void send(FrameType type, Bytes head, Bytes body = {}) noexcept = 0;
    // Hands what was sent to the kernel now instead of at the end of the loop's turn.
    virtual void flush() noexcept = 0;
    // Bytes not yet taken by the kernel: senders of bulk data pause above a limit of theirs.
    [[nodiscard]] virtual std::size_t unsent() const noexcept = 0;
    // Whether large bodies are worth compressing is the link's own business.
    virtual void close() noexcept = 0;
    virtual void set_handler(PeerLinkHandler& handler) noexcept = 0;
};

}  // namespace gemel
