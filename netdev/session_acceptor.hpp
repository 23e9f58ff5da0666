// SPDX-License-Identifier: Apache-2.0
// Accepts connections of other nodes and hands out those that have proved the cluster's key. What
// strangers send costs a bounded amount of memory and time and is answered with nothing else than
// the end of the connection.
#pragma once

#include "engine/base/log.hpp"
#include "netdev/handshake_session.hpp"

#include <cstdint>
#include <list>
#include <memory>
#include <span>

namespace gemel {

class SessionHandler {
   public:
    // An authenticated session. Refuse it by closing the link.
    virtual void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept = 0;
    // A connection of `remote` was refused and is closed. Anybody may cause any number of these.
    virtual void on_refused(const SocketAddress& remote, const std::string& why) noexcept {
        (void)remote, (void)why;
    }

   protected:
    ~SessionHandler() = default;
};

class SessionAcceptor final : private ListenerHandler {
   public:
    struct Options {
        SocketAddress local;
        Duration handshake_limit = Duration::seconds(5);
        std::size_t pending_max = 64;  // handshakes under way; beyond it the oldest is dropped
        // So long listen() waits, blocking, for an address that is in use. The kernel closes the
        // sockets of a ring on a thread of its own, some time after the end of a process that was
        // killed: who starts at once still finds them there.
        Duration patience;
    };
    static constexpr Duration kPatienceAtStart = Duration::seconds(5);

    // Errors as Network::listen. Requires: all references outlive it, and `identities` are as
    // Handshake::accept wants them. `on_session` comes from the loop; the acceptor may be destroyed
    // in it.
    static Result<std::unique_ptr<SessionAcceptor>> listen(
        Loop& loop, LogSink& log, std::span<const SessionIdentity> identities,
        const Options& options, SessionHandler& handler) noexcept;
    ~SessionAcceptor();
    SessionAcceptor(const SessionAcceptor&) = delete;
    SessionAcceptor& operator=(const SessionAcceptor&) = delete;

    [[nodiscard]] std::size_t pending_count() const noexcept { return pending_.size(); }

   private:
    using PendingList = std::list<std::unique_ptr<HandshakeSession>>;

    SessionAcceptor(Loop& loop, LogSink& log, std::span<const SessionIdentity> identities,
                    const Options& options, SessionHandler& handler) noexcept;
    void on_accepted(std::unique_ptr<Stream> stream) noexcept override;
    void finish(PendingList::iterator pending, HandshakeResult result) noexcept;
    void report(const SocketAddress& remote, const HandshakeResult& result) noexcept;
    // Destroys it at a moment when none of its functions is running.
    void discard(PendingList::iterator pending) noexcept;

    Loop& loop_;
    LogSink& log_;
    std::span<const SessionIdentity> identities_;
    const Options options_;
    SessionHandler& handler_;
    std::unique_ptr<Listener> listener_;
    PendingList pending_;   // oldest first
    Instant report_due_{};  // no failure of a stranger is reported before
    std::uint64_t unreported_ = 0;
};

}  // namespace gemel
