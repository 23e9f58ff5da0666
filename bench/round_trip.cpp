// SPDX-License-Identifier: Apache-2.0
#include "bench/round_trip.hpp"

#include "bench/posix_file.hpp"
#include "engine/io/network.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace gemel::bench {
namespace {

constexpr std::size_t kRequestSize = 4096;
constexpr int kTrips = 2000;
constexpr std::size_t kStreamSize = 256 << 20;
constexpr std::size_t kStreamPart = 128 << 10;
static_assert(kStreamSize % kStreamPart == 0);
// Streaming: kStreamSize bytes follow the request, and then comes the answer.
enum class Waiting : char { sleeping, spinning, streaming };

using Request = std::array<char, kRequestSize>;  // its first byte says how the answerer waits next

class Socket {
   public:
    explicit Socket(int descriptor) : descriptor_(descriptor) {
        if (descriptor == -1) fail("socket", errno);
        const int on = 1;
        ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    ~Socket() { ::close(descriptor_); }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    void send(const char* data, std::size_t size) const {
        if (::send(descriptor_, data, size, MSG_NOSIGNAL) != static_cast<ssize_t>(size)) {
            fail("send", errno);
        }
    }
    // False when the other end has closed.
    bool receive(char* data, std::size_t size, Waiting waiting) const {
        const int flags = waiting == Waiting::spinning ? MSG_DONTWAIT : MSG_WAITALL;
        for (std::size_t done = 0; done < size;) {
            const ssize_t got = ::recv(descriptor_, data + done, size - done, flags);
            if (got == 0) return false;
            if (got > 0) done += static_cast<std::size_t>(got);
            if (got == -1 && errno != EAGAIN && errno != EINTR) fail("recv", errno);
        }
        return true;
    }
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

   private:
    int descriptor_;
};

sockaddr_in parse(const std::string& text) {
    const auto address = SocketAddress::parse(text);
    if (!address.ok() || address->is_v6) {
        throw std::invalid_argument("'" + text + "' is no ADDRESS:PORT of IPv4");
    }
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(address->port);
    std::memcpy(&result.sin_addr, address->ip.data(), sizeof result.sin_addr);
    return result;
}

int stream_socket() { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

void listen_on(const Socket& socket, const sockaddr_in& address) {
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(socket.descriptor(), name, sizeof address) == -1) fail("bind", errno);
    if (::listen(socket.descriptor(), 1) == -1) fail("listen", errno);
}

void serve(const Socket& asker) {
    Request request{};
    Waiting waiting = Waiting::sleeping;
    while (asker.receive(request.data(), request.size(), waiting)) {
        waiting = static_cast<Waiting>(request[0]);
        if (waiting == Waiting::streaming) {
            std::vector<char> part(kStreamPart);
            for (std::size_t done = 0; done < kStreamSize; done += part.size()) {
                if (!asker.receive(part.data(), part.size(), waiting)) return;
            }
        }
        asker.send(request.data(), 1);
    }
}

double median_trip_us(const Socket& socket, Waiting waiting) {
    Request request{};
    request[0] = static_cast<char>(waiting);
    std::vector<double> times;
    for (int i = 0; i < kTrips; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        socket.send(request.data(), request.size());
        char answer = 0;
        if (!socket.receive(&answer, 1, waiting)) throw std::runtime_error("answerer has gone");
        const auto taken = std::chrono::steady_clock::now() - begin;
        times.push_back(std::chrono::duration<double, std::micro>(taken).count());
    }
    std::nth_element(times.begin(), times.begin() + kTrips / 2, times.end());
    return times[kTrips / 2];
}

double stream_bytes_per_s(const Socket& socket) {
    Request request{};
    request[0] = static_cast<char>(Waiting::streaming);
    const std::vector<char> part(kStreamPart);
    const auto begin = std::chrono::steady_clock::now();
    socket.send(request.data(), request.size());
    for (std::size_t done = 0; done < kStreamSize; done += part.size()) {
        socket.send(part.data(), part.size());
    }
    char answer = 0;
    if (!socket.receive(&answer, 1, Waiting::streaming)) {
        throw std::runtime_error("answerer has gone");
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(kStreamSize) / taken.count();
}

RoundTrips measure_with(const sockaddr_in& address) {
    const Socket socket(stream_socket());
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(socket.descriptor(), name, sizeof address) == -1) fail("connect", errno);
    RoundTrips trips;
    trips.sleeping_us = median_trip_us(socket, Waiting::sleeping);
    trips.spinning_us = median_trip_us(socket, Waiting::spinning);
    trips.stream_bytes_per_s = stream_bytes_per_s(socket);
    return trips;
}

}  // namespace

void answer_round_trips(const std::string& address) {
    const Socket listener(stream_socket());
    listen_on(listener, parse(address));
    for (;;) serve(Socket(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_CLOEXEC)));
}

RoundTrips measure_round_trips(const std::string& address) {
    if (!address.empty()) return measure_with(parse(address));
    const Socket listener(stream_socket());
    sockaddr_in any_port{};
    any_port.sin_family = AF_INET;
    any_port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listen_on(listener, any_port);
    socklen_t size = sizeof any_port;
    ::getsockname(listener.descriptor(), reinterpret_cast<sockaddr*>(&any_port), &size);
    std::thread answerer(
        [&] { serve(Socket(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_CLOEXEC))); });
    const RoundTrips trips = measure_with(any_port);
    answerer.join();
    return trips;
}

}  // namespace gemel::bench
