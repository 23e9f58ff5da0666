// SPDX-License-Identifier: Apache-2.0
// Goal: no bytes from the network crash the frame parser or the handshake, make them read outside
// their input, or allocate more than a frame's limit. Method: the first byte chooses what is fed
// and in what pieces. Checksums stop random bytes at once, so a second way seals what it made
// before.
#include "netdev/frame_codec.hpp"
#include "netdev/handshake.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using namespace gemel;

constexpr std::uint32_t kPayloadMax = 64 * 1024;

void feed(Bytes bytes, std::size_t piece, const FrameExpectation& expected) {
    FrameParser parser(expected);
    while (!bytes.empty()) {
        const std::size_t size = std::min(piece, bytes.size());
        const std::vector<std::byte> copy(bytes.begin(),
                                          bytes.begin() + static_cast<std::ptrdiff_t>(size));
        bytes = bytes.subspan(size);
        Bytes rest(copy);
        while (const auto frame = parser.next(rest)) {
            GEMEL_ASSERT(frame->payload.size() <= kPayloadMax);
        }
        GEMEL_ASSERT(parser.error() != nullptr || rest.empty());
    }
}

// Header fields and body from the input, checksums right.
void feed_sealed(Bytes bytes, std::size_t piece) {
    ByteReader reader(bytes);
    FrameHeader header{};
    header.version = 1;
    header.type = reader.get<FrameType>();
    header.flags = reader.get<std::uint8_t>();
    header.plain_size = reader.get<std::uint32_t>();
    const auto head_size = reader.get<std::uint8_t>();
    if (!reader.ok()) return;
    const Bytes body = reader.bytes(reader.remaining());
    const std::size_t split = std::min<std::size_t>(head_size, body.size());
    header.body_size = static_cast<std::uint32_t>(body.size());
    header.head_size = static_cast<std::uint32_t>(split);
    if (header.flags == 0) header.plain_size = header.body_size;
    seal_frame(header, body.first(split), body.subspan(split));
    ByteBuffer frame;
    ByteWriter writer(frame);
    writer.bytes(std::as_bytes(std::span(&header, 1)));
    writer.bytes(body);
    feed(frame, piece, {1, 0, kPayloadMax, 0});
}

void shake_hands(Bytes bytes, bool accepts) {
    SessionIdentity identity;
    identity.cluster = "c";
    identity.node = "n";
    identity.key.assign(32, std::byte{1});
    Handshake handshake = accepts ? Handshake::accept({&identity, 1}, {})
                                  : Handshake::connect(identity, SessionPurpose::mirror, "m", {});
    (void)handshake.start();
    ByteReader reader(bytes);
    while (!reader.at_end()) {
        const auto type = reader.get<FrameType>();
        const Bytes payload = reader.sized(4096);
        if (!reader.ok()) return;
        const auto step = handshake.on_frame(type, payload);
        GEMEL_ASSERT(step.state != Handshake::State::done);  // nobody guesses an HMAC
        if (step.state == Handshake::State::failed) return;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const Bytes bytes(reinterpret_cast<const std::byte*>(data) + 2, size - 2);
    const std::size_t piece = data[1] == 0 ? bytes.size() + 1 : data[1];
    switch (data[0] % 4) {
        case 0:
            feed(bytes, piece, {1, 0, kPayloadMax, 0});
            break;
        case 1:
            feed_sealed(bytes, piece);
            break;
        case 2:
            shake_hands(bytes, true);
            break;
        default:
            shake_hands(bytes, false);
            break;
    }
    return 0;
}
