// SPDX-License-Identifier: Apache-2.0
// MirrorMounts over FUSE: what the paths of one mirror's directories show. Every change of mode
// ends the old connections and makes new mounts (protocol: one connection, one role, one epoch).
#pragma once

#include "controller/application.hpp"
#include "controller/ports.hpp"
#include "engine/io/loop.hpp"
#include "frontends/fuse/connection.hpp"
#include "frontends/fuse/mount.hpp"

#include <memory>
#include <string>
#include <vector>

namespace gemel {

class FuseMounts final : public MirrorMounts {
   public:
    struct Options {
        std::string mirror;
        std::vector<std::string> directories;
        std::string run_directory, state_directory;
    };

    // Requires: loop, log and application outlive it.
    FuseMounts(Loop& loop, LogSink& log, Application& application, const Options& options);
    ~FuseMounts() override;

    // Covers every path by its guard and makes the bare trees reachable. Once, before all else.
    Status prepare(std::string& why);
    // Where volume `index` is reached; after prepare().
    [[nodiscard]] const std::string& tree_path(std::size_t index) const;
    // Who answers the mounts' requests. Before the first show(serving) or show(secondary).
    void set_target(FuseTarget& target) noexcept { target_ = &target; }

    void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept override;
    void abort() noexcept override;
    void drain(std::function<void(Status, std::string)> done) noexcept override;

   private:
    struct Volume {
        std::string path;
        std::unique_ptr<VolumeMount> mount;
        std::shared_ptr<FuseConnection> connection;  // shared with its own end
    };
    class FlushJob;

    Status show_volume(std::uint16_t index, MountMode mode, std::string& why) noexcept;
    Status mount_volume(std::uint16_t index, bool read_only, std::string& why) noexcept;
    void kill_users(std::function<void(Status, std::string)> done) noexcept;
    void flush(std::function<void(Status, std::string)> done) noexcept;

    Loop& loop_;
    LogSink& log_;
    Application& application_;
    FuseTarget* target_ = nullptr;
    std::vector<Volume> volumes_;
    std::unique_ptr<FlushJob> flush_job_;
    std::uint64_t shows_ = 0;
};

}  // namespace gemel
