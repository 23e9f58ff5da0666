// SPDX-License-Identifier: Apache-2.0
// ICMP echo requests to addresses that answer only while this machine has a network: three to each,
// within a second. Any answer counts that brings back what was drawn for this question, from the
// address it was sent to.
//
// The kernel's sockets for pings, or raw ones where these are not allowed (CAP_NET_RAW). They have
// no place in the I/O seam, so a thread of its own waits for them.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace gemel {

struct PingAnswer {
    bool is_answered = false;
    std::string text;  // "10.0.0.254" that answered, or a sentence why there is no answer
    Instant at;        // when; a turn of the loop may have begun before this process was stopped
};

// Loop thread only.
class PingSource {
   public:
    virtual ~PingSource() = default;
    // `done` comes once, from the loop, never inside the call; not after destruction. Requires: the
    // question before has been answered.
    virtual void ping(std::function<void(const PingAnswer&)> done) = 0;
};

// Without its port.
[[nodiscard]] std::string ip_text(const SocketAddress& address);

// What the sockets of both kinds take and give, but for the header of IPv4 before a raw one's.
// `token` is what has to come back.
[[nodiscard]] std::vector<std::byte> make_echo_request(bool is_v6, std::uint16_t sequence,
                                                       Bytes token);
[[nodiscard]] bool is_echo_reply(bool is_v6, Bytes message, Bytes token) noexcept;

class Pinger final : public PingSource {
   public:
    // Requires: loop outlives it; at least one target. Ports do not count.
    Pinger(Loop& loop, std::vector<SocketAddress> targets);
    // Ends a question under way without waiting for its answer.
    ~Pinger() override;
    Pinger(const Pinger&) = delete;
    Pinger& operator=(const Pinger&) = delete;

    void ping(std::function<void(const PingAnswer&)> done) override;

   private:
    using Done = std::function<void(const PingAnswer&)>;

    void work() noexcept;
    [[nodiscard]] PingAnswer ask_all() noexcept;
    [[nodiscard]] bool take_wake_up() noexcept;

    Loop& loop_;
    const std::vector<SocketAddress> targets_;
    int wake_ = -1;               // eventfd: a question, or the end
    std::shared_ptr<Done> done_;  // of the question under way; the loop's alone
    std::mutex mutex_;
    bool asked_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace gemel
