// SPDX-License-Identifier: Apache-2.0
// Connects to another node until a handshake has succeeded: every route in turn, with growing
// pauses, then hands the session out and rests until it is asked for the next one.
#pragma once

#include "engine/base/log.hpp"
#include "netdev/handshake_session.hpp"
#include "netdev/session_acceptor.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

class SessionConnectorHandler : public SessionHandler {
   public:
    // One attempt has failed; the next follows by itself. `what` is a sentence for people.
    virtual void on_attempt_failed(Status reason, const std::string& what) noexcept = 0;

   protected:
    ~SessionConnectorHandler() = default;
};

class SessionConnector final : private ConnectHandler {
   public:
    struct Route {
        SocketAddress remote;
        std::optional<SocketAddress> local;  // to connect from; the kernel's choice when empty
    };
    struct Options {
        std::vector<Route> routes;  // at least one
        SessionPurpose purpose = SessionPurpose::mirror;
        std::string mirror;
        Duration connect_limit = Duration::seconds(2);
        Duration handshake_limit = Duration::seconds(5);
        Duration pause_min = Duration::milliseconds(100);
        Duration pause_max = Duration::seconds(1);
    };

    // Requires: all references outlive it. Handlers are called from the loop; the connector may be
    // started, stopped or destroyed in them.
    SessionConnector(Loop& loop, const SessionIdentity& identity, Options options,
                     SessionConnectorHandler& handler) noexcept;
    ~SessionConnector();
    SessionConnector(const SessionConnector&) = delete;
    SessionConnector& operator=(const SessionConnector&) = delete;

    // Begins to look for a session, at once, unless it does already.
    void start() noexcept;
    void stop() noexcept;
    [[nodiscard]] bool is_running() const noexcept { return is_running_; }

   private:
    void attempt() noexcept;
    void on_connected(std::unique_ptr<Stream> stream) noexcept override;
    void on_connect_failed(Status reason) noexcept override;
    void finish_handshake(HandshakeResult result) noexcept;
    void fail(Status reason, const std::string& sentence) noexcept;
    void discard_session() noexcept;
    [[nodiscard]] Duration next_pause() noexcept;

    Loop& loop_;
    const SessionIdentity& identity_;
    const Options options_;
    SessionConnectorHandler& handler_;
    bool is_running_ = false;
    std::size_t route_ = 0;  // of the attempt under way or the next
    Duration pause_;
    std::unique_ptr<Connecting> connecting_;
    std::unique_ptr<HandshakeSession> session_;
    Timer limit_, pause_timer_;
};

}  // namespace gemel
