// SPDX-License-Identifier: Apache-2.0
#include "netdev/virtual_ip.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <net/if.h>
#include <netinet/in.h>

namespace gemel {
namespace {

constexpr std::size_t kInterfaceNameMax = IFNAMSIZ - 1;

bool is_interface_name(std::string_view name) noexcept {
    return !name.empty() && name.size() <= kInterfaceNameMax &&
           std::all_of(name.begin(), name.end(),
                       [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

// Whether a host of a network can have it: no multicast, loopback or unspecified address, and not
// the first or last (network, broadcast) of an IPv4 network that has more than two.
bool is_host_address(const VirtualAddress& address) noexcept {
    const auto& ip = address.ip;
    const auto is_zero = [](std::uint8_t byte) { return byte == 0; };
    if (std::all_of(ip.begin(), ip.end(), is_zero)) return false;
    if (address.is_v6) {
        const bool is_loopback = ip[15] == 1 && std::all_of(ip.begin(), ip.end() - 1, is_zero);
        return ip[0] != 0xff && !is_loopback;
    }
    if (ip[0] == 127 || ip[0] == 0 || ip[0] >= 224) return false;
    if (address.prefix >= 31) return true;
    const std::uint32_t value = std::uint32_t{ip[0]} << 24 | std::uint32_t{ip[1]} << 16 |
                                std::uint32_t{ip[2]} << 8 | std::uint32_t{ip[3]};
    const std::uint32_t host_mask = 0xffffffffU >> address.prefix;
    return (value & host_mask) != 0 && (value & host_mask) != host_mask;
}

}  // namespace

Result<VirtualAddress> VirtualAddress::parse(std::string_view text) noexcept {
    VirtualAddress address;
    if (const std::size_t at = text.find('@'); at != std::string_view::npos) {
        address.interface = text.substr(at + 1);
        if (!is_interface_name(address.interface)) return Code::refused;
        text = text.substr(0, at);
    }
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return Code::refused;
    const std::string_view bits = text.substr(slash + 1);
    const auto [end, error] =
        std::from_chars(bits.data(), bits.data() + bits.size(), address.prefix);
    if (error != std::errc() || end != bits.data() + bits.size()) return Code::refused;

    const std::string host(text.substr(0, slash));
    address.is_v6 = host.find(':') != std::string::npos;
    if (inet_pton(address.is_v6 ? AF_INET6 : AF_INET, host.c_str(), address.ip.data()) != 1) {
        return Code::refused;
    }
    const unsigned prefix_max = address.is_v6 ? 128 : 32;
    if (address.prefix == 0 || address.prefix > prefix_max) return Code::refused;
    if (!is_host_address(address)) return Code::refused;
    return address;
}

std::string VirtualAddress::to_string() const {
    char host[INET6_ADDRSTRLEN] = "";
    inet_ntop(is_v6 ? AF_INET6 : AF_INET, ip.data(), host, sizeof host);
    std::string text = std::string(host) + "/" + std::to_string(prefix);
    return interface.empty() ? text : text + "@" + interface;
}

}  // namespace gemel
