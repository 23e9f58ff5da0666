// SPDX-License-Identifier: Apache-2.0
#include "engine/io/network.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <netinet/in.h>
#include <optional>

namespace gemel {
namespace {

// Decimal digits only; 1 to 65535, as port 0 is no place to connect to.
std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
    std::uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, port);
    if (error != std::errc() || stop != end || port == 0) return std::nullopt;
    return port;
}

bool parse_ip(std::string_view text, SocketAddress& address) noexcept {
    char buffer[INET6_ADDRSTRLEN];
    if (text.size() >= sizeof buffer || text.find('\0') != std::string_view::npos) return false;
    std::memcpy(buffer, text.data(), text.size());
    buffer[text.size()] = '\0';
    const int family = address.is_v6 ? AF_INET6 : AF_INET;
    return ::inet_pton(family, buffer, address.ip.data()) == 1;
}

}  // namespace

Result<SocketAddress> SocketAddress::parse(std::string_view text) noexcept {
    SocketAddress address;
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return Status::from_errno(EINVAL);
    const auto port = parse_port(text.substr(colon + 1));
    std::string_view ip = text.substr(0, colon);
    if (ip.starts_with('[') && ip.ends_with(']') && ip.size() > 2) {
        address.is_v6 = true;
        ip = ip.substr(1, ip.size() - 2);
    }
    const bool valid = port.has_value() && !ip.empty() && parse_ip(ip, address);
    if (!valid) return Status::from_errno(EINVAL);
    address.port = *port;
    return address;
}

std::string SocketAddress::to_string() const {
    char buffer[INET6_ADDRSTRLEN];
    const char* text = ::inet_ntop(is_v6 ? AF_INET6 : AF_INET, ip.data(), buffer, sizeof buffer);
    GEMEL_ASSERT(text != nullptr);
    std::string result(text);
    if (is_v6) result = '[' + result + ']';
    return result + ':' + std::to_string(port);
}

}  // namespace gemel
