// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/server.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace gemel {

using nbd::Connection;

namespace {
constexpr Duration kAddressInterval = Duration::milliseconds(250);
}

NbdServer::NbdServer(Loop& loop, LogSink& log, const NbdLimits& limits) noexcept
    : loop_(loop), log_(log), limits_(limits), address_timer_(loop, [this] { open_waiting(); }) {}

NbdServer::~NbdServer() {
    for (const auto& offer : offers_) offer->exported->set_events(nullptr);
    while (Connection* connection = connections_.pop_front()) delete connection;
}

// ---- offering ---------------------------------------------------------------------------------

Status NbdServer::offer(Export& exported, const std::string& path,
                        const std::optional<SocketAddress>& address) noexcept {
    auto local = std::make_unique<Endpoint>();
    local->exports = {&exported};
    GEMEL_TRY(open(*local, path));
    Endpoint* shared = address.has_value() ? endpoint_at(*address) : nullptr;
    if (shared != nullptr) {
        shared->exports.push_back(&exported);
    } else if (address.has_value()) {
        auto remote = std::make_unique<Endpoint>();
        remote->address = address;
        remote->exports = {&exported};
        GEMEL_TRY(open(*remote, {}));
        endpoints_.push_back(std::move(remote));
    }
    endpoints_.push_back(std::move(local));
    auto offer = std::make_unique<Offer>();
    offer->server = this;
    offer->exported = &exported;
    exported.set_events(offer.get());
    offers_.push_back(std::move(offer));
    return Status();
}

Status NbdServer::open(Endpoint& endpoint, const std::string& path) noexcept {
    endpoint.server = this;
    Network& network = loop_.network();
    auto listener = endpoint.address.has_value() ? network.listen(*endpoint.address, endpoint)
                                                 : network.listen_local(path, endpoint);
    if (listener.ok()) {
        endpoint.listener = std::move(listener).value();
        return Status();
    }
    if (!endpoint.address.has_value() || !listener.status().is_errno(EADDRNOTAVAIL)) {
        return listener.status();
    }
    if (!address_timer_.is_running()) address_timer_.start(kAddressInterval);
    return Status();
}

// Once open, a socket stays bound to its address while that comes and goes.
void NbdServer::open_waiting() noexcept {
    for (const auto& endpoint : endpoints_) {
        if (endpoint->listener != nullptr || endpoint->exports.empty()) continue;
        const Status opened = open(*endpoint, {});
        if (opened.ok()) continue;
        log_.log(LogLevel::error, "NBD: can't listen on " + endpoint->address->to_string() + ": " +
                                      opened.to_string());
    }
}

NbdServer::Endpoint* NbdServer::endpoint_at(const SocketAddress& address) noexcept {
    for (const auto& endpoint : endpoints_) {
        if (endpoint->address == address && !endpoint->exports.empty()) return endpoint.get();
    }
    return nullptr;
}

void NbdServer::withdraw(Export& exported, std::function<void()> done) noexcept {
    exported.set_events(nullptr);
    std::erase_if(offers_, [&](const auto& offer) { return offer->exported == &exported; });
    drop_clients(exported);
    for (const auto& endpoint : endpoints_) std::erase(endpoint->exports, &exported);
    for (const auto& endpoint : endpoints_) {
        if (endpoint->exports.empty()) endpoint->listener.reset();
    }
    withdrawals_.push_back({&exported, std::move(done)});
    loop_.post([this] { bury(); });
}

// ---- clients ----------------------------------------------------------------------------------

void NbdServer::accept(Endpoint& endpoint, std::unique_ptr<Stream> stream) noexcept {
    if (connections_.size() >= limits_.clients_max) {
        log_.log(LogLevel::warning, "NBD: too many clients; one was closed");
        return;
    }
    nbd::ConnectionOwner& owner = *this;
    auto connection = std::make_unique<Connection>(loop_, log_, owner, std::move(stream),
                                                   endpoint.exports, limits_.connection);
    connections_.push_back(*connection);
    connection.release()->start(!endpoint.address.has_value());
}

// Those in their handshake, too: they may have been told of it.
void NbdServer::drop_clients(const Export& exported) noexcept {
    Connection* connection = connections_.front();
    while (connection != nullptr) {
        Connection* next = connections_.next(*connection);
        const auto& offered = connection->offered();
        const bool may_ask = std::find(offered.begin(), offered.end(), &exported) != offered.end();
        const Export* used = connection->exported();
        if (used == &exported || (used == nullptr && may_ask)) connection->finish();
        connection = next;
    }
}

std::size_t NbdServer::client_count(const Export& exported) const noexcept {
    std::size_t count = 0;
    for (const Connection* connection = connections_.front(); connection != nullptr;
         connection = connections_.next(*connection)) {
        if (connection->exported() == &exported) ++count;
    }
    return count;
}

void NbdServer::on_ended(Connection& connection) noexcept {
    connections_.remove(connection);
    ended_.emplace_back(&connection);
    loop_.post([this] { bury(); });
}

void NbdServer::bury() noexcept {
    ended_.clear();
    std::erase_if(endpoints_, [this](const auto& endpoint) {
        if (!endpoint->exports.empty()) return false;
        const Connection* connection = connections_.front();
        while (connection != nullptr && &connection->offered() != &endpoint->exports) {
            connection = connections_.next(*connection);
        }
        return connection == nullptr;
    });
    std::vector<Withdrawal> done;
    std::erase_if(withdrawals_, [&](Withdrawal& withdrawal) {
        if (client_count(*withdrawal.exported) > 0) return false;
        done.push_back(std::move(withdrawal));
        return true;
    });
    for (const Withdrawal& withdrawal : done) withdrawal.done();
}

}  // namespace gemel
