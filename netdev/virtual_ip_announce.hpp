// SPDX-License-Identifier: Apache-2.0
// Tells the neighbours of an interface that an address is here now: gratuitous ARP (RFC 5227, 3)
// or unsolicited neighbour advertisements (RFC 4861, 7.2.6), sent as whole Ethernet frames.
#pragma once

#include "engine/base/status.hpp"
#include "netdev/virtual_ip.hpp"
#include "netdev/virtual_ip_netlink.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace gemel {

// Ethernet header and ARP packet: a request for one's own address, as broadcast.
using ArpFrame = std::array<std::byte, 14 + 28>;
ArpFrame make_arp_announcement(const std::array<std::uint8_t, 6>& mac,
                               const std::array<std::uint8_t, 16>& ip) noexcept;

// Ethernet header, IPv6 header, ICMPv6 neighbour advertisement with the override flag and the
// target's link-layer address, to all nodes (ff02::1).
using AdvertisementFrame = std::array<std::byte, 14 + 40 + 32>;
AdvertisementFrame make_neighbour_advertisement(const std::array<std::uint8_t, 6>& mac,
                                                const std::array<std::uint8_t, 16>& ip) noexcept;

// Sends one announcement. An interface without neighbours (not Ethernet) needs none: ok.
Status announce(const VirtualAddress& address, const Interface& interface) noexcept;

}  // namespace gemel
