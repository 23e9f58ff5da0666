// SPDX-License-Identifier: Apache-2.0
// nbd_kernel_client ADDRESS PORT EXPORT DEVICE-NUMBER: gives the kernel's NBD client a connection,
// and another one whenever that is lost, until it is ended. Debian's nbd-client can do the first
// over netlink only, and the second only without it, where requests fail meanwhile. Says
// "connected", and "connected again" each time. Runs in guests (kernel_client_test.py).
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr std::uint64_t kBlockSize = 4096;
// Requests whose connection is lost are sent again after this time, s.
constexpr std::uint64_t kRequestTimeout = 2;
// As long the kernel waits for another connection before it fails them, s.
constexpr std::uint64_t kPatience = 120;

[[noreturn]] void fail(const char* what) {
    std::printf("%s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

template <typename T>
std::string big_endian(T value) {
    std::string text;
    for (std::size_t shift = sizeof value * 8; shift > 0;) {
        shift -= 8;
        text += static_cast<char>(value >> shift & 0xff);
    }
    return text;
}

std::uint64_t number_at(std::string_view text, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (const char c : text.substr(at, size)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
}

// ---- the handshake ------------------------------------------------------------------------------

struct Server {
    in_addr address{};
    std::uint16_t port = 0;
    std::string export_name;
};

struct Connection {
    int fd = -1;  // -1: refused, or nobody is there
    std::uint64_t size = 0, flags = 0;
};

// Empty when the server closes.
std::string take(int fd, std::size_t size) {
    std::string data(size, '\0');
    const ssize_t got = ::recv(fd, data.data(), size, MSG_WAITALL);
    return got == static_cast<ssize_t>(size) ? data : std::string();
}

bool send_all(int fd, std::string_view data) {
    return ::send(fd, data.data(), data.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(data.size());
}

bool agree(int fd, const std::string& name, Connection& connection) {
    if (take(fd, 18).empty()) return false;
    const std::string data =
        big_endian(static_cast<std::uint32_t>(name.size())) + name + big_endian(std::uint16_t{0});
    const std::string option = big_endian(std::uint32_t{3}) + "IHAVEOPT" +
                               big_endian(std::uint32_t{7}) +
                               big_endian(static_cast<std::uint32_t>(data.size())) + data;
    if (!send_all(fd, option)) return false;
    while (true) {
        const std::string head = take(fd, 20);
        if (head.empty()) return false;
        const std::uint64_t type = number_at(head, 12, 4), size = number_at(head, 16, 4);
        const std::string reply = size > 0 ? take(fd, size) : std::string();
        if (reply.size() != size) return false;
        if (type != 3) return type == 1;
        if (number_at(reply, 0, 2) != 0) continue;
        connection.size = number_at(reply, 2, 8);
        connection.flags = number_at(reply, 10, 2);
    }
}

Connection connect_to(const Server& server) {
    Connection connection;
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server.port);
    address.sin_addr = server.address;
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
        agree(fd, server.export_name, connection)) {
        connection.fd = fd;
    } else {
        ::close(fd);
    }
    return connection;
}

// ---- generic netlink ----------------------------------------------------------------------------

// An attribute's header; attributes begin at multiples of it.
constexpr std::size_t kHead = sizeof(nlattr);
static_assert(kHead == NLA_ALIGNTO);

std::size_t aligned(std::size_t size) { return (size + kHead - 1) / kHead * kHead; }

void add_attribute(std::string& message, int type, std::string_view payload) {
    nlattr head{};
    head.nla_len = static_cast<std::uint16_t>(kHead + payload.size());
    head.nla_type = static_cast<std::uint16_t>(type);
    message.append(reinterpret_cast<const char*>(&head), sizeof head);
    message.append(payload);
    message.resize(aligned(message.size()));
}

template <typename T>
void add_number(std::string& message, int type, T value) {
    add_attribute(message, type, {reinterpret_cast<const char*>(&value), sizeof value});
}

// Sends a command and takes its answer, which ends the program when it is an error.
std::string ask(int netlink, std::uint16_t family, std::uint8_t command,
                const std::string& attributes) {
    genlmsghdr inner{};
    inner.cmd = command;
    inner.version = 1;
    nlmsghdr outer{};
    outer.nlmsg_len = static_cast<std::uint32_t>(NLMSG_HDRLEN + GENL_HDRLEN + attributes.size());
    outer.nlmsg_type = family;
    outer.nlmsg_flags = NLM_F_REQUEST | (family == GENL_ID_CTRL ? 0 : NLM_F_ACK);
    std::string message(reinterpret_cast<const char*>(&outer), sizeof outer);
    message.append(reinterpret_cast<const char*>(&inner), sizeof inner);
    message += attributes;
    if (!send_all(netlink, message)) fail("netlink");
    while (true) {
        std::string answer(8192, '\0');
        const ssize_t got = ::recv(netlink, answer.data(), answer.size(), 0);
        if (got < static_cast<ssize_t>(NLMSG_HDRLEN + sizeof(int))) fail("netlink");
        answer.resize(static_cast<std::size_t>(got));
        nlmsghdr head{};
        std::memcpy(&head, answer.data(), sizeof head);
        if (head.nlmsg_type == NLMSG_ERROR) {
            int error = 0;
            std::memcpy(&error, answer.data() + NLMSG_HDRLEN, sizeof error);
            errno = -error;
            if (error != 0) fail("the kernel's NBD client");
            return answer;
        }
        if (family == GENL_ID_CTRL) return answer.substr(NLMSG_HDRLEN + GENL_HDRLEN);
    }
}

std::uint16_t family_of(int netlink, std::string_view name) {
    std::string attributes;
    add_attribute(attributes, CTRL_ATTR_FAMILY_NAME, std::string(name) + '\0');
    const std::string answer = ask(netlink, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attributes);
    for (std::size_t at = 0; at + kHead <= answer.size();) {
        nlattr head{};
        std::memcpy(&head, answer.data() + at, sizeof head);
        if (head.nla_type == CTRL_ATTR_FAMILY_ID) {
            std::uint16_t id = 0;
            std::memcpy(&id, answer.data() + at + kHead, sizeof id);
            return id;
        }
        at += aligned(head.nla_len);
    }
    fail("no NBD client in this kernel");
}

void hand_over(int netlink, std::uint16_t family, bool is_first, std::uint32_t device,
               const Connection& connection) {
    std::string socket, item, attributes;
    add_number(socket, NBD_SOCK_FD, static_cast<std::uint32_t>(connection.fd));
    add_attribute(item, NBD_SOCK_ITEM | NLA_F_NESTED, socket);
    add_number(attributes, NBD_ATTR_INDEX, device);
    if (is_first) {
        add_number(attributes, NBD_ATTR_SIZE_BYTES, connection.size);
        add_number(attributes, NBD_ATTR_BLOCK_SIZE_BYTES, kBlockSize);
        add_number(attributes, NBD_ATTR_SERVER_FLAGS, connection.flags);
        add_number(attributes, NBD_ATTR_TIMEOUT, kRequestTimeout);
        add_number(attributes, NBD_ATTR_DEAD_CONN_TIMEOUT, kPatience);
    }
    add_attribute(attributes, NBD_ATTR_SOCKETS | NLA_F_NESTED, item);
    ask(netlink, family, is_first ? NBD_CMD_CONNECT : NBD_CMD_RECONFIGURE, attributes);
}

}  // namespace

int main(int argc, char** argv) {
    Server server;
    if (argc != 5 || ::inet_aton(argv[1], &server.address) == 0) return 2;
    server.port = static_cast<std::uint16_t>(std::atoi(argv[2]));
    server.export_name = argv[3];
    const auto device = static_cast<std::uint32_t>(std::atoi(argv[4]));
    const int netlink = ::socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
    if (netlink < 0) fail("netlink");
    const std::uint16_t family = family_of(netlink, NBD_GENL_FAMILY_NAME);
    for (bool is_first = true;; is_first = false) {
        Connection connection;
        while ((connection = connect_to(server)).fd < 0) ::usleep(100'000);
        hand_over(netlink, family, is_first, device, connection);
        std::puts(is_first ? "connected" : "connected again");
        std::fflush(stdout);
        // The kernel reads and writes; here only the end is waited for.
        pollfd end{connection.fd, POLLRDHUP, 0};
        while (::poll(&end, 1, -1) < 0 && errno == EINTR) {
        }
        ::close(connection.fd);
    }
}
