// SPDX-License-Identifier: Apache-2.0
#include "netdev/frame_codec.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"
#include "netdev/frame_compression.hpp"

#include <algorithm>
#include <cstring>

namespace gemel {

namespace {

constexpr std::uint64_t kMagic = 0x6D72'666C'656D'6567;  // "gemelfrm" in file order
constexpr std::size_t kHeaderSize = sizeof(FrameHeader);
constexpr std::size_t kCheckedSize = offsetof(FrameHeader, header_checksum);
// A buffer that a large frame has made longer is given back.
constexpr std::size_t kKeptCapacity = 256 * kKiB;

std::uint64_t header_checksum(const FrameHeader& header) noexcept {
    return checksum64(std::as_bytes(std::span(&header, 1)).first(kCheckedSize), kMagic);
}

// The sender has head and body in two places; this lets it check them without joining them.
std::uint64_t body_checksum(Bytes head, Bytes body) noexcept {
    return checksum64(body, checksum64(head, kMagic));
}

bool is_known(FrameType type) noexcept {
    switch (type) {
        case FrameType::hello:
        case FrameType::proof:
        case FrameType::refuse:
        case FrameType::mirror_state:
        case FrameType::control:
        case FrameType::intend:
        case FrameType::op:
        case FrameType::ack:
        case FrameType::failed:
        case FrameType::sync:
        case FrameType::sync_done:
        case FrameType::round:
        case FrameType::round_synced:
        case FrameType::round_durable:
        case FrameType::resize:
        case FrameType::resized:
        case FrameType::resync_begin:
        case FrameType::resync_intents:
        case FrameType::resync_names:
        case FrameType::resync_attributes:
        case FrameType::resync_check:
        case FrameType::resync_content:
        case FrameType::resync_answer:
        case FrameType::resync_end:
        case FrameType::resync_done:
        case FrameType::verify_check:
        case FrameType::verify_answer:
        case FrameType::verify_question:
        case FrameType::verify_reply:
        case FrameType::register_read:
        case FrameType::register_swap:
        case FrameType::register_answer:
            return true;
    }
    return false;
}

bool is_handshake(FrameType type) noexcept {
    return type == FrameType::hello || type == FrameType::proof || type == FrameType::refuse;
}

const char* validate_sizes(const FrameHeader& header, std::uint32_t payload_size_max) noexcept {
    if (header.plain_size > payload_size_max) return "the payload is longer than allowed";
    if (header.body_size > header.plain_size) return "the body is longer than its payload";
    if (header.head_size > header.body_size) return "the head is longer than the body";
    const bool is_compressed = (header.flags & kFrameCompressed) != 0;
    if (!is_compressed && header.body_size != header.plain_size) {
        return "the sizes of an uncompressed frame differ";
    }
    return nullptr;
}

void release_large(ByteBuffer& buffer) noexcept {
    if (buffer.capacity() > kKeptCapacity) ByteBuffer().swap(buffer);
}

}  // namespace

void seal_frame(FrameHeader& header, Bytes head, Bytes body) noexcept {
    GEMEL_ASSERT(header.body_size == head.size() + body.size());
    GEMEL_ASSERT(header.head_size == head.size());
    header.magic = kMagic;
    header.reserved = 0;
    header.body_checksum = body_checksum(head, body);
    header.header_checksum = header_checksum(header);
}

const char* validate_header(const FrameHeader& header, const FrameExpectation& expected) noexcept {
    if (header.magic != kMagic) return "no frame of gemel";
    if (header.header_checksum != header_checksum(header)) return "a damaged frame header";
    if (header.version != expected.version) return "a frame of another protocol version";
    if (!is_known(header.type)) return "a frame of an unknown type";
    if (is_handshake(header.type) != (expected.version == kHandshakeVersion)) {
        return "a frame that does not belong to this part of the connection";
    }
    const std::uint8_t flags = expected.version == kHandshakeVersion ? 0 : kFrameCompressed;
    if ((header.flags & ~flags) != 0) return "a frame with flags that are not allowed here";
    if (header.reserved != 0) return "a frame with a reserved field in use";
    if (header.session != expected.session) return "a frame of another session";
    if (header.sequence != expected.sequence) return "a frame out of sequence";
    return validate_sizes(header, expected.payload_size_max);
}

void FrameParser::expect(std::uint16_t version, std::uint64_t session,
                         std::uint32_t payload_size_max) noexcept {
    GEMEL_ASSERT(!has_header_ && payload_size_max <= kFrameSizeMax);
    expected_ = {version, session, payload_size_max, expected_.sequence};
}

bool FrameParser::take_header(Bytes bytes) noexcept {
    if (has_header_) return true;
    if (bytes.size() < kHeaderSize) return false;
    std::memcpy(&header_, bytes.data(), kHeaderSize);
    error_ = validate_header(header_, expected_);
    has_header_ = error_ == nullptr;
    return has_header_;
}

std::optional<FrameParser::Frame> FrameParser::next(Bytes& data) noexcept {
    if (error_ != nullptr) return std::nullopt;
    if (!has_header_ && !partial_.empty() && partial_.size() >= kHeaderSize) {
        partial_.clear();  // the frame that the last call returned
        release_large(partial_);
    }
    if (partial_.empty()) {
        if (take_header(data) && data.size() - kHeaderSize >= header_.body_size) {
            const Bytes body = data.subspan(kHeaderSize, header_.body_size);
            data = data.subspan(kHeaderSize + body.size());
            return finish(body);
        }
        if (error_ != nullptr) return std::nullopt;
    }
    // Header first: its sizes are checked before room for the body is made.
    while (!data.empty()) {
        const std::size_t total = kHeaderSize + (has_header_ ? header_.body_size : 0);
        if (partial_.capacity() < total) partial_.reserve(total);
        const std::size_t count = std::min(total - partial_.size(), data.size());
        partial_.insert(partial_.end(), data.begin(),
                        data.begin() + static_cast<std::ptrdiff_t>(count));
        data = data.subspan(count);
        if (!take_header(partial_)) {
            if (error_ != nullptr) return std::nullopt;
            continue;
        }
        if (partial_.size() == kHeaderSize + header_.body_size) {
            return finish(Bytes(partial_).subspan(kHeaderSize));
        }
    }
    return std::nullopt;
}

std::optional<FrameParser::Frame> FrameParser::finish(Bytes body) noexcept {
    GEMEL_ASSERT(has_header_ && body.size() == header_.body_size);
    has_header_ = false;
    if (header_.body_checksum !=
        body_checksum(body.first(header_.head_size), body.subspan(header_.head_size))) {
        error_ = "a damaged frame body";
        return std::nullopt;
    }
    ++expected_.sequence;
    if ((header_.flags & kFrameCompressed) != 0) return decompress(body);
    return Frame{header_.type, body};
}

std::optional<FrameParser::Frame> FrameParser::decompress(Bytes body) noexcept {
    release_large(plain_);
    plain_.resize(header_.plain_size);
    const Bytes head = body.first(header_.head_size);
    std::copy(head.begin(), head.end(), plain_.begin());
    if (!decompress_exactly(body.subspan(head.size()), MutableBytes(plain_).subspan(head.size()))) {
        error_ = "a frame that cannot be decompressed";
        return std::nullopt;
    }
    return Frame{header_.type, plain_};
}

}  // namespace gemel
