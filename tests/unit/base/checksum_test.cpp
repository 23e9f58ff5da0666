// SPDX-License-Identifier: Apache-2.0
// Digests stand on disks and are compared between machines: they are XXH3's on every processor,
// whichever instructions computed them.
#include "engine/base/checksum.hpp"

#include "engine/base/prng.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

namespace gemel {
namespace {

TEST(Checksum, IsThePublishedOneOfNothing) {
    EXPECT_EQ(checksum64({}), 0x2D06800538D394C2U);
    const Digest128 digest = digest128({});
    EXPECT_EQ(digest.high, 0x99AA06D3014798D8U);
    EXPECT_EQ(digest.low, 0x6001C324468D497FU);
}

// Method: the library's portable functions, over all lengths at which the algorithm changes.
TEST(Checksum, EqualsThePortableOne) {
    ByteBuffer data(70'000);
    Prng prng(1);
    for (std::byte& byte : data) byte = static_cast<std::byte>(prng.next());
    for (std::size_t size = 0; size <= data.size(); size += size < 1200 ? 1 : 997) {
        for (const std::uint64_t seed : {std::uint64_t{0}, prng.next()}) {
            const Bytes part = Bytes(data).first(size);
            ASSERT_EQ(checksum64(part, seed), XXH3_64bits_withSeed(part.data(), size, seed));
            const XXH128_hash_t expected = XXH3_128bits_withSeed(part.data(), size, seed);
            ASSERT_EQ(digest128(part, seed), (Digest128{expected.low64, expected.high64}));
        }
    }
}

}  // namespace
}  // namespace gemel
