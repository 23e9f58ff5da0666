// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/node_program.hpp"

#include <utility>

namespace gemel::sim {

namespace {

constexpr std::array<const char*, 2> kNodes = {"alpha", "beta"};

SessionIdentity identity_of(const char* node) {
    SessionIdentity identity;
    identity.cluster = ClusterNames::kCluster;
    identity.node = node;
    identity.key.assign(32, std::byte{7});
    return identity;
}

}  // namespace

NodeProgram::NodeProgram(SimLoop& loop, const ClusterNames& names, std::size_t index,
                         SimMount& mount)
    : loop_(loop),
      names_(names),
      index_(index),
      mount_(mount),
      leaks_(loop, names.mutant),
      identity_(identity_of(kNodes[index])),
      timer_(loop, [this] { tick(); }) {
    mount_.abort();
    if (open()) connect();
}

NodeProgram::~NodeProgram() { abort(); }

bool NodeProgram::open() {
    MirrorStorageOptions options;
    options.cluster = ClusterNames::kCluster;
    options.mirror = ClusterNames::kMirror;
    options.node = kNodes[index_];
    options.state_directory = ClusterNames::kState;
    options.volumes.push_back({ClusterNames::kData, ClusterNames::kData});
    if (names_.block_size != 0) {
        options.volumes.push_back(
            {ClusterNames::kBacking, ClusterNames::kBacking, names_.block_size});
    }
    options.exclude = names_.exclude;
    auto storage = MirrorStorage::open(loop_, loop_.log(), options, refusal_);
    if (!storage.ok()) {
        loop_.log().log(LogLevel::error, refusal_);
        return false;
    }
    storage_ = std::move(storage).value();
    if (names_.mutant == Mutant::forget_intents) {
        storage_->intents = std::make_unique<ForgetfulIntents>(std::move(storage_->intents));
    } else if (names_.mutant == Mutant::keep_intents) {
        storage_->intents = std::make_unique<HoardingIntents>(std::move(storage_->intents));
    }
    Replica::Options replica;
    replica.idle_rounds = names_.idle_rounds;
    replica.answers_blocks_early = names_.answers_blocks_early;
    replica_ = std::make_unique<EngineReplica>(loop_, loop_.log(), *storage_->intents,
                                               storage_->volumes, replica);
    replica_->set_resync_range(names_.resync_rate);
    superblocks_ =
        std::make_unique<SuperblockWriter>(loop_, storage_->directory(), storage_->volumes);
    arbiter_ = std::make_unique<WitnessArbiter>(loop_, loop_.log(), identity_,
                                                names_.witness_address, ClusterNames::kMirror);
    const bool is_careless = names_.mutant == Mutant::takeover_without_register ||
                             names_.mutant == Mutant::takeover_from_resync;
    if (is_careless) {
        arbiter_ = std::make_unique<CarelessArbiter>(
            loop_, std::move(arbiter_), names_.mutant, kNodes[index_],
            [this] { return node_->machine().superblock().incarnation; });
    }
    MirrorMachineOptions machine;
    machine.mirror = ClusterNames::kMirror;
    machine.node = kNodes[index_];
    machine.peer = kNodes[1 - index_];
    machine.is_first = index_ == 0;
    machine.directories_are_empty = storage_->all_empty;
    machine.boot = loop_.boot_id();
    machine.arbiter_name = "the witness";
    ProgressWatch::Options watch;
    watch.io_timeout = names_.io_timeout;
    node_ = std::make_unique<MirrorNode>(
        loop_, MirrorNode::Ports{*replica_, *arbiter_, *this, *this, *superblocks_, *this}, machine,
        storage_->superblock, watch);
    MirrorVerify::Options verify;
    verify.mirror = ClusterNames::kMirror;
    verify.node = machine.node;
    verify.peer = machine.peer;
    verify.volumes = {ClusterNames::kData, ClusterNames::kBacking};
    verify_ = std::make_unique<MirrorVerify>(
        MirrorVerify::World{loop_, replica_->replica(), *storage_->intents, *node_, *this,
                            storage_->directory()},
        std::move(verify));
    return true;
}

void NodeProgram::connect() {
    const SocketAddress& own = names_.node_addresses[index_];
    const SocketAddress& peer = names_.node_addresses[1 - index_];
    SessionAcceptor::Options options;
    options.local = own;
    auto acceptor = SessionAcceptor::listen(loop_, loop_.log(), {&identity_, 1}, options, *this);
    GEMEL_ASSERT(acceptor.ok());
    acceptor_ = std::move(acceptor).value();
    HeartbeatEngine::Options heartbeat;
    heartbeat.cluster = ClusterNames::kCluster;
    heartbeat.node = kNodes[index_];
    heartbeat.key = identity_.key;
    heartbeat.peers.push_back({kNodes[1 - index_], 1});
    heartbeat.start = loop_.prng().next();
    auto heartbeats = HeartbeatOnLoop::start(
        loop_, std::move(heartbeat), {{own, {peer}}},
        [this](const HeartbeatEngine::Verdict& v) {
            if (v.change == HeartbeatMonitor::Change::silent) {
                node_->on_peer_silent();
            } else {
                node_->on_peer_alive();
            }
        },
        [this] { return disk_ages(); });
    GEMEL_ASSERT(heartbeats.ok());
    heartbeats_ = std::move(heartbeats).value();
    if (index_ == 0) {
        SessionConnector::Options connector;
        connector.routes.push_back({peer, own});
        connector.mirror = ClusterNames::kMirror;
        connector_ = std::make_unique<SessionConnector>(
            loop_, identity_, std::move(connector), static_cast<SessionConnectorHandler&>(*this));
    }
    command(Command::start);
    tick();
}

std::vector<DiskAge> NodeProgram::disk_ages() const {
    return {{disk_age_key(ClusterNames::kMirror), replica_->waiting_for_disk()}};
}

void NodeProgram::tick() {
    timer_.start(Duration::milliseconds(100));
    node_->check_progress(heartbeats_->disk_age(0, disk_age_key(ClusterNames::kMirror)));
    verify_->check();
    if (connector_ && !node_->is_connected() && !connector_->is_running()) connector_->start();
}

std::unique_ptr<PeerLink> NodeProgram::meddle(std::unique_ptr<PeerLink> link) {
    switch (names_.mutant) {
        case Mutant::acknowledge_early:
        case Mutant::acknowledge_blocks_early:
        case Mutant::flush_early:
        case Mutant::grow_early:
            return std::make_unique<EarlyAckLink>(loop_, std::move(link), names_.mutant);
        case Mutant::clear_before_sync:
            return std::make_unique<UnsyncedRoundLink>(std::move(link), *storage_->intents,
                                                       names_.idle_rounds);
        case Mutant::apply_out_of_order:
            return std::make_unique<ReorderingLink>(loop_, std::move(link));
        case Mutant::own_times:
            return std::make_unique<OwnTimesLink>(loop_, std::move(link));
        case Mutant::verify_out_of_order:
            return std::make_unique<OvertakingLink>(loop_, std::move(link));
        case Mutant::skip_marking:
            return std::make_unique<UnmarkedLink>(loop_, std::move(link), replica_->replica());
        default:
            return link;
    }
}

void NodeProgram::on_session(std::unique_ptr<PeerLink> link, const PeerHello&) noexcept {
    leaks_.on_session();
    node_->on_session(meddle(std::move(link)));
}

void NodeProgram::abort() noexcept {
    is_shown_ = false;
    mount_.abort();
}

void NodeProgram::show(MountMode mode, std::function<void(Status, std::string)> done) noexcept {
    abort();
    loop_.post([this, mode, done = std::move(done)] {
        is_shown_ = mode == MountMode::serving;
        done(Status(), "");
    });
}

// The application is what works through the mount.
void NodeProgram::start_application() noexcept {
    if (!is_shown_ || mount_.is_serving()) return;
    mount_.node = kNodes[index_];
    mount_.epoch = [this] { return node_->machine().known().epoch; };
    mount_.serve(replica_->replica(), loop_);
}

// It is killed: what it had in flight has no outcome.
void NodeProgram::stop_application(std::function<void()> done) noexcept {
    mount_.abort();
    loop_.post(done);
}

void NodeProgram::drain(std::function<void(Status, std::string)> done) noexcept {
    mount_.abort();
    loop_.post([done = std::move(done)] { done(Status(), ""); });
}

void NodeProgram::event(const std::string&, LogLevel level, const std::string& kind,
                        const std::string& text) noexcept {
    loop_.log().log(level, kind + ": " + text);
}

WitnessProgram::WitnessProgram(SimLoop& loop, const ClusterNames& names)
    : identity_(identity_of("witness")) {
    std::string why;
    auto store = RegisterStore::open(loop, loop.log(), ClusterNames::kState, why);
    if (!store.ok()) {
        loop.log().log(LogLevel::error, why);
        return;
    }
    store_ = std::move(store).value();
    server_ = std::make_unique<WitnessServer>(loop, loop.log(), *store_);
    SessionAcceptor::Options options;
    options.local = names.witness_address;
    auto acceptor = SessionAcceptor::listen(loop, loop.log(), {&identity_, 1}, options, *this);
    GEMEL_ASSERT(acceptor.ok());
    acceptor_ = std::move(acceptor).value();
}

WitnessProgram::~WitnessProgram() = default;

void WitnessProgram::on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept {
    server_->on_session(std::move(link), peer.cluster, peer.node, peer.mirror);
}

}  // namespace gemel::sim
