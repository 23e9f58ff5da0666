// SPDX-License-Identifier: Apache-2.0
#include "node/local_node.hpp"

#include "controller/etcd_arbiter.hpp"
#include "controller/etcd_client.hpp"
#include "controller/keyfile.hpp"
#include "controller/witness_arbiter.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace gemel {

LocalNode::LocalNode(Loop& loop, LogSink& log, const Config& config, Options options)
    : loop_(loop),
      log_(log),
      config_(config),
      options_(std::move(options)),
      self_(config.find_node(options_.node)),
      virtual_ip_(make_virtual_ip(loop, log)),
      timer_(loop, [this] { tick(); }) {}

LocalNode::~LocalNode() = default;

bool LocalNode::start(std::string& why) {
    GEMEL_ASSERT(self_ != nullptr);
    const Result<ClusterKey> key = load_key_file(config_.key_file, why);
    if (!key.ok()) return false;
    identity_.cluster = config_.cluster;
    identity_.node = options_.node;
    identity_.key.assign(key->begin(), key->end());
    if (const Status opened = events_.open(options_.state_directory); !opened.ok()) {
        log_.log(LogLevel::warning, "events are kept in memory only: " + opened.to_string());
    }
    if (!options_.run_directory.empty()) {
        // The control socket first: it tells two daemons on one run directory apart, before any
        // mount.
        control_ = std::make_unique<ControlServer>(loop_, static_cast<ControlApi&>(*this), events_);
        if (!control_->start(options_.run_directory, why).ok()) return false;
    }
    if (!open_registers(why) || !open_mirrors(why)) return false;
    watch_changes();
    if (!listen(why) || !start_heartbeats(why)) return false;
    for (Hosted& hosted : mirrors_) start_mirror(hosted);
    observe();
    tick();
    return true;
}

void LocalNode::observe() {
    if (!options_.on_step) return;
    for (std::size_t i = 0; i < mirrors_.size(); ++i) {
        mirrors_[i].host->node().set_observer([this, i] { options_.on_step(i); });
    }
}

bool LocalNode::open_mirrors(std::string& why) {
    const MirrorHost::World world{loop_, log_, *this, *virtual_ip_};
    for (const MirrorConfig& mirror : config_.mirrors) {
        if (!mirror.has_node(options_.node)) continue;
        auto host = std::make_unique<MirrorHost>(
            world, config_, mirror, MirrorHost::Place{options_.node, options_.state_directory},
            options_.make_front_end);
        if (!host->open(why).ok()) {
            why = "mirror '" + mirror.name + "': " + why;
            return false;
        }
        if (options_.on_open) options_.on_open(*host);
        if (std::find(peers_.begin(), peers_.end(), host->peer()) == peers_.end()) {
            peers_.push_back(host->peer());
        }
        mirrors_.push_back({std::move(host), nullptr, {}});
    }
    return true;
}

// Before any mirror takes part: what was changed meanwhile is in its intents then.
void LocalNode::watch_changes() {
    const bool is_wanted = std::any_of(mirrors_.begin(), mirrors_.end(), [](const Hosted& hosted) {
        return hosted.host->wants_watch();
    });
    if (!is_wanted) return;
    std::string why = "this program brings none";
    if (options_.open_changes) {
        auto source = options_.open_changes(why);
        if (source.ok()) {
            changes_ = std::make_unique<ChangeWatch>(loop_, log_, std::move(source).value());
        }
    }
    for (Hosted& hosted : mirrors_) hosted.host->watch_changes(changes_.get(), why);
    if (changes_) changes_->begin();
}

bool LocalNode::listen(std::string& why) {
    for (const SocketAddress& link : self_->links) {
        SessionAcceptor::Options options;
        options.local = link;
        options.patience = SessionAcceptor::kPatienceAtStart;
        auto acceptor = SessionAcceptor::listen(loop_, log_, {&identity_, 1}, options, *this);
        if (!acceptor.ok()) {
            why = "can't listen on " + link.to_string() + ": " + acceptor.status().to_string();
            return false;
        }
        acceptors_.push_back(std::move(acceptor).value());
    }
    return true;
}

bool LocalNode::start_heartbeats(std::string& why) {
    HeartbeatEngine::Options options;
    options.cluster = config_.cluster;
    options.node = options_.node;
    options.key = identity_.key;
    options.interval = config_.failover.heartbeat;
    options.detect = config_.failover.detect;
    options.start = loop_.prng().next();
    std::vector<HeartbeatThread::Link> links;
    for (const SocketAddress& local : self_->links) links.push_back({local, {}});
    for (const std::string& peer : peers_) {
        const NodeConfig* node = config_.find_node(peer);
        const std::size_t common = std::min(node->links.size(), links.size());
        options.peers.push_back({peer, common});
        for (std::size_t i = 0; i < common; ++i) links[i].peers.push_back(node->links[i]);
    }
    heartbeats_ = HeartbeatThread::start(
        loop_, log_, std::move(options), std::move(links),
        [this](const HeartbeatEngine::Verdict& verdict) { hear(verdict); },
        [this] { return disk_ages(); }, why);
    return heartbeats_ != nullptr;
}

void LocalNode::hear(const HeartbeatEngine::Verdict& verdict) {
    for (Hosted& hosted : mirrors_) {
        if (hosted.host->peer() != peers_[verdict.peer]) continue;
        const bool is_silent = verdict.change == HeartbeatMonitor::Change::silent;
        if (hosted.vote != nullptr) hosted.vote->peer_is_silent(is_silent);
        if (is_silent) {
            hosted.host->node().on_peer_silent();
        } else {
            hosted.host->node().on_peer_alive();
        }
    }
}

std::vector<DiskAge> LocalNode::disk_ages() {
    std::vector<DiskAge> ages;
    for (Hosted& hosted : mirrors_) {
        if (!hosted.host->is_started()) continue;
        const Duration age = hosted.host->replica().waiting_for_disk();
        if (age.ns > 0) ages.push_back({disk_age_key(hosted.host->name()), age});
    }
    return ages;
}

// The arbiter is these registers, not somebody else.
bool LocalNode::keeps_registers() const noexcept {
    return config_.arbiter.kind == ArbiterKind::none || config_.arbiter.kind == ArbiterKind::ping;
}

bool LocalNode::open_registers(std::string& why) {
    if (!keeps_registers()) return true;
    const std::string directory = options_.state_directory + "/registers";
    std::error_code error;
    std::filesystem::create_directory(directory, error);
    if (error) {
        why = directory + " can't be made: " + error.message();
        return false;
    }
    auto store = RegisterStore::open(loop_, log_, directory, why);
    if (!store.ok()) return false;
    registers_ = std::move(store).value();
    return true;
}

void LocalNode::start_without_arbiter(Hosted& hosted) {
    MirrorHost& host = *hosted.host;
    local_registers_.push_back(
        std::make_unique<StoredRegister>(*registers_, config_.cluster, host.name()));
    auto arbiter = std::make_unique<NoArbiter>(
        loop_, *local_registers_.back(),
        NoArbiter::Options{options_.node, host.peer(), host.connects()});
    NoArbiter& both = *arbiter;
    if (config_.arbiter.kind == ArbiterKind::ping) {
        auto vote = std::make_unique<PingVote>(
            loop_, std::make_unique<Pinger>(loop_, config_.arbiter.targets),
            PingVote::Options{host.peer(), config_.failover.detect});
        vote->set_refresh([&both](std::uint64_t refresh) { both.refresh(refresh); });
        hosted.vote = vote.get();
        both.set_vote(std::move(vote));
    }
    host.start(std::move(arbiter), [&both](MirrorNode& node) {
        both.set_send(
            [&node](const ControlMessage& message) { return node.send_register_message(message); });
        node.set_register_handler(
            [&both](const ControlMessage& message) { both.on_message(message); });
    });
}

// One of those that are not on this node.
std::unique_ptr<Arbiter> LocalNode::make_arbiter(const std::string& mirror) {
    const ArbiterConfig& arbiter = config_.arbiter;
    if (arbiter.kind == ArbiterKind::witness) {
        return std::make_unique<WitnessArbiter>(loop_, log_, identity_, arbiter.address, mirror);
    }
    GEMEL_ASSERT(arbiter.kind == ArbiterKind::etcd);
    EtcdArbiter::Options options;
    options.cluster = config_.cluster;
    options.mirror = mirror;
    options.members = arbiter.members;
    auto client = std::make_unique<EtcdClient>(
        loop_, arbiter.members, EtcdTls{arbiter.ca, arbiter.certificate, arbiter.private_key});
    return std::make_unique<EtcdArbiter>(loop_, std::move(client), std::move(options));
}

void LocalNode::start_mirror(Hosted& hosted) {
    MirrorHost& host = *hosted.host;
    if (keeps_registers()) {
        start_without_arbiter(hosted);
    } else {
        host.start(make_arbiter(host.name()), [](MirrorNode&) {});
    }
    ++mirrors_running_;
    if (!host.connects()) return;
    SessionConnector::Options options;
    const NodeConfig& peer = *config_.find_node(host.peer());
    for (std::size_t i = 0; i < std::min(peer.links.size(), self_->links.size()); ++i) {
        options.routes.push_back({peer.links[i], self_->links[i]});
    }
    options.mirror = host.name();
    hosted.session = std::make_unique<PeerSession>(
        loop_, log_, identity_, std::move(options), host.peer(),
        [&hosted](std::unique_ptr<PeerLink> link) { begin_session(hosted, std::move(link)); });
}

void LocalNode::begin_session(Hosted& hosted, std::unique_ptr<PeerLink> link) {
    if (hosted.vote != nullptr) hosted.vote->session_begins();
    hosted.host->node().on_session(std::move(link));
}

void LocalNode::on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept {
    Hosted* hosted = find(peer.mirror);
    const bool expected = peer.purpose == SessionPurpose::mirror && hosted != nullptr &&
                          !hosted->host->connects() && hosted->host->peer() == peer.node;
    if (!expected) {
        log_.log(LogLevel::warning, "a session of node '" + peer.node + "' for mirror '" +
                                        peer.mirror + "', which it does not share with this one");
        link->close();
        return;
    }
    hosted->refused.clear();
    begin_session(*hosted, std::move(link));
}

void LocalNode::on_refused(const SocketAddress& remote, const std::string& why) noexcept {
    for (Hosted& hosted : mirrors_) {
        if (hosted.session) continue;
        const std::vector<SocketAddress>& links = config_.find_node(hosted.host->peer())->links;
        const bool is_peer = std::any_of(links.begin(), links.end(),
                                         [&](const auto& link) { return link.ip == remote.ip; });
        if (is_peer) hosted.refused = "connection from " + remote.to_string() + " refused: " + why;
    }
}

// Once a heartbeat: what no event tells.
void LocalNode::tick() {
    timer_.start(config_.failover.heartbeat);
    if (changes_) changes_->poll();
    for (Hosted& hosted : mirrors_) {
        const auto peer = std::find(peers_.begin(), peers_.end(), hosted.host->peer());
        hosted.host->check(heartbeats_->disk_age(static_cast<std::size_t>(peer - peers_.begin()),
                                                 disk_age_key(hosted.host->name())));
        const bool is_connected = hosted.host->node().is_connected();
        if (hosted.session) hosted.session->keep_connected(is_connected);
        if (hosted.vote != nullptr) hosted.vote->tick(is_connected);
    }
    for (std::size_t i = 0; options_.on_step && i < mirrors_.size(); ++i) options_.on_step(i);
}

LocalNode::Hosted* LocalNode::find(const std::string& mirror) noexcept {
    const auto found = std::find_if(mirrors_.begin(), mirrors_.end(), [&](const Hosted& hosted) {
        return hosted.host->name() == mirror;
    });
    return found == mirrors_.end() ? nullptr : &*found;
}

NodeStatus LocalNode::status() {
    NodeStatus status;
    status.cluster = config_.cluster;
    status.node = options_.node;
    status.version = GEMEL_VERSION;
    for (Hosted& hosted : mirrors_) {
        // While the node is starting a mirror may not take part yet.
        if (hosted.host->is_started()) status.mirrors.push_back(status_of(hosted));
    }
    return status;
}

MirrorStatus LocalNode::mirror_status(std::size_t index) { return status_of(mirrors_[index]); }

MirrorStatus LocalNode::status_of(Hosted& hosted) {
    MirrorStatus mirror = hosted.host->status();
    const auto peer = std::find(peers_.begin(), peers_.end(), mirror.peer.node);
    const auto links = heartbeats_->links(static_cast<std::size_t>(peer - peers_.begin()));
    const NodeConfig& node = *config_.find_node(mirror.peer.node);
    for (std::size_t i = 0; i < std::min(links.size(), node.links.size()); ++i) {
        LinkStatus link;
        link.address = node.links[i].to_string();
        link.up = links[i].is_up;
        if (links[i].round_trip) {
            link.rtt_us = static_cast<std::uint64_t>(links[i].round_trip->ns / 1000);
        }
        mirror.peer.links.push_back(std::move(link));
    }
    if (!mirror.peer.connected) {
        mirror.peer.trouble = hosted.session ? hosted.session->trouble() : hosted.refused;
    }
    return mirror;
}

void LocalNode::command(const ControlCommand& command, std::function<void(ControlReply)> reply) {
    Hosted* hosted = find(command.mirror);
    if (hosted == nullptr || !hosted->host->is_started()) {
        reply(ControlReply::error(404, "there is no mirror '" + command.mirror + "' here"));
        return;
    }
    hosted->host->command(command, std::move(reply));
}

void LocalNode::event(const std::string& mirror, LogLevel level, const std::string& kind,
                      const std::string& text) noexcept {
    log_.log(level, mirror + ": " + kind + ": " + text);
    events_.add(loop_.wall_time(), mirror, kind, text);
    if (options_.on_event) options_.on_event(mirror, level, kind, text);
}

void LocalNode::stop(std::function<void()> done) {
    GEMEL_ASSERT(!when_stopped_);
    if (mirrors_running_ == 0) return done();
    when_stopped_ = std::move(done);
    for (Hosted& hosted : mirrors_) {
        hosted.host->node().command(Command::stop,
                                    [this](bool, const std::string&) { stopped_one(); });
    }
}

void LocalNode::stopped_one() {
    if (--mirrors_running_ == 0) when_stopped_();
}

void LocalNode::close() noexcept {
    timer_.cancel();
    // Whatever still happens is told to nobody.
    for (Hosted& hosted : mirrors_) {
        if (hosted.host->is_started()) hosted.host->node().set_observer(nullptr);
    }
    heartbeats_.reset();
    if (control_ != nullptr) control_->stop();
    acceptors_.clear();
}

}  // namespace gemel
