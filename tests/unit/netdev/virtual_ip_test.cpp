// SPDX-License-Identifier: Apache-2.0
// Goal: addresses are read as written and nothing else passes, they land on the right interface,
// and what is announced is what the RFCs say, byte by byte. tests/root/virtual_ip_test.cpp does the
// same with a kernel.
#include "netdev/virtual_ip.hpp"

#include "netdev/virtual_ip_announce.hpp"
#include "netdev/virtual_ip_netlink.hpp"

#include <gtest/gtest.h>

#include <string>

namespace gemel {
namespace {

VirtualAddress address_of(std::string_view text) {
    Result<VirtualAddress> address = VirtualAddress::parse(text);
    EXPECT_TRUE(address.ok()) << text;
    return address.ok() ? std::move(address).value() : VirtualAddress{};
}

InterfaceAddress on(int index, std::string_view text) {
    const VirtualAddress address = address_of(text);
    return {index, address.is_v6, address.ip, address.prefix};
}

std::string hex(Bytes bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes) {
        text += kDigits[std::to_integer<unsigned>(byte) >> 4];
        text += kDigits[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

TEST(VirtualAddress, IsWrittenAsItWasRead) {
    for (const char* text :
         {"10.0.0.50/24", "10.0.0.50/24@eth0", "fd00::50/64", "fd00::50/64@bond0.12", "10.0.0.0/31",
          "10.0.0.255/16", "1.2.3.4/32"}) {
        EXPECT_EQ(address_of(text).to_string(), text);
    }
}

TEST(VirtualAddress, RefusesWhatNoHostCanHave) {
    for (const char* text : {"",
                             "10.0.0.50",
                             "10.0.0.50/",
                             "10.0.0.50/33",
                             "10.0.0.50/0",
                             "10.0.0.50/24x",
                             "10.0.0/24",
                             "host/24",
                             "10.0.0.0/24",
                             "10.0.0.255/24",
                             "127.0.0.1/8",
                             "224.0.0.1/24",
                             "0.0.0.0/24",
                             "::/64",
                             "::1/128",
                             "ff02::1/64",
                             "fd00::1/129",
                             "10.0.0.50/24@",
                             "10.0.0.50/24@a b",
                             "10.0.0.50/24@a/b",
                             "10.0.0.50/24@sixteen-letters-",
                             "/24",
                             "10.0.0.50/-1",
                             "010.0.0.50/24@"}) {
        EXPECT_FALSE(VirtualAddress::parse(text).ok()) << text;
    }
}

TEST(ChooseInterface, TakesTheLongestPrefixOfTheSameNetwork) {
    const std::vector<Interface> interfaces{
        {1, "lo", {}, false, true}, {2, "eth0", {}, true, false}, {3, "eth1", {}, true, false}};
    const std::vector<InterfaceAddress> addresses{
        {1, false, {10, 0, 0, 1}, 8}, on(2, "10.0.0.1/16"),      on(3, "10.0.5.1/24"),
        on(2, "10.0.5.60/32"),        on(3, "fd00:0:0:5::1/64"),
    };
    EXPECT_EQ(choose_interface(address_of("10.0.5.50/24"), interfaces, addresses), 3);
    EXPECT_EQ(choose_interface(address_of("10.0.6.50/24"), interfaces, addresses), 2);
    EXPECT_EQ(choose_interface(address_of("10.0.5.50/24@eth0"), interfaces, addresses), 2);
    EXPECT_EQ(choose_interface(address_of("fd00:0:0:5::50/64"), interfaces, addresses), 3);
    // A loopback's or a single address names no network.
    EXPECT_EQ(choose_interface(address_of("10.9.0.50/16"), interfaces, addresses), 0);
    EXPECT_EQ(choose_interface(address_of("fd00:0:0:6::50/64"), interfaces, addresses), 0);
    EXPECT_EQ(choose_interface(address_of("10.0.5.50/24@eth9"), interfaces, addresses), 0);
}

TEST(Announcement, OfIpv4IsAnArpRequestForItself) {
    const ArpFrame frame =
        make_arp_announcement({0x02, 0x11, 0x22, 0x33, 0x44, 0x55}, address_of("10.0.0.50/24").ip);
    EXPECT_EQ(hex(frame),
              "ffffffffffff"
              "021122334455"
              "0806"
              "0001080006040001"
              "021122334455"
              "0a000032"
              "000000000000"
              "0a000032");
}

// The checksum was computed by hand: the one's complement sum of pseudo header and message.
TEST(Announcement, OfIpv6IsANeighbourAdvertisementThatOverrides) {
    const AdvertisementFrame frame = make_neighbour_advertisement(
        {0x02, 0x11, 0x22, 0x33, 0x44, 0x55}, address_of("fd00::50/64").ip);
    const std::string text = hex(frame);
    EXPECT_EQ(text.substr(0, 28), "33330000000102112233445586dd");
    EXPECT_EQ(text.substr(28, 16), "6000000000203aff");
    EXPECT_EQ(text.substr(44, 64),
              "fd000000000000000000000000000050"
              "ff020000000000000000000000000001");
    EXPECT_EQ(text.substr(108, 4), "8800");
    EXPECT_EQ(text.substr(116, 8), "20000000");
    EXPECT_EQ(text.substr(124), "fd0000000000000000000000000000500201021122334455");
    // fd00+0050 +ff02+0001 +0020+003a +8800+2000+fd00+0050+0201+0211+2233+4455
    constexpr unsigned kSum = 0xfd00 + 0x0050 + 0xff02 + 0x0001 + 0x0020 + 0x003a + 0x8800 +
                              0x2000 + 0xfd00 + 0x0050 + 0x0201 + 0x0211 + 0x2233 + 0x4455;
    constexpr unsigned kFolded = (kSum & 0xffff) + (kSum >> 16);
    const auto sum = static_cast<unsigned>(std::stoul(text.substr(112, 4), nullptr, 16));
    EXPECT_EQ(sum, ~kFolded & 0xffff);
}

}  // namespace
}  // namespace gemel
