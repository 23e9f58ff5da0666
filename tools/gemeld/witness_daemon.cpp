// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/witness_daemon.hpp"

#include "controller/keyfile.hpp"
#include "tools/gemeld/service_notify.hpp"

#include <utility>

namespace gemel {

WitnessDaemon::WitnessDaemon(UringLoop& loop, LogSink& log, const Config& config,
                             const DaemonOptions& options)
    : loop_(loop), log_(log), config_(config), options_(options) {}

WitnessDaemon::~WitnessDaemon() = default;

bool WitnessDaemon::start(std::string& why) {
    if (config_.arbiter.kind != ArbiterKind::witness) {
        why = options_.config_file + " names no witness: [arbiter] needs kind = \"witness\" and " +
              "an address";
        return false;
    }
    const Result<ClusterKey> key = load_key_file(config_.key_file, why);
    if (!key.ok()) return false;
    identity_.cluster = config_.cluster;
    identity_.node = "witness";
    identity_.key.assign(key->begin(), key->end());
    auto store = RegisterStore::open(loop_, log_, options_.state_directory, why);
    if (!store.ok()) return false;
    store_ = std::move(store).value();
    server_ = std::make_unique<WitnessServer>(loop_, log_, *store_);
    SessionAcceptor::Options options;
    options.local = config_.arbiter.address;
    auto acceptor = SessionAcceptor::listen(loop_, log_, {&identity_, 1}, options, *this);
    if (!acceptor.ok()) {
        why = "can't listen on " + config_.arbiter.address.to_string() + ": " +
              acceptor.status().to_string();
        return false;
    }
    acceptor_ = std::move(acceptor).value();
    signals_ = SignalWatch::create(loop_, [this] { loop_.stop(); });
    log_.log(LogLevel::info, "witness of cluster '" + config_.cluster + "' on " +
                                 config_.arbiter.address.to_string() + ", " +
                                 std::to_string(store_->count()) + " mirrors recorded");
    notify_service_manager("READY=1");
    return true;
}

void WitnessDaemon::run() {
    loop_.run();
    notify_service_manager("STOPPING=1");
    acceptor_.reset();
    server_.reset();
    signals_->cancel();
    while (loop_.in_flight() > 0) loop_.turn(Duration::milliseconds(100));
}

void WitnessDaemon::on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept {
    if (peer.purpose != SessionPurpose::witness) {
        log_.log(LogLevel::warning, "node '" + peer.node + "' takes this witness for its peer");
        link->close();
        return;
    }
    server_->on_session(std::move(link), peer.cluster, peer.node);
}

}  // namespace gemel
