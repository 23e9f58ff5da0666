// SPDX-License-Identifier: Apache-2.0
// Sockets of the kernel: addresses in its form, opening, options. Internal to this folder.
#pragma once

#include "engine/base/status.hpp"
#include "engine/io/network.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace gemel {

// A SocketAddress as the kernel takes and gives it.
struct RawAddress {
    union {
        sockaddr any;
        sockaddr_in v4;
        sockaddr_in6 v6;
        sockaddr_un path;
        sockaddr_storage storage;
    };
    socklen_t size = sizeof storage;

    RawAddress() noexcept : storage{} {}
    explicit RawAddress(const SocketAddress& address) noexcept;
    // ENAMETOOLONG, EINVAL (for a NUL).
    static Result<RawAddress> of_path(std::string_view path) noexcept;
    // Requires: an AF_INET or AF_INET6 address from the kernel.
    [[nodiscard]] SocketAddress address() const noexcept;
};

// A descriptor of a socket, closed at the end.
class Socket {
   public:
    Socket() noexcept = default;
    explicit Socket(int descriptor) noexcept : descriptor_(descriptor) {}
    Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    Socket& operator=(Socket&& other) noexcept;
    ~Socket();

    // `type`: SOCK_STREAM or SOCK_DGRAM, of the family of `address`. An IPv6 socket takes no IPv4.
    static Result<Socket> open(const SocketAddress& address, int type) noexcept;
    // SOCK_STREAM, AF_UNIX.
    static Result<Socket> open_local() noexcept;
    [[nodiscard]] Status bind(const RawAddress& address) noexcept;
    [[nodiscard]] Status set_option(int level, int option, int value) noexcept;
    // 0.0.0.0:0 for AF_UNIX.
    [[nodiscard]] SocketAddress remote() const noexcept;
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
    [[nodiscard]] bool is_open() const noexcept { return descriptor_ != -1; }

   private:
    int descriptor_ = -1;
};

}  // namespace gemel
