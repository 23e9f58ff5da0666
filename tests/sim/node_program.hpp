// SPDX-License-Identifier: Apache-2.0
// The processes of a simulated cluster: what tools/gemeld wires on a real node, wired on a SimLoop.
#pragma once

#include "controller/mirror_node.hpp"
#include "controller/mirror_storage.hpp"
#include "controller/mirror_verify.hpp"
#include "controller/register_store.hpp"
#include "controller/replica_port.hpp"
#include "controller/superblock_writer.hpp"
#include "controller/witness_arbiter.hpp"
#include "controller/witness_server.hpp"
#include "engine/io/sim/loop.hpp"
#include "netdev/heartbeat_on_loop.hpp"
#include "netdev/session_acceptor.hpp"
#include "tests/sim/mutants.hpp"
#include "tests/sim/workload.hpp"

#include <memory>
#include <string>

namespace gemel::sim {

// Who is who; the same for all three.
struct ClusterNames {
    static constexpr const char* kCluster = "sim";
    static constexpr const char* kMirror = "data";
    static constexpr const char* kState = "/state";
    static constexpr const char* kData = "/data";
    static constexpr const char* kDisks = "/disks";
    static constexpr const char* kBacking = "/disks/disk0";
    std::array<SocketAddress, 2> node_addresses;
    SocketAddress witness_address;
    Mutant mutant = Mutant::none;
    ExcludeList exclude;
    std::uint64_t idle_rounds = 3;
    bool answers_blocks_early = false;
    ResyncRateRange resync_rate;
    Duration io_timeout = Duration::seconds(30);
    std::uint64_t block_size = 0;  // of a block volume beside the directory; 0: there is none
};

class NodeProgram final : public Program,
                          private MirrorMounts,
                          private MirrorService,
                          private MirrorEventSink,
                          private SessionConnectorHandler {
   public:
    // Requires: names and mount outlive it.
    NodeProgram(SimLoop& loop, const ClusterNames& names, std::size_t index, SimMount& mount);
    ~NodeProgram() override;

    // Null when the storage was refused (then refusal() says why).
    [[nodiscard]] const MirrorNode* node() const noexcept { return node_.get(); }
    [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }
    // Requires: node() != nullptr.
    [[nodiscard]] Replica& replica() const noexcept { return replica_->replica(); }
    [[nodiscard]] MirrorVerify& verify() const noexcept { return *verify_; }
    [[nodiscard]] EngineReplica& port() const noexcept { return *replica_; }
    void command(Command command) {
        node_->command(command, [](bool, const std::string&) {});
    }

   private:
    bool open();
    // The link with the mutant's fault in it.
    std::unique_ptr<PeerLink> meddle(std::unique_ptr<PeerLink> link);
    void connect();
    void tick();
    [[nodiscard]] std::vector<DiskAge> disk_ages() const;

    void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept override;
    void abort() noexcept override;
    void drain(std::function<void(Status, std::string)> done) noexcept override;
    void claim_addresses() noexcept override {}
    void drop_addresses() noexcept override {}
    void start_application() noexcept override;
    void stop_application(std::function<void()> done) noexcept override;
    void event(const std::string& mirror, LogLevel level, const std::string& kind,
               const std::string& text) noexcept override;
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;
    void on_attempt_failed(Status, const std::string&) noexcept override {}

    SimLoop& loop_;
    const ClusterNames& names_;
    std::size_t index_;
    SimMount& mount_;
    bool is_shown_ = false;  // the serving mount
    std::string refusal_;
    SessionLeaks leaks_;
    SessionIdentity identity_;
    std::unique_ptr<MirrorStorage> storage_;
    std::unique_ptr<EngineReplica> replica_;
    std::unique_ptr<SuperblockWriter> superblocks_;
    std::unique_ptr<Arbiter> arbiter_;
    std::unique_ptr<MirrorNode> node_;
    std::unique_ptr<MirrorVerify> verify_;
    std::unique_ptr<SessionAcceptor> acceptor_;
    std::unique_ptr<SessionConnector> connector_;
    std::unique_ptr<HeartbeatOnLoop> heartbeats_;
    Timer timer_;
};

class WitnessProgram final : public Program, private SessionHandler {
   public:
    WitnessProgram(SimLoop& loop, const ClusterNames& names);
    ~WitnessProgram() override;

    // False when the store was refused.
    [[nodiscard]] bool is_open() const noexcept { return store_ != nullptr; }
    // Requires: is_open().
    [[nodiscard]] RegisterValue recorded() const {
        return store_->read(ClusterNames::kCluster, ClusterNames::kMirror);
    }

   private:
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;

    SessionIdentity identity_;
    std::unique_ptr<RegisterStore> store_;
    std::unique_ptr<WitnessServer> server_;
    std::unique_ptr<SessionAcceptor> acceptor_;
};

}  // namespace gemel::sim
