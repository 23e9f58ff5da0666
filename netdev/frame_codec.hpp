// SPDX-License-Identifier: Apache-2.0
// Frames on a stream (docs/wire.md): a header of 64 bytes, then the body. The parser takes bytes as
// they come and gives whole, checked frames; a frame that arrives in one piece is not copied.
// Nothing is allocated before the header that asks for it has been validated. Any reason it gives
// is final: the caller closes the connection.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/mirror/peer_link.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace gemel {

struct FrameHeader {
    std::uint64_t magic;
    std::uint16_t version;  // of the protocol; 0 in the handshake, which agrees on one
    FrameType type;
    std::uint8_t flags;             // kFrameCompressed
    std::uint32_t body_size;        // bytes that follow the header
    std::uint32_t plain_size;       // of the payload; equals body_size unless compressed
    std::uint32_t head_size;        // first bytes of the body, checked apart and never compressed
    std::uint64_t sequence;         // frames sent before in this direction of this connection
    std::uint64_t session;          // tag agreed on by the handshake; 0 before
    std::uint64_t body_checksum;    // frame_body_checksum of the body as sent
    std::uint64_t reserved;         // 0
    std::uint64_t header_checksum;  // of the 56 bytes before
};
static_assert(sizeof(FrameHeader) == 64);
static_assert(offsetof(FrameHeader, version) == 8 && offsetof(FrameHeader, type) == 10);
static_assert(offsetof(FrameHeader, flags) == 11 && offsetof(FrameHeader, body_size) == 12);
static_assert(offsetof(FrameHeader, plain_size) == 16 && offsetof(FrameHeader, head_size) == 20);
static_assert(offsetof(FrameHeader, sequence) == 24 && offsetof(FrameHeader, session) == 32);
static_assert(offsetof(FrameHeader, body_checksum) == 40);
static_assert(offsetof(FrameHeader, reserved) == 48);
static_assert(offsetof(FrameHeader, header_checksum) == 56);

inline constexpr std::uint8_t kFrameCompressed = 1;
inline constexpr std::uint16_t kHandshakeVersion = 0;

// What a receiver accepts at its point of the stream.
struct FrameExpectation {
    std::uint16_t version = kHandshakeVersion;
    std::uint64_t session = 0;
    std::uint32_t payload_size_max = 0;  // at most kFrameSizeMax
    std::uint64_t sequence = 0;
};

// Sets magic and checksums of a header whose other fields are set. `head` and `body` as sent.
void seal_frame(FrameHeader& header, Bytes head, Bytes body) noexcept;

// Null: a frame that the receiver may go on to read. Else what is wrong with it.
[[nodiscard]] const char* validate_header(const FrameHeader& header,
                                          const FrameExpectation& expected) noexcept;

class FrameParser {
   public:
    struct Frame {
        FrameType type;
        Bytes payload;  // valid until the next call
    };

    explicit FrameParser(const FrameExpectation& expected) noexcept : expected_(expected) {}

    // Takes bytes off the front of `data` until a frame is complete (returned) or all are taken
    // (nothing returned), or something is wrong: then error() says what and nothing follows.
    std::optional<Frame> next(Bytes& data) noexcept;
    [[nodiscard]] const char* error() const noexcept { return error_; }
    // What the next frame must be; sequence numbers go on counting.
    void expect(std::uint16_t version, std::uint64_t session,
                std::uint32_t payload_size_max) noexcept;

   private:
    // Validates the header at the front of `bytes`, once it is there.
    bool take_header(Bytes bytes) noexcept;
    std::optional<Frame> finish(Bytes body) noexcept;
    std::optional<Frame> decompress(Bytes body) noexcept;

    FrameExpectation expected_;
    FrameHeader header_{};
    bool has_header_ = false;
    const char* error_ = nullptr;
    ByteBuffer partial_;  // the frame so far, header included, when it comes in pieces
    ByteBuffer plain_;    // a decompressed payload
};

}  // namespace gemel
