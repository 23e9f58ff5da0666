// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/witness_daemon.hpp"

#include "engine/base/assert.hpp"
#include "tools/gemeld/service_notify.hpp"

#include <set>
#include <string_view>
#include <utility>

namespace gemel {

namespace {

// No node can have it.
constexpr std::string_view kWitnessName = "(witness)";

}  // namespace

WitnessDaemon::WitnessDaemon(UringLoop& loop, LogSink& log, const WitnessConfig& config,
                             const DaemonOptions& options)
    : loop_(loop), log_(log), config_(config), options_(options) {}

WitnessDaemon::~WitnessDaemon() = default;

bool WitnessDaemon::start(std::string& why) {
    GEMEL_ASSERT(config_.errors.empty() && !config_.clusters.empty());
    for (const WitnessCluster& cluster : config_.clusters) {
        SessionIdentity& identity = identities_.emplace_back();
        identity.cluster = cluster.name;
        identity.node = kWitnessName;
        identity.key.assign(cluster.key.begin(), cluster.key.end());
    }
    auto store = RegisterStore::open(loop_, log_, options_.state_directory, why);
    if (!store.ok()) return false;
    store_ = std::move(store).value();
    server_ = std::make_unique<WitnessServer>(loop_, log_, *store_);
    if (!listen(why)) return false;
    signals_ = SignalWatch::create(loop_, [this] { loop_.stop(); });
    for (const WitnessCluster& cluster : config_.clusters) {
        const std::size_t count = store_->count(cluster.name);
        log_.log(LogLevel::info,
                 "witness of cluster '" + cluster.name + "' on " + cluster.address.to_string() +
                     ", " + std::to_string(count) + (count == 1 ? " mirror" : " mirrors") +
                     " recorded");
    }
    notify_service_manager("READY=1");
    return true;
}

bool WitnessDaemon::listen(std::string& why) {
    std::set<SocketAddress> addresses;
    for (const WitnessCluster& cluster : config_.clusters) {
        if (!addresses.insert(cluster.address).second) continue;
        SessionAcceptor::Options options;
        options.local = cluster.address;
        options.patience = SessionAcceptor::kPatienceAtStart;
        auto acceptor = SessionAcceptor::listen(loop_, log_, identities_, options, *this);
        if (!acceptor.ok()) {
            why = "can't listen on " + cluster.address.to_string() + " for cluster '" +
                  cluster.name + "': " + acceptor.status().to_string();
            return false;
        }
        acceptors_.push_back(std::move(acceptor).value());
    }
    return true;
}

void WitnessDaemon::run() {
    loop_.run();
    notify_service_manager("STOPPING=1");
    acceptors_.clear();
    server_.reset();
    signals_->cancel();
    while (loop_.in_flight() > 0) loop_.turn(Duration::milliseconds(100));
}

void WitnessDaemon::on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept {
    if (peer.purpose != SessionPurpose::witness) {
        log_.log(LogLevel::warning, "node '" + peer.node + "' of cluster '" + peer.cluster +
                                        "' takes this witness for its peer");
        link->close();
        return;
    }
    server_->on_session(std::move(link), peer.cluster, peer.node, peer.mirror);
}

}  // namespace gemel
