// SPDX-License-Identifier: Apache-2.0
#include "netdev/session_acceptor.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

namespace gemel {

namespace {

// Strangers may fail as often as they like; the log gets a line in so much time.
constexpr Duration kReportInterval = Duration::seconds(10);

}  // namespace

SessionAcceptor::SessionAcceptor(Loop& loop, LogSink& log,
                                 std::span<const SessionIdentity> identities,
                                 const Options& options, SessionHandler& handler) noexcept
    : loop_(loop), log_(log), identities_(identities), options_(options), handler_(handler) {
    GEMEL_ASSERT(options.pending_max > 0);
}

SessionAcceptor::~SessionAcceptor() = default;

Result<std::unique_ptr<SessionAcceptor>> SessionAcceptor::listen(
    Loop& loop, LogSink& log, std::span<const SessionIdentity> identities, const Options& options,
    SessionHandler& handler) noexcept {
    std::unique_ptr<SessionAcceptor> acceptor(
        new SessionAcceptor(loop, log, identities, options, handler));
    constexpr Duration kPause = Duration::milliseconds(20);
    auto listener = loop.network().listen(options.local, *acceptor);
    Duration waited;
    while (listener.status().is_errno(EADDRINUSE) && waited < options.patience) {
        std::this_thread::sleep_for(std::chrono::nanoseconds(kPause.ns));
        waited = waited + kPause;
        listener = loop.network().listen(options.local, *acceptor);
    }
    if (!listener.ok()) return listener.status();
    acceptor->listener_ = std::move(listener).value();
    return acceptor;
}

void SessionAcceptor::on_accepted(std::unique_ptr<Stream> stream) noexcept {
    if (pending_.size() >= options_.pending_max) {
        // The oldest has had the most time; honest handshakes take milliseconds.
        GEMEL_PROBE("acceptor: too many handshakes");
        pending_.pop_front();
    }
    Handshake::Nonce nonce;
    loop_.secure_random(nonce);
    const auto pending = pending_.emplace(pending_.end(), nullptr);
    *pending = std::make_unique<HandshakeSession>(
        loop_, std::move(stream), Handshake::accept(identities_, nonce), options_.handshake_limit,
        [this, pending](HandshakeResult result) { finish(pending, std::move(result)); });
}

void SessionAcceptor::discard(PendingList::iterator pending) noexcept {
    const std::shared_ptr<HandshakeSession> session = std::move(*pending);
    pending_.erase(pending);
    session->abandon();
    loop_.post([session] {});
}

void SessionAcceptor::finish(PendingList::iterator pending, HandshakeResult result) noexcept {
    const SocketAddress remote = (*pending)->remote();
    if (result.link == nullptr) report(remote, result);
    discard(pending);
    if (result.link == nullptr) return handler_.on_refused(remote, result.failure);
    handler_.on_session(std::move(result.link), result.peer);
}

void SessionAcceptor::report(const SocketAddress& remote, const HandshakeResult& result) noexcept {
    if (result.is_stranger) {
        if (loop_.now() < report_due_) {
            ++unreported_;
            return;
        }
        report_due_ = loop_.now() + kReportInterval;
    }
    std::string text = "connection from " + remote.to_string() + " refused: " + result.failure;
    const std::uint64_t others = std::exchange(unreported_, 0);
    if (others > 0) text += " (and " + std::to_string(others) + " others before)";
    log_.log(LogLevel::warning, text);
}

}  // namespace gemel
