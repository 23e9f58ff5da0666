// SPDX-License-Identifier: Apache-2.0
// What pings are made of, and pings of this machine itself. Addresses that do not answer are met by
// tests/scenario/ping_test.py.
#include "netdev/pinger.hpp"

#include "engine/io/uring/uring_loop.hpp"

#include <gtest/gtest.h>

#include <array>
#include <optional>

namespace gemel {
namespace {

constexpr std::array<std::byte, 4> kToken{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};

TEST(Ping, RequestsAreWhatTheProtocolSays) {
    const std::vector<std::byte> request = make_echo_request(false, 2, kToken);
    ASSERT_EQ(request.size(), 12u);
    EXPECT_EQ(request[0], std::byte{8});
    EXPECT_EQ(request[7], std::byte{2});
    // With its checksum in place the sum over all of it is ~0 (RFC 1071).
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < request.size(); i += 2) {
        sum += std::to_integer<std::uint32_t>(request[i]) << 8 |
               std::to_integer<std::uint32_t>(request[i + 1]);
    }
    EXPECT_EQ((sum & 0xFFFF) + (sum >> 16), 0xFFFFu);
    EXPECT_EQ(make_echo_request(true, 0, kToken)[0], std::byte{128});
}

TEST(Ping, OnlyAReplyWithTheTokenCounts) {
    std::vector<std::byte> reply = make_echo_request(false, 0, kToken);
    EXPECT_FALSE(is_echo_reply(false, reply, kToken)) << "the request itself";
    reply[0] = std::byte{0};
    EXPECT_TRUE(is_echo_reply(false, reply, kToken));
    EXPECT_FALSE(is_echo_reply(true, reply, kToken));
    EXPECT_FALSE(is_echo_reply(false, Bytes(reply).first(11), kToken));
    EXPECT_FALSE(is_echo_reply(false, {}, kToken));
    reply[11] = std::byte{5};
    EXPECT_FALSE(is_echo_reply(false, reply, kToken));
    reply[0] = std::byte{3};  // unreachable
    EXPECT_FALSE(is_echo_reply(false, reply, kToken));
}

TEST(Ping, AddressesAreShownWithoutAPort) {
    EXPECT_EQ(ip_text({false, {10, 0, 0, 1}, 0}), "10.0.0.1");
    SocketAddress v6{true, {}, 0};
    v6.ip[15] = 1;
    EXPECT_EQ(ip_text(v6), "::1");
}

class PingerTest : public testing::Test {
   protected:
    PingerTest() {
        Result<std::unique_ptr<UringLoop>> made = UringLoop::create({});
        GEMEL_ASSERT(made.ok());
        loop_ = std::move(made).value();
    }
    PingAnswer ping(std::vector<SocketAddress> targets) {
        Pinger pinger(*loop_, std::move(targets));
        std::optional<PingAnswer> result;
        pinger.ping([&](const PingAnswer& answer) { result = answer; });
        while (!result) loop_->turn(Duration::milliseconds(100));
        return *result;
    }
    std::unique_ptr<UringLoop> loop_;
};

TEST_F(PingerTest, ThisMachineAnswers) {
    SocketAddress v6{true, {}, 0};
    v6.ip[15] = 1;
    for (const SocketAddress& here : {SocketAddress{false, {127, 0, 0, 1}, 0}, v6}) {
        const PingAnswer answer = ping({here});
        if (answer.text.ends_with(')')) GTEST_SKIP() << answer.text;  // no such sockets, no IPv6
        EXPECT_TRUE(answer.is_answered) << answer.text;
        EXPECT_EQ(answer.text, ip_text(here));
    }
}

TEST_F(PingerTest, EndsInTheMiddle) {
    bool told = false;
    {
        Pinger pinger(*loop_, {{false, {127, 0, 0, 1}, 0}});
        pinger.ping([&](const PingAnswer&) { told = true; });
    }
    loop_->turn(Duration::milliseconds(1));
    EXPECT_FALSE(told);
}

}  // namespace
}  // namespace gemel
