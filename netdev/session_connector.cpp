// SPDX-License-Identifier: Apache-2.0
#include "netdev/session_connector.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

SessionConnector::SessionConnector(Loop& loop, const SessionIdentity& identity, Options options,
                                   SessionConnectorHandler& handler) noexcept
    : loop_(loop),
      identity_(identity),
      options_(std::move(options)),
      handler_(handler),
      pause_(options_.pause_min),
      limit_(loop, [this] { fail(Status(Code::timed_out), "no answer to the connection"); }),
      pause_timer_(loop, [this] { attempt(); }) {
    GEMEL_ASSERT(!options_.routes.empty());
}

SessionConnector::~SessionConnector() { stop(); }

void SessionConnector::start() noexcept {
    if (std::exchange(is_running_, true)) return;
    pause_ = options_.pause_min;
    attempt();
}

void SessionConnector::stop() noexcept {
    is_running_ = false;
    limit_.cancel();
    pause_timer_.cancel();
    connecting_.reset();
    discard_session();
}

void SessionConnector::attempt() noexcept {
    GEMEL_ASSERT(connecting_ == nullptr && session_ == nullptr);
    const Route& route = options_.routes[route_];
    limit_.start(options_.connect_limit);
    connecting_ =
        loop_.network().connect(route.remote, route.local ? &*route.local : nullptr, *this);
}

void SessionConnector::on_connected(std::unique_ptr<Stream> stream) noexcept {
    limit_.cancel();
    connecting_.reset();
    Handshake::Nonce nonce;
    loop_.secure_random(nonce);
    session_ = std::make_unique<HandshakeSession>(
        loop_, std::move(stream),
        Handshake::connect(identity_, options_.purpose, options_.mirror, nonce),
        options_.handshake_limit,
        [this](HandshakeResult result) { finish_handshake(std::move(result)); });
}

void SessionConnector::on_connect_failed(Status reason) noexcept {
    fail(reason, "cannot connect: " + reason.to_string());
}

void SessionConnector::finish_handshake(HandshakeResult result) noexcept {
    if (result.link == nullptr) return fail(result.status, result.failure);
    discard_session();
    is_running_ = false;
    handler_.on_session(std::move(result.link), result.peer);
}

// A handshake session may be calling: it is destroyed later.
void SessionConnector::discard_session() noexcept {
    if (session_ == nullptr) return;
    const std::shared_ptr<HandshakeSession> session = std::move(session_);
    session->abandon();
    loop_.post([session] {});
}

Duration SessionConnector::next_pause() noexcept {
    const Duration pause = pause_;
    pause_ = std::min(pause_ * 2, options_.pause_max);
    // Two nodes that look for each other should not do so in step.
    const auto jitter = static_cast<std::uint64_t>(pause.ns / 4 + 1);
    return pause + Duration::nanoseconds(static_cast<std::int64_t>(loop_.prng().below(jitter)));
}

void SessionConnector::fail(Status reason, const std::string& sentence) noexcept {
    const std::string what = options_.routes[route_].remote.to_string() + ": " + sentence;
    limit_.cancel();
    connecting_.reset();
    discard_session();
    route_ = (route_ + 1) % options_.routes.size();
    // Every route at once, then a pause.
    pause_timer_.start(route_ == 0 ? next_pause() : Duration{});
    handler_.on_attempt_failed(reason, what);
}

}  // namespace gemel
