// SPDX-License-Identifier: Apache-2.0
// How applications reach the volumes of one mirror: the directories' mounts and the block volumes'
// exports, shown and ended together.
#pragma once

#include "controller/ports.hpp"
#include "frontends/nbd/replica_export.hpp"
#include "tools/gemeld/fuse_mounts.hpp"

#include <memory>
#include <string>
#include <vector>

namespace gemel {

class MirrorFrontEnds final : public MirrorMounts {
   public:
    // Requires: mounts outlive it.
    MirrorFrontEnds(std::string mirror, FuseMounts& mounts)
        : mirror_(std::move(mirror)), mounts_(mounts) {}

    void add(std::unique_ptr<ReplicaExport> exported) {
        exports_.push_back(std::move(exported));
        refuse("is not served by this node yet");
    }
    [[nodiscard]] const std::vector<std::unique_ptr<ReplicaExport>>& exports() const noexcept {
        return exports_;
    }

    void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept override;
    void abort() noexcept override;
    void drain(std::function<void(Status, std::string)> done) noexcept override;

   private:
    void refuse(const std::string& what);

    std::string mirror_;
    FuseMounts& mounts_;
    std::vector<std::unique_ptr<ReplicaExport>> exports_;
};

}  // namespace gemel
