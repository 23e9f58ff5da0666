// SPDX-License-Identifier: Apache-2.0
// The connecting side of one mirror's sessions with its peer: connects, hands a session over, and
// connects again as long as the mirror has none.
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "netdev/session_connector.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>

namespace gemel {

class PeerSession final : private SessionConnectorHandler {
   public:
    // `connected`: whether the mirror has a session now. Requires: the references outlive it.
    PeerSession(Loop& loop, LogSink& log, const SessionIdentity& identity,
                SessionConnector::Options options, std::string peer,
                std::function<void(std::unique_ptr<PeerLink>)> on_link);

    // Looks for a session unless one is there already; call it when that may have changed.
    void keep_connected(bool connected) noexcept;
    // Why the last attempt failed; empty after a success.
    [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }

   private:
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;
    void on_attempt_failed(Status reason, const std::string& what) noexcept override;

    LogSink& log_;
    std::string peer_;
    std::function<void(std::unique_ptr<PeerLink>)> on_link_;
    SessionConnector connector_;
    std::string trouble_;
    std::set<std::string> reported_;  // since the last session: each reason once
};

}  // namespace gemel
