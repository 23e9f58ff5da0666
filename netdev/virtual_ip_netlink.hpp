// SPDX-License-Identifier: Apache-2.0
// The few requests of rtnetlink(7) that virtual addresses need, on a socket of their own. Answers
// of the kernel are checked before they are believed. Internal to netdev/virtual_ip_*.cpp.
#pragma once

#include "engine/base/status.hpp"
#include "netdev/virtual_ip.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

struct InterfaceAddress {
    int interface_index = 0;
    bool is_v6 = false;
    std::array<std::uint8_t, 16> ip{};
    std::uint8_t prefix = 0;
};

struct Interface {
    int index = 0;
    std::string name;
    std::array<std::uint8_t, 6> mac{};
    bool is_ethernet = false;  // has neighbours that a MAC address is announced to
    bool is_loopback = false;
};

class RouteNetlink {
   public:
    RouteNetlink() noexcept = default;
    ~RouteNetlink();
    RouteNetlink(const RouteNetlink&) = delete;
    RouteNetlink& operator=(const RouteNetlink&) = delete;

    // Opens the socket; once.
    Status open() noexcept;
    Status list_addresses(std::vector<InterfaceAddress>& addresses) noexcept;
    Status list_interfaces(std::vector<Interface>& interfaces) noexcept;
    // EEXIST: it is there already.
    Status add_address(const InterfaceAddress& address) noexcept;
    // EADDRNOTAVAIL: it is not there.
    Status remove_address(const InterfaceAddress& address) noexcept;

   private:
    // Sends one request and hands every message of the answer to `visit` until the end or an
    // error; the kernel's errno becomes the Status.
    template <typename Visitor>
    Status exchange(void* request, std::size_t size, Visitor visit) noexcept;
    Status change_address(std::uint16_t type, std::uint16_t flags,
                          const InterfaceAddress& address) noexcept;

    int socket_ = -1;
    std::uint32_t sequence_ = 0;
};

// How many leading bits two addresses of one family have in common.
unsigned common_bits(const std::array<std::uint8_t, 16>& a, const std::array<std::uint8_t, 16>& b,
                     bool is_v6) noexcept;

// Index of the interface that `address` belongs on: the one named, else the one with an address of
// the same network, preferring longer prefixes. 0 when there is none.
int choose_interface(const VirtualAddress& address, const std::vector<Interface>& interfaces,
                     const std::vector<InterfaceAddress>& addresses) noexcept;

}  // namespace gemel
