// SPDX-License-Identifier: Apache-2.0
// One mirror of a real node, wired together: storage, replica, mounts, application, addresses and
// the state machine's shell. Decides nothing.
#pragma once

#include "controller/config.hpp"
#include "controller/control_server.hpp"
#include "controller/mirror_node.hpp"
#include "controller/mirror_storage.hpp"
#include "controller/replica_port.hpp"
#include "controller/superblock_writer.hpp"
#include "frontends/fuse/target.hpp"
#include "frontends/nbd/server.hpp"
#include "tools/gemeld/fuse_mounts.hpp"
#include "tools/gemeld/mirror_front_ends.hpp"
#include "tools/gemeld/mirror_service.hpp"

#include <functional>
#include <memory>
#include <string>

namespace gemel {

class MirrorHost {
   public:
    struct World {
        Loop& loop;
        LogSink& log;
        MirrorEventSink& events;
        VirtualIp& virtual_ip;
    };
    struct Place {
        std::string node, state_directory, run_directory;
    };

    // Requires: world and config outlive it.
    MirrorHost(const World& world, const Config& config, const MirrorConfig& mirror,
               const Place& place);
    ~MirrorHost();

    // Covers the paths, opens the storage; `why` is a sentence for people on failure. Waits for the
    // disk.
    Status open(std::string& why);
    // Begins to take part, after `prepare` has seen the node. Requires: open() succeeded. `arbiter`
    // is this mirror's.
    void start(std::unique_ptr<Arbiter> arbiter, const std::function<void(MirrorNode&)>& prepare);

    [[nodiscard]] const std::string& name() const noexcept { return mirror_.name; }
    [[nodiscard]] const std::string& peer() const { return mirror_.peer_of(place_.node); }
    // This node connects, the peer accepts.
    [[nodiscard]] bool connects() const { return mirror_.nodes[0] == place_.node; }
    [[nodiscard]] bool is_started() const noexcept { return node_ != nullptr; }
    // Requires: is_started().
    [[nodiscard]] MirrorNode& node() noexcept { return *node_; }
    [[nodiscard]] Replica& replica() noexcept { return replica_->replica(); }
    // Without the links of the peer, which the daemon knows.
    [[nodiscard]] MirrorStatus status();
    void command(const ControlCommand& command, std::function<void(ControlReply)> reply);

   private:
    [[nodiscard]] MirrorMachineOptions machine_options(const Arbiter& arbiter);
    [[nodiscard]] VolumeStatus volume_status(std::uint16_t index);
    Status offer_blocks(std::string& why);

    World world_;
    const Config& config_;
    const MirrorConfig& mirror_;
    Place place_;
    std::unique_ptr<Application> application_;
    std::unique_ptr<FuseMounts> mounts_;
    std::unique_ptr<NodeMirrorService> service_;
    std::unique_ptr<MirrorStorage> storage_;
    std::unique_ptr<EngineReplica> replica_;
    std::unique_ptr<ReplicaTarget> target_;
    std::unique_ptr<MirrorFrontEnds> front_ends_;
    std::unique_ptr<NbdServer> nbd_;  // null: no block volumes
    std::unique_ptr<SuperblockWriter> superblocks_;
    std::unique_ptr<Arbiter> arbiter_;
    std::unique_ptr<MirrorNode> node_;
};

}  // namespace gemel
