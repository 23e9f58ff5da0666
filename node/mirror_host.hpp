// SPDX-License-Identifier: Apache-2.0
// One mirror of a real node, wired together: storage, replica, front end, application, addresses
// and the state machine's shell. Decides nothing.
#pragma once

#include "controller/config.hpp"
#include "controller/control_server.hpp"
#include "controller/foreign_changes.hpp"
#include "controller/mirror_node.hpp"
#include "controller/mirror_storage.hpp"
#include "controller/mirror_verify.hpp"
#include "controller/replica_port.hpp"
#include "controller/superblock_writer.hpp"
#include "resync/estimate.hpp"

#include "node/change_watch.hpp"
#include "node/mirror_front_end.hpp"
#include "node/mirror_service.hpp"
#include <functional>
#include <memory>
#include <optional>
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
        std::string node, state_directory;
    };

    // Requires: world and config outlive it.
    MirrorHost(const World& world, const Config& config, const MirrorConfig& mirror,
               const Place& place, const FrontEndFactory& make_front_end);
    ~MirrorHost();

    // Prepares the front end, opens the storage; `why` is a sentence for people on failure. Waits
    // for the disk.
    Status open(std::string& why);
    [[nodiscard]] bool wants_watch() const noexcept {
        return mirror_.foreign_writes != ForeignWrites::off && !mirror_.directories.empty();
    }
    // From here on changes that are not its own are brought to it. Requires: open() succeeded; the
    // watch outlives it. Null: there is none, for the reason `why`.
    void watch_changes(ChangeWatch* watch, const std::string& why);
    // Begins to take part, after `prepare` has seen the node. Requires: open() succeeded. `arbiter`
    // is this mirror's.
    void start(std::unique_ptr<Arbiter> arbiter, const std::function<void(MirrorNode&)>& prepare);

    [[nodiscard]] const std::string& name() const noexcept { return mirror_.name; }
    [[nodiscard]] const MirrorConfig& config() const noexcept { return mirror_; }
    [[nodiscard]] const std::string& peer() const { return mirror_.peer_of(place_.node); }
    // This node connects, the peer accepts.
    [[nodiscard]] bool connects() const { return mirror_.nodes[0] == place_.node; }
    [[nodiscard]] bool is_started() const noexcept { return node_ != nullptr; }
    // Requires: is_started().
    [[nodiscard]] MirrorNode& node() noexcept { return *node_; }
    // Requires: open() succeeded.
    [[nodiscard]] Replica& replica() noexcept { return replica_->replica(); }
    [[nodiscard]] MirrorFrontEnd& front_end() noexcept { return *front_end_; }
    // Without the links of the peer, which the daemon knows.
    [[nodiscard]] MirrorStatus status();
    void command(const ControlCommand& command, std::function<void(ControlReply)> reply);
    // What no event tells; call it every heartbeat. Requires: is_started().
    void check(Duration peer_disk) noexcept;

   private:
    [[nodiscard]] MirrorMachineOptions machine_options(const Arbiter& arbiter);
    [[nodiscard]] VolumeStatus volume_status(std::uint16_t index);
    void note_changes(const ChangeRecord& record, bool is_new, std::function<void(bool)> done);
    void tell_unwatched(const std::string& what, const std::string& why);
    // mirror_host_resync.cpp; nothing: it is the state machine's.
    std::optional<ControlReply> resync(const ControlCommand& command);
    ControlReply pause_resync();
    ControlReply resume_resync();
    ControlReply set_resync_rate(const ResyncRateRange& range);
    ControlReply estimate(bool full);
    std::vector<std::string> unknowns_of(const ResyncEstimate& estimate);
    [[nodiscard]] ResyncPaceStatus pace_status() const;
    void resize(const ControlCommand& command, std::function<void(ControlReply)> reply);
    ControlReply verify(const ControlCommand& command);
    [[nodiscard]] std::vector<std::string> volume_paths() const;

    World world_;
    const Config& config_;
    const MirrorConfig& mirror_;
    Place place_;
    std::unique_ptr<Application> application_;
    std::unique_ptr<MirrorFrontEnd> front_end_;
    std::unique_ptr<NodeMirrorService> service_;
    std::unique_ptr<MirrorStorage> storage_;
    std::unique_ptr<EngineReplica> replica_;
    std::unique_ptr<SuperblockWriter> superblocks_;
    std::unique_ptr<ForeignChanges> changes_;  // null: nothing is watched
    std::string tracking_;                     // for status
    std::unique_ptr<Arbiter> arbiter_;
    std::unique_ptr<MirrorNode> node_;
    std::unique_ptr<MirrorVerify> verify_;
};

}  // namespace gemel
