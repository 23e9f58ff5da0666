// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/socket.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/uring/posix_call.hpp"

#include <cstring>
#include <unistd.h>

namespace gemel {

RawAddress::RawAddress(const SocketAddress& address) noexcept : storage{} {
    if (address.is_v6) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(address.port);
        std::memcpy(&v6.sin6_addr, address.ip.data(), sizeof v6.sin6_addr);
        size = sizeof v6;
    } else {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(address.port);
        std::memcpy(&v4.sin_addr, address.ip.data(), sizeof v4.sin_addr);
        size = sizeof v4;
    }
}

Result<RawAddress> RawAddress::of_path(std::string_view path) noexcept {
    RawAddress raw;
    if (path.size() >= sizeof raw.path.sun_path) return Status::from_errno(ENAMETOOLONG);
    if (path.find('\0') != std::string_view::npos) return Status::from_errno(EINVAL);
    raw.path.sun_family = AF_UNIX;
    std::memcpy(raw.path.sun_path, path.data(), path.size());
    raw.size = sizeof raw.path;
    return raw;
}

SocketAddress RawAddress::address() const noexcept {
    SocketAddress address;
    address.is_v6 = any.sa_family == AF_INET6;
    GEMEL_ASSERT(address.is_v6 || any.sa_family == AF_INET);
    if (address.is_v6) {
        address.port = ntohs(v6.sin6_port);
        std::memcpy(address.ip.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
    } else {
        address.port = ntohs(v4.sin_port);
        std::memcpy(address.ip.data(), &v4.sin_addr, sizeof v4.sin_addr);
    }
    return address;
}

Socket& Socket::operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
}

Socket::~Socket() {
    if (descriptor_ != -1) ::close(descriptor_);
}

Result<Socket> Socket::open(const SocketAddress& address, int type) noexcept {
    Socket socket(::socket(address.is_v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0));
    if (!socket.is_open()) return last_error();
    if (address.is_v6) GEMEL_TRY(socket.set_option(IPPROTO_IPV6, IPV6_V6ONLY, 1));
    return socket;
}

Result<Socket> Socket::open_local() noexcept {
    Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.is_open()) return last_error();
    return socket;
}

Status Socket::bind(const RawAddress& address) noexcept {
    return status_of([&] { return ::bind(descriptor_, &address.any, address.size); });
}

Status Socket::set_option(int level, int option, int value) noexcept {
    return status_of(
        [&] { return ::setsockopt(descriptor_, level, option, &value, sizeof value); });
}

SocketAddress Socket::remote() const noexcept {
    RawAddress raw;
    if (::getpeername(descriptor_, &raw.any, &raw.size) == -1) return {};
    if (raw.any.sa_family == AF_UNIX) return {};
    return raw.address();
}

}  // namespace gemel
