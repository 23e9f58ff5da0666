// SPDX-License-Identifier: Apache-2.0
// The NBD server of one loop: which export is offered where, and the clients of all of them. An
// export has a socket of this machine to itself, where its name need not be given, and may be one
// of several behind a TCP address, where clients name it.
//
// An export that refuses (this node does not serve) is still offered: who asks for it is told why.
// When it begins to refuse, its clients are dropped as soon as their requests have come back.
#pragma once

#include "frontends/nbd/connection.hpp"
#include "frontends/nbd/export.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

struct NbdLimits {
    std::size_t clients_max = 64;  // connections, of all exports; those above are closed at once
    nbd::ConnectionLimits connection;
};

class NbdServer final : nbd::ConnectionOwner {
   public:
    // Requires: loop and log outlive it.
    NbdServer(Loop& loop, LogSink& log, const NbdLimits& limits) noexcept;
    // Requires: every export has been withdrawn, or the loop does not run any more.
    ~NbdServer();
    NbdServer(const NbdServer&) = delete;
    NbdServer& operator=(const NbdServer&) = delete;

    // Offers the export at a path (as Network::listen_local), and at an address if there is one;
    // several exports may share an address, their names must differ then. An address that this
    // machine does not have (yet: it may be one that moves) is listened on as soon as it has it.
    // Fails where listening does; then nothing has changed. Requires: not offered; it lives until
    // it is withdrawn.
    Status offer(Export& exported, const std::string& path,
                 const std::optional<SocketAddress>& address) noexcept;
    // Ends that, and drops its clients. `done` from the loop, when nothing of it is in use any
    // more. Requires: offered.
    void withdraw(Export& exported, std::function<void()> done) noexcept;

    [[nodiscard]] std::size_t client_count() const noexcept { return connections_.size(); }
    // Of one export, after their handshakes.
    [[nodiscard]] std::size_t client_count(const Export& exported) const noexcept;

   private:
    struct Endpoint final : ListenerHandler {
        void on_accepted(std::unique_ptr<Stream> stream) noexcept override {
            server->accept(*this, std::move(stream));
        }
        NbdServer* server = nullptr;
        std::optional<SocketAddress> address;  // or at a path
        std::vector<Export*> exports;          // empty: closed, but a client may still be leaving
        std::unique_ptr<Listener> listener;    // null: closed, or the address is not here yet
    };
    struct Offer final : ExportEvents {
        void on_size_changed() noexcept override {}  // every request is checked against the new one
        void on_availability_changed() noexcept override {
            if (!exported->refusal().empty()) server->drop_clients(*exported);
        }
        NbdServer* server = nullptr;
        Export* exported = nullptr;
    };
    struct Withdrawal {
        Export* exported;
        std::function<void()> done;
    };

    void on_ended(nbd::Connection& connection) noexcept override;
    void accept(Endpoint& endpoint, std::unique_ptr<Stream> stream) noexcept;
    Endpoint* endpoint_at(const SocketAddress& address) noexcept;
    Status open(Endpoint& endpoint, const std::string& path) noexcept;
    void open_waiting() noexcept;
    void drop_clients(const Export& exported) noexcept;
    void bury() noexcept;

    Loop& loop_;
    LogSink& log_;
    NbdLimits limits_;
    Timer address_timer_;  // while an address is not here yet
    std::vector<std::unique_ptr<Endpoint>> endpoints_;
    std::vector<std::unique_ptr<Offer>> offers_;
    IntrusiveList<nbd::Connection> connections_;
    std::vector<std::unique_ptr<nbd::Connection>> ended_;  // to be destroyed by the loop
    std::vector<Withdrawal> withdrawals_;
};

}  // namespace gemel
