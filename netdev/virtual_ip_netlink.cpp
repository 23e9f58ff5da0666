// SPDX-License-Identifier: Apache-2.0
#include "netdev/virtual_ip_netlink.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace gemel {
namespace {

// An answer is read in pieces of at most this size; the kernel makes dumps of 8 KiB to 32 KiB.
constexpr std::size_t kReceiveSize = 64 * 1024;

template <typename Payload>
struct Request {
    nlmsghdr header;
    Payload payload;
    std::array<std::byte, 64> attributes;
};

template <typename Payload>
Request<Payload> make_request(std::uint16_t type, std::uint16_t flags) noexcept {
    Request<Payload> request{};
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof(Payload));
    request.header.nlmsg_type = type;
    request.header.nlmsg_flags = flags;
    return request;
}

template <typename Payload>
void add_attribute(Request<Payload>& request, std::uint16_t type, const void* data,
                   std::size_t size) noexcept {
    const std::size_t offset = NLMSG_ALIGN(request.header.nlmsg_len);
    GEMEL_ASSERT(offset + RTA_SPACE(size) <= sizeof request);
    rtattr attribute{};
    attribute.rta_type = type;
    attribute.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(size));
    auto* place = reinterpret_cast<std::byte*>(&request) + offset;
    std::memcpy(place, &attribute, sizeof attribute);
    std::memcpy(place + RTA_LENGTH(0), data, size);
    request.header.nlmsg_len = static_cast<std::uint32_t>(offset + RTA_SPACE(size));
}

// Calls visit(type, bytes) for the attributes behind a message's fixed part.
template <typename Visitor>
void for_each_attribute(Bytes data, Visitor visit) noexcept {
    while (data.size() >= sizeof(rtattr)) {
        rtattr attribute{};
        std::memcpy(&attribute, data.data(), sizeof attribute);
        if (attribute.rta_len < sizeof attribute || attribute.rta_len > data.size()) return;
        visit(attribute.rta_type, data.subspan(RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0)));
        data = data.subspan(std::min<std::size_t>(RTA_ALIGN(attribute.rta_len), data.size()));
    }
}

// The fixed part and the attributes of a message; false when it is too short to be one.
template <typename Payload>
bool split(Bytes message, Payload& payload, Bytes& attributes) noexcept {
    if (message.size() < NLMSG_ALIGN(sizeof payload)) return false;
    std::memcpy(&payload, message.data(), sizeof payload);
    attributes = message.subspan(NLMSG_ALIGN(sizeof payload));
    return true;
}

}  // namespace

RouteNetlink::~RouteNetlink() {
    if (socket_ >= 0) close(socket_);
}

Status RouteNetlink::open() noexcept {
    if (socket_ >= 0) return {};
    socket_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return socket_ < 0 ? Status::from_errno(errno) : Status{};
}

template <typename Visitor>
Status RouteNetlink::exchange(void* request, std::size_t size, Visitor visit) noexcept {
    GEMEL_TRY(open());
    auto* header = static_cast<nlmsghdr*>(request);
    header->nlmsg_seq = ++sequence_;
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    if (sendto(socket_, request, size, 0, reinterpret_cast<const sockaddr*>(&kernel),
               sizeof kernel) < 0) {
        return Status::from_errno(errno);
    }
    ByteBuffer buffer(kReceiveSize);
    for (;;) {
        const ssize_t received = recv(socket_, buffer.data(), buffer.size(), MSG_TRUNC);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return Status::from_errno(errno);
        if (static_cast<std::size_t>(received) > buffer.size()) return Status(Code::too_large);
        Bytes data(buffer.data(), static_cast<std::size_t>(received));
        while (data.size() >= sizeof(nlmsghdr)) {
            nlmsghdr message{};
            std::memcpy(&message, data.data(), sizeof message);
            if (message.nlmsg_len < sizeof message || message.nlmsg_len > data.size()) break;
            const Bytes body =
                data.subspan(NLMSG_HDRLEN, message.nlmsg_len - std::size_t{NLMSG_HDRLEN});
            data = data.subspan(std::min<std::size_t>(NLMSG_ALIGN(message.nlmsg_len), data.size()));
            if (message.nlmsg_seq != sequence_) continue;
            if (message.nlmsg_type == NLMSG_DONE) return {};
            if (message.nlmsg_type != NLMSG_ERROR) {
                visit(message.nlmsg_type, body);
                continue;
            }
            nlmsgerr answer{};
            if (body.size() < sizeof answer.error) return Status(Code::corrupt);
            std::memcpy(&answer.error, body.data(), sizeof answer.error);
            return answer.error == 0 ? Status{} : Status::from_errno(-answer.error);
        }
    }
}

Status RouteNetlink::list_addresses(std::vector<InterfaceAddress>& addresses) noexcept {
    auto request = make_request<ifaddrmsg>(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP);
    return exchange(&request, request.header.nlmsg_len, [&](std::uint16_t type, Bytes message) {
        ifaddrmsg fixed{};
        Bytes attributes;
        if (type != RTM_NEWADDR || !split(message, fixed, attributes)) return;
        if (fixed.ifa_family != AF_INET && fixed.ifa_family != AF_INET6) return;
        InterfaceAddress address;
        address.interface_index = static_cast<int>(fixed.ifa_index);
        address.is_v6 = fixed.ifa_family == AF_INET6;
        address.prefix = fixed.ifa_prefixlen;
        bool has_local = false;
        for_each_attribute(attributes, [&](std::uint16_t attribute, Bytes value) {
            // On point-to-point links IFA_ADDRESS is the other end's and IFA_LOCAL ours; IPv6
            // without a peer has IFA_ADDRESS alone.
            const bool is_local = attribute == IFA_LOCAL;
            if (!is_local && (attribute != IFA_ADDRESS || has_local)) return;
            if (value.size() != (address.is_v6 ? 16U : 4U)) return;
            std::memcpy(address.ip.data(), value.data(), value.size());
            has_local |= is_local;
        });
        addresses.push_back(address);
    });
}

Status RouteNetlink::list_interfaces(std::vector<Interface>& interfaces) noexcept {
    auto request = make_request<ifinfomsg>(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP);
    return exchange(&request, request.header.nlmsg_len, [&](std::uint16_t type, Bytes message) {
        ifinfomsg fixed{};
        Bytes attributes;
        if (type != RTM_NEWLINK || !split(message, fixed, attributes)) return;
        Interface interface;
        interface.index = fixed.ifi_index;
        interface.is_ethernet =
            fixed.ifi_type == ARPHRD_ETHER && (fixed.ifi_flags & IFF_NOARP) == 0;
        interface.is_loopback = (fixed.ifi_flags & IFF_LOOPBACK) != 0;
        for_each_attribute(attributes, [&](std::uint16_t attribute, Bytes value) {
            if (attribute == IFLA_IFNAME) {
                const std::string_view name = as_text(value);
                interface.name = name.substr(0, name.find('\0'));
            } else if (attribute == IFLA_ADDRESS && value.size() == interface.mac.size()) {
                std::memcpy(interface.mac.data(), value.data(), value.size());
            }
        });
        interfaces.push_back(std::move(interface));
    });
}

Status RouteNetlink::change_address(std::uint16_t type, std::uint16_t flags,
                                    const InterfaceAddress& address) noexcept {
    auto request = make_request<ifaddrmsg>(
        type, static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags));
    const std::size_t size = address.is_v6 ? 16 : 4;
    request.payload.ifa_family = address.is_v6 ? AF_INET6 : AF_INET;
    request.payload.ifa_prefixlen = address.prefix;
    request.payload.ifa_index = static_cast<unsigned>(address.interface_index);
    // The address is needed now, not after a second of duplicate address detection; and the
    // other node has given it up, or is recorded as not serving.
    if (address.is_v6) request.payload.ifa_flags = IFA_F_NODAD;
    add_attribute(request, IFA_LOCAL, address.ip.data(), size);
    add_attribute(request, IFA_ADDRESS, address.ip.data(), size);
    if (!address.is_v6 && type == RTM_NEWADDR && address.prefix < 31) {
        std::array<std::uint8_t, 4> broadcast{};
        for (std::size_t i = 0; i < broadcast.size(); ++i) {
            const int kept = std::clamp<int>(address.prefix - static_cast<int>(8 * i), 0, 8);
            broadcast[i] = static_cast<std::uint8_t>(address.ip[i] | (0xff >> kept));
        }
        add_attribute(request, IFA_BROADCAST, broadcast.data(), broadcast.size());
    }
    return exchange(&request, request.header.nlmsg_len, [](std::uint16_t, Bytes) {});
}

Status RouteNetlink::add_address(const InterfaceAddress& address) noexcept {
    return change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address);
}

Status RouteNetlink::remove_address(const InterfaceAddress& address) noexcept {
    return change_address(RTM_DELADDR, 0, address);
}

unsigned common_bits(const std::array<std::uint8_t, 16>& a, const std::array<std::uint8_t, 16>& b,
                     bool is_v6) noexcept {
    const unsigned size = is_v6 ? 16 : 4;
    for (unsigned i = 0; i < size; ++i) {
        const auto difference = static_cast<std::uint8_t>(a[i] ^ b[i]);
        if (difference != 0) return 8 * i + static_cast<unsigned>(std::countl_zero(difference));
    }
    return 8 * size;
}

int choose_interface(const VirtualAddress& address, const std::vector<Interface>& interfaces,
                     const std::vector<InterfaceAddress>& addresses) noexcept {
    if (!address.interface.empty()) {
        for (const Interface& interface : interfaces) {
            if (interface.name == address.interface) return interface.index;
        }
        return 0;
    }
    int best = 0;
    unsigned best_prefix = 0;
    for (const InterfaceAddress& other : addresses) {
        if (other.is_v6 != address.is_v6 || other.prefix <= best_prefix) continue;
        if (common_bits(other.ip, address.ip, address.is_v6) < other.prefix) continue;
        // An address of its own network alone (another virtual one, say) names no network.
        if (other.prefix == (address.is_v6 ? 128 : 32)) continue;
        const bool is_loopback =
            std::any_of(interfaces.begin(), interfaces.end(), [&](const Interface& interface) {
                return interface.index == other.interface_index && interface.is_loopback;
            });
        if (is_loopback) continue;
        best = other.interface_index;
        best_prefix = other.prefix;
    }
    return best;
}

}  // namespace gemel
