// SPDX-License-Identifier: Apache-2.0
#include "engine/io/network.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

TEST(SocketAddress, ReadsWhatItWrites) {
    for (const char* text :
         {"10.0.0.1:7800", "0.0.0.0:1", "255.255.255.255:65535", "[fd00::1]:7800", "[::]:1",
          "[::1]:65535", "[2001:db8:1:2:3:4:5:6]:80", "[::ffff:1.2.3.4]:5"}) {
        const auto address = SocketAddress::parse(text);
        ASSERT_TRUE(address.ok()) << text;
        EXPECT_EQ(address.value().to_string(), text);
    }
}

TEST(SocketAddress, KeepsNetworkOrder) {
    const auto v4 = SocketAddress::parse("1.2.3.4:258");
    ASSERT_TRUE(v4.ok());
    EXPECT_FALSE(v4.value().is_v6);
    EXPECT_EQ(v4.value().ip, (std::array<std::uint8_t, 16>{1, 2, 3, 4}));
    EXPECT_EQ(v4.value().port, 258);
    const auto v6 = SocketAddress::parse("[fd00::1]:1");
    ASSERT_TRUE(v6.ok());
    EXPECT_TRUE(v6.value().is_v6);
    EXPECT_EQ(v6.value().ip[0], 0xfd);
    EXPECT_EQ(v6.value().ip[15], 1);
}

TEST(SocketAddress, RefusesWhatIsNoNumericAddress) {
    using namespace std::string_view_literals;
    for (const auto text : {""sv,
                            ":"sv,
                            "10.0.0.1"sv,
                            "10.0.0.1:"sv,
                            "10.0.0.1:0"sv,
                            "10.0.0.1:65536"sv,
                            "10.0.0.1:-1"sv,
                            "10.0.0.1:+1"sv,
                            "10.0.0.1: 1"sv,
                            "10.0.0.1:1x"sv,
                            "10.0.0:1"sv,
                            "10.0.0.256:1"sv,
                            "010.0.0.1:1"sv,
                            "host:1"sv,
                            "localhost:7800"sv,
                            "fd00::1:7800"sv,
                            "[fd00::1]"sv,
                            "[fd00::1]7800"sv,
                            "[]:1"sv,
                            "[10.0.0.1]:1"sv,
                            "[fe80::1%eth0]:1"sv,
                            ":7800"sv,
                            "10.0.0.1\0:1"sv,
                            "[::1\0]:1"sv}) {
        EXPECT_FALSE(SocketAddress::parse(text).ok()) << text;
    }
}

}  // namespace
}  // namespace gemel
