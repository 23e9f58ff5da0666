// SPDX-License-Identifier: Apache-2.0
#include "node/peer_session.hpp"

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
    trouble_.clear();
    reported_.clear();
    if (peer.node != peer_) {
        trouble_ = "the node at " + peer_ + "'s address calls itself '" + peer.node +
                   "'; is gemeld started with the wrong --node there?";
        log_.log(LogLevel::error, trouble_);
        link->close();
        return;
    }
    on_link_(std::move(link));
}

void PeerSession::on_attempt_failed(Status, const std::string& what) noexcept {
    trouble_ = what;
    // It is tried again several times a second, on each link in turn.
    if (reported_.insert(what).second) {
        log_.log(LogLevel::warning, "no session with " + peer_ + ": " + what);
    }
}

}  // namespace gemel
