// SPDX-License-Identifier: Apache-2.0
#include "engine/store/identity.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

Identity sample(std::uint8_t handle_size) {
    Identity identity;
    identity.volume = Uuid{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
    identity.object = ObjectId::make(0x123456, 0x89ABCDEF01);
    identity.handle.type = 0x81;
    identity.handle.size = handle_size;
    for (std::uint8_t i = 0; i < handle_size; ++i) {
        identity.handle.bytes[i] = static_cast<std::uint8_t>(0xF0 + i);
    }
    return identity;
}

ByteBuffer encoded(const Identity& identity) {
    ByteBuffer buffer;
    encode_identity(identity, buffer);
    return buffer;
}

TEST(Identity, ComesBackAsItWasForEveryHandleSize) {
    for (std::uint8_t size = 0; size <= FileHandle::kSizeMax; ++size) {
        const Identity identity = sample(size);
        const Result<Identity> decoded = decode_identity(encoded(identity));
        ASSERT_TRUE(decoded.ok()) << int{size};
        EXPECT_EQ(decoded.value(), identity);
    }
}

// Beyond 60 bytes ext4 would need another block for each object.
TEST(Identity, FitsIntoAnInodeOfExt4XfsAndBtrfs) {
    EXPECT_EQ(encoded(sample(8)).size(), 44U);
    EXPECT_LE(encoded(sample(20)).size(), 60U);
}

TEST(Identity, EveryFlippedBitIsDetected) {
    const ByteBuffer good = encoded(sample(8));
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        ByteBuffer bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        EXPECT_FALSE(decode_identity(bad).ok()) << "bit " << bit;
    }
}

TEST(Identity, EveryOtherLengthIsRefused) {
    const ByteBuffer good = encoded(sample(8));
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_FALSE(decode_identity(Bytes(good).first(size)).ok()) << size;
    }
    ByteBuffer longer = good;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_identity(longer).ok());
}

}  // namespace
}  // namespace gemel
