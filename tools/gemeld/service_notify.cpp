// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/service_notify.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace gemel {

void notify_service_manager(std::string_view assignments) noexcept {
    const char* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un address{};
    if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
    const std::size_t size = std::strlen(path);
    if (size >= sizeof address.sun_path) return;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path, size);
    if (path[0] == '@') address.sun_path[0] = '\0';  // the abstract namespace
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    const auto address_size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
    // A service manager that is gone is no reason to stop.
    [[maybe_unused]] const ssize_t sent =
        sendto(fd, assignments.data(), assignments.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), address_size);
    close(fd);
}

}  // namespace gemel
