// SPDX-License-Identifier: Apache-2.0
#include "netdev/virtual_ip_announce.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <span>
#include <sys/socket.h>
#include <unistd.h>

namespace gemel {
namespace {

using Mac = std::array<std::uint8_t, 6>;
using Ip = std::array<std::uint8_t, 16>;

constexpr Mac kBroadcastMac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
// ff02::1 and the Ethernet address that its last 32 bits make (RFC 2464, 7).
constexpr Ip kAllNodes{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr Mac kAllNodesMac{0x33, 0x33, 0, 0, 0, 1};

// Fills a frame from its start, in network order.
class FrameWriter {
   public:
    explicit FrameWriter(MutableBytes frame) noexcept : frame_(frame) {}
    ~FrameWriter() { GEMEL_ASSERT(position_ == frame_.size()); }
    FrameWriter(const FrameWriter&) = delete;
    FrameWriter& operator=(const FrameWriter&) = delete;

    void put8(unsigned value) noexcept {
        GEMEL_ASSERT(position_ < frame_.size());
        frame_[position_++] = static_cast<std::byte>(value);
    }
    void put16(unsigned value) noexcept {
        put8(value >> 8 & 0xff);
        put8(value & 0xff);
    }
    void put(std::span<const std::uint8_t> bytes) noexcept {
        for (const std::uint8_t byte : bytes) put8(byte);
    }

   private:
    MutableBytes frame_;
    std::size_t position_ = 0;
};

std::uint32_t add_words(std::span<const std::byte> data, std::uint32_t sum) noexcept {
    for (std::size_t i = 0; i + 1 < data.size(); i += 2) {
        sum += std::to_integer<std::uint32_t>(data[i]) << 8 |
               std::to_integer<std::uint32_t>(data[i + 1]);
    }
    return sum;
}

// The Internet checksum (RFC 1071) of an ICMPv6 message and its pseudo header (RFC 8200, 8.1).
std::uint16_t icmp6_checksum(Bytes addresses, Bytes message) noexcept {
    std::uint32_t sum = static_cast<std::uint32_t>(message.size()) + IPPROTO_ICMPV6;
    sum = add_words(message, add_words(addresses, sum));
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum & 0xffff);
}

}  // namespace

ArpFrame make_arp_announcement(const Mac& mac, const Ip& ip) noexcept {
    ArpFrame frame{};
    FrameWriter writer(frame);
    const std::span<const std::uint8_t> address(ip.data(), 4);
    writer.put(kBroadcastMac);
    writer.put(mac);
    writer.put16(ETH_P_ARP);
    writer.put16(1);  // Ethernet
    writer.put16(ETH_P_IP);
    writer.put8(6);
    writer.put8(4);
    writer.put16(1);  // a request; caches are updated by it, and some ignore unasked replies
    writer.put(mac);
    writer.put(address);
    writer.put(Mac{});
    writer.put(address);
    return frame;
}

AdvertisementFrame make_neighbour_advertisement(const Mac& mac, const Ip& ip) noexcept {
    constexpr std::size_t kIcmpOffset = 14 + 40;
    constexpr std::size_t kChecksumOffset = kIcmpOffset + 2;
    AdvertisementFrame frame{};
    {
        FrameWriter writer(frame);
        writer.put(kAllNodesMac);
        writer.put(mac);
        writer.put16(ETH_P_IPV6);
        writer.put16(0x6000);  // version 6, no class
        writer.put16(0);       // no flow label
        writer.put16(32);      // length of the message
        writer.put8(IPPROTO_ICMPV6);
        writer.put8(255);  // hop limit: receivers refuse less, it might have been routed
        writer.put(ip);
        writer.put(kAllNodes);
        writer.put8(136);      // neighbour advertisement
        writer.put8(0);        // code
        writer.put16(0);       // checksum, below
        writer.put16(0x2000);  // override what the cache holds; not solicited, no router
        writer.put16(0);
        writer.put(ip);
        writer.put8(2);  // option: the target's link-layer address
        writer.put8(1);  // of one unit of 8 bytes
        writer.put(mac);
    }
    const Bytes bytes(frame);
    const std::uint16_t sum = icmp6_checksum(bytes.subspan(14 + 8, 32), bytes.subspan(kIcmpOffset));
    frame[kChecksumOffset] = static_cast<std::byte>(sum >> 8);
    frame[kChecksumOffset + 1] = static_cast<std::byte>(sum & 0xff);
    return frame;
}

Status announce(const VirtualAddress& address, const Interface& interface) noexcept {
    if (!interface.is_ethernet) return {};
    const int packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (packets < 0) return Status::from_errno(errno);
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = interface.index;
    to.sll_halen = 6;
    const ArpFrame arp = make_arp_announcement(interface.mac, address.ip);
    const AdvertisementFrame advertisement =
        make_neighbour_advertisement(interface.mac, address.ip);
    const Bytes frame = address.is_v6 ? Bytes(advertisement) : Bytes(arp);
    to.sll_protocol = htons(address.is_v6 ? ETH_P_IPV6 : ETH_P_ARP);
    std::memcpy(to.sll_addr, frame.data(), 6);
    const ssize_t sent = sendto(packets, frame.data(), frame.size(), 0,
                                reinterpret_cast<const sockaddr*>(&to), sizeof to);
    const int error = errno;
    close(packets);
    return sent < 0 ? Status::from_errno(error) : Status{};
}

}  // namespace gemel
