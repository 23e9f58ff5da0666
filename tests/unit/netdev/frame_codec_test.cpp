// SPDX-License-Identifier: Apache-2.0
// The frame parser: whatever the pieces, the frames come out whole; whatever is wrong, none does.
#include "netdev/frame_codec.hpp"

#include "engine/base/prng.hpp"
#include "netdev/frame_compression.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace gemel {
namespace {

constexpr std::uint64_t kSession = 0x1122334455667788;
constexpr FrameExpectation kExpected{1, kSession, kFrameSizeMax, 0};

ByteBuffer random_bytes(std::size_t size, std::uint64_t seed) {
    Prng prng(seed);
    ByteBuffer bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(prng.next());
    return bytes;
}

FrameHeader header_of(FrameType type, Bytes head, Bytes body, std::uint64_t sequence) {
    FrameHeader header{};
    header.version = 1;
    header.type = type;
    header.body_size = static_cast<std::uint32_t>(head.size() + body.size());
    header.plain_size = header.body_size;
    header.head_size = static_cast<std::uint32_t>(head.size());
    header.sequence = sequence;
    header.session = kSession;
    return header;
}

void append(ByteBuffer& out, FrameHeader header, Bytes head, Bytes body) {
    seal_frame(header, head, body);
    ByteWriter writer(out);
    writer.bytes(std::as_bytes(std::span(&header, 1)));
    writer.bytes(head);
    writer.bytes(body);
}

ByteBuffer frame(FrameType type, Bytes head, Bytes body, std::uint64_t sequence = 0) {
    ByteBuffer out;
    append(out, header_of(type, head, body, sequence), head, body);
    return out;
}

struct Parsed {
    std::vector<std::pair<FrameType, ByteBuffer>> frames;
    const char* error = nullptr;
};

// Feeds `bytes` in the pieces that `next_size` gives.
template <typename NextSize>
Parsed parse(Bytes bytes, NextSize&& next_size, const FrameExpectation& expected = kExpected) {
    FrameParser parser(expected);
    Parsed parsed;
    while (!bytes.empty() && parser.error() == nullptr) {
        const std::size_t size = std::min<std::size_t>(next_size(), bytes.size());
        // A copy of its own, so that a read beyond the piece is seen by the sanitizer.
        const ByteBuffer piece(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
        bytes = bytes.subspan(size);
        Bytes rest(piece);
        while (const auto frame = parser.next(rest)) {
            parsed.frames.emplace_back(frame->type,
                                       ByteBuffer(frame->payload.begin(), frame->payload.end()));
        }
        EXPECT_TRUE(rest.empty() || parser.error() != nullptr);
    }
    parsed.error = parser.error();
    return parsed;
}
Parsed parse_whole(Bytes bytes, const FrameExpectation& expected = kExpected) {
    return parse(
        bytes, [&] { return bytes.size(); }, expected);
}

TEST(FrameParser, WholeFramesAreNotCopied) {
    const ByteBuffer bytes = frame(FrameType::op, as_bytes("head"), as_bytes("body"));
    FrameParser parser(kExpected);
    Bytes data(bytes);
    const auto parsed = parser.next(data);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(as_text(parsed->payload), "headbody");
    EXPECT_EQ(parsed->payload.data(), bytes.data() + sizeof(FrameHeader));
    EXPECT_TRUE(data.empty());
}

TEST(FrameParser, PiecesOfAnySizeGiveTheSameFrames) {
    ByteBuffer bytes;
    std::vector<ByteBuffer> payloads;
    for (std::uint64_t i = 0; i < 12; ++i) {
        payloads.push_back(random_bytes(i * i * 37, i));
        const Bytes payload(payloads.back());
        const std::size_t split = payload.size() / 3;
        append(bytes, header_of(FrameType::op, payload.first(split), payload.subspan(split), i),
               payload.first(split), payload.subspan(split));
    }
    for (const std::size_t size : {1U, 2U, 63U, 64U, 65U, 127U, 1000U, 100'000U}) {
        const Parsed parsed = parse(bytes, [&] { return size; });
        ASSERT_EQ(parsed.error, nullptr) << size;
        ASSERT_EQ(parsed.frames.size(), payloads.size()) << size;
        for (std::size_t i = 0; i < payloads.size(); ++i) {
            ASSERT_EQ(parsed.frames[i].second, payloads[i]);
        }
    }
    Prng prng(4);
    for (int round = 0; round < 200; ++round) {
        const Parsed parsed = parse(bytes, [&] { return prng.between(1, 400); });
        ASSERT_EQ(parsed.frames.size(), payloads.size());
    }
}

TEST(FrameParser, EveryFlippedBitIsFound) {
    const ByteBuffer good = frame(FrameType::op, as_bytes("head"), as_bytes("some body"));
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        ByteBuffer bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        const Parsed parsed = parse_whole(bad);
        ASSERT_TRUE(parsed.frames.empty()) << "bit " << bit;
        ASSERT_NE(parsed.error, nullptr) << "bit " << bit;
    }
}

// Headers that are sealed correctly and wrong in one field.
TEST(FrameParser, SealedHeadersWithAWrongFieldAreRefused) {
    const ByteBuffer body(10);
    const auto reason = [&](auto&& change) {
        FrameHeader header = header_of(FrameType::op, {}, body, 0);
        change(header);
        header.body_size = 10;
        header.head_size = 0;
        seal_frame(header, {}, body);
        const char* error = validate_header(header, kExpected);
        return std::string(error == nullptr ? "" : error);
    };
    EXPECT_EQ(reason([](FrameHeader&) {}), "");
    EXPECT_EQ(reason([](FrameHeader& h) { h.version = 2; }), "a frame of another protocol version");
    EXPECT_EQ(reason([](FrameHeader& h) { h.version = 0; }), "a frame of another protocol version");
    EXPECT_EQ(reason([](FrameHeader& h) { h.type = static_cast<FrameType>(0); }),
              "a frame of an unknown type");
    EXPECT_EQ(reason([](FrameHeader& h) { h.type = static_cast<FrameType>(255); }),
              "a frame of an unknown type");
    EXPECT_EQ(reason([](FrameHeader& h) { h.type = FrameType::hello; }),
              "a frame that does not belong to this part of the connection");
    EXPECT_EQ(reason([](FrameHeader& h) { h.flags = 2; }),
              "a frame with flags that are not allowed here");
    EXPECT_EQ(reason([](FrameHeader& h) { h.session ^= 1; }), "a frame of another session");
    EXPECT_EQ(reason([](FrameHeader& h) { h.sequence = 1; }), "a frame out of sequence");
    EXPECT_EQ(reason([](FrameHeader& h) { h.plain_size = kFrameSizeMax + 1; }),
              "the payload is longer than allowed");
    EXPECT_EQ(reason([](FrameHeader& h) { h.plain_size = 9; }),
              "the body is longer than its payload");
    EXPECT_EQ(reason([](FrameHeader& h) { h.plain_size = 11; }),
              "the sizes of an uncompressed frame differ");
}

TEST(FrameParser, HandshakeTakesNothingButItsOwnFrames) {
    const FrameExpectation handshake{kHandshakeVersion, 0, 4096, 0};
    FrameHeader header{};
    header.type = FrameType::hello;
    seal_frame(header, {}, {});
    EXPECT_EQ(validate_header(header, handshake), nullptr);
    header.flags = kFrameCompressed;
    seal_frame(header, {}, {});
    EXPECT_NE(validate_header(header, handshake), nullptr) << "a stranger's bytes are not unpacked";
    header.flags = 0;
    header.type = FrameType::op;
    seal_frame(header, {}, {});
    EXPECT_NE(validate_header(header, handshake), nullptr);
}

TEST(FrameParser, TruncatedFrameIsNoFrameAndNoError) {
    const ByteBuffer good = frame(FrameType::ack, as_bytes("head"), as_bytes("body"));
    for (std::size_t size = 0; size < good.size(); ++size) {
        const Parsed parsed = parse_whole(Bytes(good).first(size));
        EXPECT_TRUE(parsed.frames.empty());
        EXPECT_EQ(parsed.error, nullptr);
    }
}

TEST(FrameParser, SkippedRepeatedAndSwappedFramesAreRefused) {
    const Bytes body = as_bytes("x");
    ByteBuffer repeated = frame(FrameType::op, {}, body, 0);
    append(repeated, header_of(FrameType::op, {}, body, 0), {}, body);
    EXPECT_EQ(parse_whole(repeated).frames.size(), 1U);
    EXPECT_STREQ(parse_whole(repeated).error, "a frame out of sequence");
    ByteBuffer skipped = frame(FrameType::op, {}, body, 1);
    EXPECT_STREQ(parse_whole(skipped).error, "a frame out of sequence");
}

TEST(FrameParser, NothingFollowsAnError) {
    ByteBuffer bytes = frame(FrameType::op, {}, as_bytes("x"), 0);
    bytes.back() ^= std::byte{1};
    append(bytes, header_of(FrameType::op, {}, as_bytes("y"), 0), {}, as_bytes("y"));
    const Parsed parsed = parse_whole(bytes);
    EXPECT_TRUE(parsed.frames.empty());
    EXPECT_STREQ(parsed.error, "a damaged frame body");
}

TEST(FrameParser, GarbageIsRefusedAtItsFirstHeader) {
    const ByteBuffer garbage = random_bytes(100'000, 9);
    EXPECT_STREQ(parse(garbage, [] { return 50U; }).error, "no frame of gemel");
}

// ---- Compression --------------------------------------------------------------------------

ByteBuffer compressed_frame(Bytes head, Bytes packed, std::size_t plain_size) {
    FrameHeader header = header_of(FrameType::resync_content, head, packed, 0);
    header.flags = kFrameCompressed;
    header.plain_size = static_cast<std::uint32_t>(plain_size);
    ByteBuffer out;
    append(out, header, head, packed);
    return out;
}

TEST(FrameCompression, HeadStaysReadableAndBodyComesBack) {
    const ByteBuffer body(100'000, std::byte{'a'});
    FrameCompressor compressor;
    const Bytes packed = compressor.compress(body, 0);
    ASSERT_FALSE(packed.empty());
    ASSERT_LT(packed.size(), body.size() / 10);
    const ByteBuffer bytes = compressed_frame(as_bytes("head"), packed, 4 + body.size());
    const Parsed parsed = parse(bytes, [] { return 33U; });
    ASSERT_EQ(parsed.frames.size(), 1U);
    ByteBuffer expected;
    ByteWriter(expected).bytes(as_bytes("head"));
    ByteWriter(expected).bytes(body);
    EXPECT_EQ(parsed.frames[0].second, expected);
}

TEST(FrameCompression, AWrongPlainSizeIsRefusedWhateverTheBodyUnpacksTo) {
    const ByteBuffer body(100'000, std::byte{'a'});
    FrameCompressor compressor;
    const Bytes packed = compressor.compress(body, 0);
    for (const std::size_t lie : {packed.size(), body.size() - 1, body.size() + 1}) {
        const Parsed parsed = parse_whole(compressed_frame({}, packed, lie));
        EXPECT_TRUE(parsed.frames.empty());
        EXPECT_STREQ(parsed.error, "a frame that cannot be decompressed") << lie;
    }
    const ByteBuffer junk = random_bytes(50, 3);
    EXPECT_NE(parse_whole(compressed_frame({}, junk, 5000)).error, nullptr);
}

TEST(FrameCompression, IncompressibleBodiesAreTriedEverMoreSeldom) {
    FrameCompressor compressor;
    const ByteBuffer noise = random_bytes(200'000, 5);
    const ByteBuffer text(200'000, std::byte{'t'});
    for (int i = 0; i < 11; ++i) EXPECT_TRUE(compressor.compress(noise, 0).empty());
    int skipped = 0;
    while (compressor.compress(text, 0).empty()) ASSERT_LT(++skipped, 100) << "never tried again";
    EXPECT_GT(skipped, 0) << "tried though the last ones did not pay";
    EXPECT_FALSE(compressor.compress(text, 0).empty());
    EXPECT_TRUE(compressor.compress(noise, 0).empty());
    EXPECT_TRUE(compressor.compress(text, 0).empty()) << "one is skipped";
    EXPECT_FALSE(compressor.compress(text, 0).empty());
}

}  // namespace
}  // namespace gemel
