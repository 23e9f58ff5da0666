// SPDX-License-Identifier: Apache-2.0
// How applications reach the volumes of one mirror through gemeld: the directories' mounts and the
// block volumes' exports, shown and ended together.
#pragma once

#include "frontends/fuse/target.hpp"
#include "frontends/nbd/replica_export.hpp"
#include "frontends/nbd/server.hpp"
#include "tools/gemeld/fuse_mounts.hpp"

#include "node/mirror_front_end.hpp"
#include <memory>
#include <string>
#include <vector>

namespace gemel {

class MirrorFrontEnds final : public MirrorFrontEnd {
   public:
    struct Place {
        std::string state_directory, run_directory;
    };

    // Requires: all references outlive it.
    MirrorFrontEnds(Loop& loop, LogSink& log, const MirrorConfig& mirror, Application& application,
                    Place place);
    ~MirrorFrontEnds() override;

    Status prepare(std::string& why) override { return mounts_.prepare(why); }
    [[nodiscard]] std::string tree_path(std::size_t directory) const override {
        return mounts_.tree_path(directory);
    }
    Status attach(Replica& replica, std::string& why) override;
    void detach() noexcept override;
    void begin_use() noexcept override;
    void end_use(std::function<void()> done) noexcept override { done(); }

    void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept override;
    void abort() noexcept override;
    void drain(std::function<void(Status, std::string)> done) noexcept override;

   private:
    Status offer_blocks(Replica& replica, std::string& why);
    void refuse(const std::string& what);

    Loop& loop_;
    LogSink& log_;
    const MirrorConfig& mirror_;
    const std::string run_directory_;
    FuseMounts mounts_;
    std::unique_ptr<ReplicaTarget> target_;
    std::vector<std::unique_ptr<ReplicaExport>> exports_;
    std::unique_ptr<NbdServer> nbd_;  // null: no block volumes
};

}  // namespace gemel
