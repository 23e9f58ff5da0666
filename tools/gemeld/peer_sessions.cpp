// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/peer_sessions.hpp"

#include <utility>

namespace gemel {

PeerSession::PeerSession(Loop& loop, LogSink& log, const SessionIdentity& identity,
                         SessionConnector::Options options, std::string peer,
                         std::function<void(std::unique_ptr<PeerLink>)> on_link)
    : log_(log),
      peer_(std::move(peer)),
      on_link_(std::move(on_link)),
      connector_(loop, identity, std::move(options), *this) {}

void PeerSession::keep_connected(bool connected) noexcept {
    if (!connected && !connector_.is_running()) connector_.start();
}

void PeerSession::on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept {
    last_failure_.clear();
    if (peer.node != peer_) {
        log_.log(LogLevel::error, "the node at " + peer_ + "'s address calls itself '" + peer.node +
                                      "': the session is closed");
        link->close();
        return;
    }
    on_link_(std::move(link));
}

void PeerSession::on_attempt_failed(Status, const std::string& what) noexcept {
    // Once for each reason: it is tried again several times a second.
    if (what != last_failure_) {
        log_.log(LogLevel::warning, "no session with " + peer_ + ": " + what);
    }
    last_failure_ = what;
}

}  // namespace gemel
