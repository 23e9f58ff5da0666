// SPDX-License-Identifier: Apache-2.0
#include "controller/mirror_machine_messages.hpp"
#include "tests/unit/controller/register_samples.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

MirrorHello hello() {
    MirrorHello h;
    h.state = MirrorState::resync;
    h.is_serving = true;
    h.must_compare = true;
    h.epoch = 77;
    h.known.epoch = 3;
    h.known.serving = "beta";
    h.known.in_sync = {{"beta", {uuid(1), uuid(2)}}};
    h.known.token = uuid(5);
    h.incarnation = {uuid(8), uuid(9)};
    h.histories = {uuid(10), uuid(11)};
    h.config = {std::byte{1}, std::byte{2}};
    return h;
}

TEST(MirrorHelloCodec, ReturnsWhatWasEncoded) {
    const Result<MirrorHello> decoded = decode_mirror_hello(encode(hello()));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(encode(decoded.value()), encode(hello()));
    EXPECT_EQ(decoded->known, hello().known);
    EXPECT_TRUE(decoded->is_serving);
    EXPECT_FALSE(decoded->is_failed);
}

TEST(MirrorHelloCodec, EveryShorterAndLongerInputIsRefused) {
    ByteBuffer buffer = encode(hello());
    for (std::size_t size = 0; size < buffer.size(); ++size) {
        EXPECT_FALSE(decode_mirror_hello(Bytes(buffer).first(size)).ok()) << size;
    }
    buffer.push_back(std::byte{0});
    EXPECT_EQ(decode_mirror_hello(buffer).status().code(), Code::corrupt);
}

TEST(MirrorHelloCodec, UnknownStateAndFlagsAreRefused) {
    ByteBuffer buffer = encode(hello());
    buffer[1] = std::byte{6};
    EXPECT_FALSE(decode_mirror_hello(buffer).ok());
    buffer = encode(hello());
    buffer[3] = std::byte{0x80};
    EXPECT_FALSE(decode_mirror_hello(buffer).ok());
}

TEST(ControlCodec, ReturnsWhatWasEncoded) {
    ControlMessage message;
    message.kind = ControlKind::register_propose;
    message.flag = true;
    message.number = 12;
    message.text = "because";
    message.incarnation = {uuid(1), uuid(2)};
    message.proposal = {2, uuid(4), true, hello().known};
    const Result<ControlMessage> decoded = decode_control(encode(message));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(encode(decoded.value()), encode(message));
    EXPECT_EQ(decoded->proposal.value, hello().known);
    EXPECT_EQ(decoded->text, "because");
}

TEST(ControlCodec, UnknownKindsAndCutInputAreRefused) {
    ControlMessage message;
    message.kind = ControlKind::follow;
    message.value = hello().known;
    ByteBuffer buffer = encode(message);
    for (std::size_t size = 0; size < buffer.size(); ++size) {
        EXPECT_FALSE(decode_control(Bytes(buffer).first(size)).ok()) << size;
    }
    for (const unsigned kind : {0u, 9u, 19u, 24u, 255u}) {
        buffer[1] = static_cast<std::byte>(kind);
        EXPECT_FALSE(decode_control(buffer).ok()) << kind;
    }
}

}  // namespace
}  // namespace gemel
