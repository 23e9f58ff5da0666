// SPDX-License-Identifier: Apache-2.0
#include "netdev/pinger.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/without_signals.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

constexpr int kTries = 3;
constexpr int kTryMs = 300;
constexpr std::size_t kHeaderSize = 8;  // type, code, checksum, identifier, sequence
constexpr std::size_t kTokenSize = 16;

// RFC 1071, over an even number of bytes.
std::uint16_t internet_checksum(Bytes bytes) noexcept {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
        sum += std::to_integer<std::uint32_t>(bytes[i]) << 8 |
               std::to_integer<std::uint32_t>(bytes[i + 1]);
    }
    while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum & 0xFFFF);
}

void put_u16(std::vector<std::byte>& message, std::size_t at, std::uint16_t value) noexcept {
    message[at] = static_cast<std::byte>(value >> 8);
    message[at + 1] = static_cast<std::byte>(value & 0xFF);
}

// One socket that is connected to one target; closed at the end.
class EchoSocket {
   public:
    explicit EchoSocket(const SocketAddress& target) : is_v6_(target.is_v6) {
        const int family = is_v6_ ? AF_INET6 : AF_INET;
        const int protocol = is_v6_ ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP};
        constexpr int kFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;
        fd_ = socket(family, SOCK_DGRAM | kFlags, protocol);
        if (fd_ < 0) {
            fd_ = socket(family, SOCK_RAW | kFlags, protocol);
            is_raw_ = fd_ >= 0;
        }
        if (fd_ < 0) {
            error_ = errno;
            return;
        }
        sockaddr_storage address{};
        socklen_t size = sizeof(sockaddr_in);
        if (is_v6_) {
            auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
            size = sizeof *v6;
            std::memcpy(&v6->sin6_addr, target.ip.data(), 16);
        } else {
            std::memcpy(&reinterpret_cast<sockaddr_in*>(&address)->sin_addr, target.ip.data(), 4);
        }
        address.ss_family = static_cast<sa_family_t>(family);
        if (connect(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) error_ = errno;
    }
    ~EchoSocket() {
        if (fd_ >= 0) close(fd_);
    }
    EchoSocket(EchoSocket&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)),
          is_v6_(other.is_v6_),
          is_raw_(other.is_raw_),
          error_(other.error_) {}
    EchoSocket& operator=(EchoSocket&&) = delete;

    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] int error() const noexcept { return error_; }
    void ask(std::uint16_t sequence, Bytes token) {
        if (fd_ < 0) return;
        const std::vector<std::byte> message = make_echo_request(is_v6_, sequence, token);
        error_ = send(fd_, message.data(), message.size(), MSG_NOSIGNAL) < 0 ? errno : 0;
    }
    // Takes everything that has come.
    [[nodiscard]] bool has_answer(Bytes token) noexcept {
        std::array<std::byte, 512> buffer;
        for (;;) {
            const ssize_t size = recv(fd_, buffer.data(), buffer.size(), 0);
            if (size < 0 && errno == EINTR) continue;
            if (size < 0) {
                if (errno != EAGAIN) error_ = errno;
                return false;
            }
            Bytes message = Bytes(buffer).first(static_cast<std::size_t>(size));
            if (is_raw_ && !is_v6_ && !message.empty()) {
                const std::size_t header = (std::to_integer<std::size_t>(message[0]) & 15) * 4;
                message = message.subspan(std::min(header, message.size()));
            }
            if (is_echo_reply(is_v6_, message, token)) return true;
        }
    }

   private:
    int fd_ = -1;
    bool is_v6_ = false;
    bool is_raw_ = false;
    int error_ = 0;  // of the last call that failed
};

// A thread that can't have a loop reads the clock that loops read.
Instant monotonic_now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return {now.tv_sec * 1'000'000'000 + now.tv_nsec};
}

int ms_until(Instant end) noexcept {
    return static_cast<int>((end - monotonic_now()).ns / 1'000'000);
}

}  // namespace

std::string ip_text(const SocketAddress& address) {
    const std::string text = address.to_string();  // with its port
    const std::size_t colon = text.rfind(':');
    return address.is_v6 ? text.substr(1, colon - 2) : text.substr(0, colon);
}

std::vector<std::byte> make_echo_request(bool is_v6, std::uint16_t sequence, Bytes token) {
    GEMEL_ASSERT(token.size() % 2 == 0);
    std::vector<std::byte> message(kHeaderSize + token.size());
    message[0] = std::byte{is_v6 ? std::uint8_t{ICMP6_ECHO_REQUEST} : std::uint8_t{ICMP_ECHO}};
    put_u16(message, 4, static_cast<std::uint16_t>(getpid() & 0xFFFF));
    put_u16(message, 6, sequence);
    std::copy(token.begin(), token.end(), message.begin() + kHeaderSize);
    // Of ICMPv6 the kernel does it, which knows the addresses that are part of it.
    if (!is_v6) put_u16(message, 2, internet_checksum(message));
    return message;
}

bool is_echo_reply(bool is_v6, Bytes message, Bytes token) noexcept {
    const auto type =
        std::byte{is_v6 ? std::uint8_t{ICMP6_ECHO_REPLY} : std::uint8_t{ICMP_ECHOREPLY}};
    if (message.size() != kHeaderSize + token.size() || message[0] != type) return false;
    return std::equal(token.begin(), token.end(), message.begin() + kHeaderSize);
}

Pinger::Pinger(Loop& loop, std::vector<SocketAddress> targets)
    : loop_(loop),
      targets_(std::move(targets)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      done_(std::make_shared<Done>()) {
    GEMEL_ASSERT(wake_ >= 0 && !targets_.empty());
    const WithoutSignals masked;
    thread_ = std::thread([this] { work(); });
    pthread_setname_np(thread_.native_handle(), "gemel-ping");
}

Pinger::~Pinger() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    eventfd_write(wake_, 1);
    thread_.join();
    *done_ = nullptr;  // of an answer that is on its way to the loop
    close(wake_);
}

void Pinger::ping(Done done) {
    GEMEL_ASSERT(!*done_);
    *done_ = std::move(done);
    {
        const std::lock_guard lock(mutex_);
        asked_ = true;
    }
    eventfd_write(wake_, 1);
}

// True at the end.
bool Pinger::take_wake_up() noexcept {
    eventfd_t count = 0;
    eventfd_read(wake_, &count);
    const std::lock_guard lock(mutex_);
    return stopping_;
}

void Pinger::work() noexcept {
    for (;;) {
        pollfd wait{wake_, POLLIN, 0};
        poll(&wait, 1, -1);
        if (take_wake_up()) return;
        {
            const std::lock_guard lock(mutex_);
            if (!std::exchange(asked_, false)) continue;
        }
        PingAnswer answer = ask_all();
        loop_.run_from_any_thread([done = done_, answer = std::move(answer)] {
            if (!*done) return;
            const Done call = std::exchange(*done, nullptr);
            call(answer);
        });
    }
}

// On the thread.
PingAnswer Pinger::ask_all() noexcept {
    std::array<std::byte, kTokenSize> token{};
    const ssize_t drawn = getrandom(token.data(), token.size(), 0);
    GEMEL_ASSERT(drawn == static_cast<ssize_t>(token.size()));
    std::vector<EchoSocket> sockets;
    std::vector<pollfd> waits{{wake_, POLLIN, 0}};
    for (const SocketAddress& target : targets_) {
        sockets.emplace_back(target);
        waits.push_back({sockets.back().fd(), POLLIN, 0});  // one below 0 is passed over
    }
    for (int attempt = 0; attempt < kTries; ++attempt) {
        for (EchoSocket& socket : sockets) socket.ask(static_cast<std::uint16_t>(attempt), token);
        const Instant end = monotonic_now() + Duration::milliseconds(kTryMs);
        for (int left = kTryMs; left > 0; left = ms_until(end)) {
            poll(waits.data(), waits.size(), left);
            if ((waits[0].revents & POLLIN) != 0 && take_wake_up()) return {};
            for (std::size_t i = 0; i < sockets.size(); ++i) {
                if (waits[i + 1].revents == 0 || !sockets[i].has_answer(token)) continue;
                return {true, ip_text(targets_[i]), monotonic_now()};
            }
        }
    }
    std::string text;
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        text += (i == 0 ? "" : ", ") + ip_text(targets_[i]) + " does not answer pings";
        if (sockets[i].error() != 0) text += std::string(" (") + strerror(sockets[i].error()) + ')';
    }
    return {false, text, monotonic_now()};
}

}  // namespace gemel
