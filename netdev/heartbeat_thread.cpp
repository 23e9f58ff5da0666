// SPDX-License-Identifier: Apache-2.0
#include "netdev/heartbeat_thread.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

// A thread that can't have a loop reads the clock that loops read.
Instant monotonic_now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return {now.tv_sec * 1'000'000'000 + now.tv_nsec};
}

socklen_t to_kernel(const SocketAddress& address, sockaddr_storage& storage) noexcept {
    storage = {};
    if (address.is_v6) {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(address.port);
        std::memcpy(&v6->sin6_addr, address.ip.data(), 16);
        return sizeof *v6;
    }
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    std::memcpy(&v4->sin_addr, address.ip.data(), 4);
    return sizeof *v4;
}

}  // namespace

HeartbeatThread::HeartbeatThread(Loop& loop, LogSink& log, HeartbeatEngine::Options options,
                                 std::vector<Link> links, Callback callback, Probe probe)
    : loop_(loop),
      log_(log),
      engine_(std::move(options), monotonic_now()),
      links_(std::move(links)),
      loop_side_(std::make_shared<LoopSide>(LoopSide{std::move(callback), std::move(probe)})) {}

std::unique_ptr<HeartbeatThread> HeartbeatThread::start(Loop& loop, LogSink& log,
                                                        HeartbeatEngine::Options options,
                                                        std::vector<Link> links, Callback callback,
                                                        Probe probe, std::string& why) {
    std::unique_ptr<HeartbeatThread> heartbeat(new HeartbeatThread(
        loop, log, std::move(options), std::move(links), std::move(callback), std::move(probe)));
    if (!heartbeat->bind(why)) return nullptr;
    heartbeat->thread_ = std::thread([self = heartbeat.get()] { self->run(); });
    return heartbeat;
}

HeartbeatThread::~HeartbeatThread() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
    *loop_side_ = {};
    for (const int socket : sockets_) close(socket);
}

bool HeartbeatThread::bind(std::string& why) {
    for (const Link& link : links_) {
        const int family = link.local.is_v6 ? AF_INET6 : AF_INET;
        const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        sockaddr_storage address;
        const socklen_t size = to_kernel(link.local, address);
        if (fd >= 0) sockets_.push_back(fd);
        if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
            why = "no heartbeats on " + link.local.to_string() + ": " +
                  Status::from_errno(errno).to_string();
            return false;
        }
    }
    return true;
}

void HeartbeatThread::ask_for_priority() {
    const sched_param priority{sched_get_priority_min(SCHED_RR)};
    const int refused = pthread_setschedparam(pthread_self(), SCHED_RR, &priority);
    if (refused != 0) {
        log_.log(LogLevel::info, "heartbeats run without real-time priority: " +
                                     Status::from_errno(refused).to_string());
    }
}

void HeartbeatThread::run() {
    ask_for_priority();
    std::vector<pollfd> polled;
    for (const int socket : sockets_) polled.push_back({socket, POLLIN, 0});
    Instant next_send = monotonic_now();
    while (!stopping_) {
        const Instant before = monotonic_now();
        const std::int64_t wait_ms =
            std::max<std::int64_t>(0, ((next_send - before).ns + 999'999) / 1'000'000);
        poll(polled.data(), polled.size(), static_cast<int>(wait_ms));
        const Instant now = monotonic_now();
        for (std::size_t i = 0; i < polled.size(); ++i) {
            if (polled[i].revents != 0) receive_all(i, now);
        }
        if (now < next_send) continue;
        send_all(now);
        // A late thread sends once, not once for every interval that it slept.
        next_send = now + engine_.options().interval;
    }
}

void HeartbeatThread::send_all(Instant now) {
    const std::lock_guard lock(mutex_);
    const std::vector<DiskAge> own_ages = ages(now);
    ask_loop(now);
    for (std::size_t link = 0; link < links_.size(); ++link) {
        for (std::size_t peer = 0; peer < links_[link].peers.size(); ++peer) {
            const ByteBuffer datagram = engine_.make(peer, link, now, own_ages);
            sockaddr_storage address;
            const socklen_t size = to_kernel(links_[link].peers[peer], address);
            // What is lost is what silence is made of.
            [[maybe_unused]] const ssize_t sent =
                sendto(sockets_[link], datagram.data(), datagram.size(), MSG_NOSIGNAL,
                       reinterpret_cast<const sockaddr*>(&address), size);
        }
    }
    for (const HeartbeatEngine::Verdict& verdict : engine_.tick(now)) hand_over(verdict);
}

void HeartbeatThread::receive_all(std::size_t link, Instant now) {
    // Whoever floods the port must not keep this thread from its own heartbeats.
    constexpr int kBatchMax = 64;
    std::array<std::byte, kHeartbeatSizeMax> buffer;
    for (int i = 0; i < kBatchMax; ++i) {
        const ssize_t size = recv(sockets_[link], buffer.data(), buffer.size(), 0);
        if (size < 0) return;
        const std::lock_guard lock(mutex_);
        const auto verdict =
            engine_.receive(link, Bytes(buffer).first(static_cast<std::size_t>(size)), now);
        if (verdict) hand_over(*verdict);
    }
}

void HeartbeatThread::hand_over(const HeartbeatEngine::Verdict& verdict) {
    loop_.run_from_any_thread([loop_side = loop_side_, verdict] {
        if (loop_side->callback) loop_side->callback(verdict);
    });
}

// Requires: the mutex is held.
void HeartbeatThread::ask_loop(Instant now) {
    if (asked_) return;
    asked_ = now;
    loop_.run_from_any_thread([this, loop_side = loop_side_] {
        if (!loop_side->probe) return;  // and this object is gone
        std::vector<DiskAge> ages = loop_side->probe();
        const std::lock_guard lock(mutex_);
        ages_ = std::move(ages);
        answered_ = monotonic_now();
        asked_.reset();
    });
}

// Requires: the mutex is held.
std::vector<DiskAge> HeartbeatThread::ages(Instant now) const {
    // What takes no longer than the questions are apart may be over by now.
    const Duration told_min = engine_.options().interval * 2;
    std::vector<DiskAge> ages;
    if (asked_ && now - *asked_ >= told_min) ages.push_back({0, now - *asked_});
    for (const DiskAge& one : ages_) {
        const Duration age = one.age + (now - answered_);
        if (one.age >= told_min) ages.push_back({one.mirror, age});
    }
    return ages;
}

Duration HeartbeatThread::disk_age(std::size_t peer, std::uint64_t mirror) {
    const std::lock_guard lock(mutex_);
    return engine_.disk_age(peer, mirror);
}

void HeartbeatThread::refused(std::size_t peer) {
    const std::lock_guard lock(mutex_);
    engine_.refused(peer, monotonic_now());
}

std::vector<HeartbeatMonitor::Link> HeartbeatThread::links(std::size_t peer) {
    const std::lock_guard lock(mutex_);
    std::vector<HeartbeatMonitor::Link> result;
    for (std::size_t i = 0; i < links_.size(); ++i) {
        result.push_back(engine_.monitor(peer).link(i));
    }
    return result;
}

}  // namespace gemel
