// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/fuse_mounts.hpp"

#include <utility>

namespace gemel {

// Writes back what is dirty in the mounts' page caches. On a worker, because the loop has to answer
// the requests that this makes.
class FuseMounts::FlushJob final : public Job {
   public:
    void run() noexcept override {
        status = Status();
        for (const std::string& path : paths) {
            const Status written = VolumeMount::write_back(path);
            if (!written.ok()) status = written;
        }
    }
    void done() noexcept override { std::exchange(callback, nullptr)(status); }

    std::vector<std::string> paths;
    std::function<void(Status)> callback;
    Status status;
};

FuseMounts::FuseMounts(Loop& loop, LogSink& log, Application& application, const Options& options)
    : loop_(loop), log_(log), application_(application), flush_job_(std::make_unique<FlushJob>()) {
    for (std::size_t i = 0; i < options.directories.size(); ++i) {
        VolumeMount::Options mount;
        mount.path = options.directories[i];
        mount.mirror = options.mirror;
        mount.index = static_cast<std::uint16_t>(i);
        mount.run_directory = options.run_directory;
        mount.state_directory = options.state_directory;
        volumes_.push_back({options.directories[i],
                            std::make_unique<VolumeMount>(log, std::move(mount)), nullptr});
    }
}

FuseMounts::~FuseMounts() = default;

Status FuseMounts::prepare(std::string& why) {
    for (Volume& volume : volumes_) {
        if (const Status status = volume.mount->prepare(why); !status.ok()) return status;
        for (const FileUser& user : volume.mount->early_users()) {
            log_.log(LogLevel::warning,
                     "process " + std::to_string(user.pid) + " has " + user.path +
                         " open from before it was mirrored: what it writes there is not");
        }
    }
    return Status();
}

const std::string& FuseMounts::tree_path(std::size_t index) const {
    return volumes_.at(index).mount->tree_path();
}

void FuseMounts::show(MountMode mode, std::function<void(Status, std::string)> done) noexcept {
    const std::uint64_t number = ++shows_;
    abort();
    // Who still holds the old mount is killed while it can be found by it; the path shows the dead
    // mount meanwhile.
    kill_users([this, number, mode, done = std::move(done)](Status, const std::string&) {
        if (number != shows_) return;
        Status status;
        std::string why;
        for (std::size_t i = 0; status.ok() && i < volumes_.size(); ++i) {
            status = show_volume(static_cast<std::uint16_t>(i), mode, why);
        }
        done(status, why);
    });
}

// A process that can't be killed holds a dead connection: that is not this mirror's concern.
void FuseMounts::kill_users(std::function<void(Status, std::string)> done) noexcept {
    std::vector<std::string> paths;
    for (const Volume& volume : volumes_) {
        if (volume.mount->is_fuse_mounted()) paths.push_back(volume.path);
    }
    if (paths.empty()) {
        loop_.post([done = std::move(done)] { done(Status(), ""); });
        return;
    }
    application_.kill_users(
        std::move(paths), [this, done = std::move(done)](const KillReport& report) {
            for (const std::string& process : report.killed) {
                log_.log(LogLevel::warning, "killed " + process + ", which used the volume");
            }
            const bool all = report.remaining.empty();
            done(all ? Status() : Status(Code::timed_out),
                 all ? "" : report.remaining.front() + " still uses the volume");
        });
}

Status FuseMounts::show_volume(std::uint16_t index, MountMode mode, std::string& why) noexcept {
    Volume& volume = volumes_[index];
    volume.connection.reset();
    if (mode == MountMode::bare) return volume.mount->uncover(why);
    if (volume.mount->is_fuse_mounted()) {
        if (const Status status = volume.mount->unmount(why); !status.ok()) return status;
    }
    // After a release the guard has to come back first.
    if (const Status status = volume.mount->prepare(why); !status.ok()) return status;
    if (mode == MountMode::guard) return Status();
    return mount_volume(index, mode == MountMode::secondary, why);
}

Status FuseMounts::mount_volume(std::uint16_t index, bool read_only, std::string& why) noexcept {
    GEMEL_ASSERT(target_ != nullptr);
    Volume& volume = volumes_[index];
    const Result<int> device = volume.mount->mount_fuse(read_only, why);
    if (!device.ok()) return device.status();
    FuseConnection::Options options;
    options.volume = index;
    options.read_only = read_only;
    volume.connection =
        std::make_shared<FuseConnection>(loop_, log_, *target_, device.value(), options);
    // It lives until its end, which comes after the abort of its mount, whoever still needs it.
    volume.connection->start(
        [this, connection = volume.connection](Status) { loop_.post([connection] {}); });
    return Status();
}

void FuseMounts::abort() noexcept {
    for (Volume& volume : volumes_) {
        std::string why;
        if (!volume.mount->abort(why).ok()) log_.log(LogLevel::error, why);
    }
}

void FuseMounts::drain(std::function<void(Status, std::string)> done) noexcept {
    kill_users([this, done = std::move(done)](Status status, const std::string& why) mutable {
        if (!status.ok()) {
            done(status, why);
            return;
        }
        flush(std::move(done));
    });
}

void FuseMounts::flush(std::function<void(Status, std::string)> done) noexcept {
    flush_job_->paths.clear();
    for (const Volume& volume : volumes_) flush_job_->paths.push_back(volume.path);
    flush_job_->callback = [done = std::move(done)](Status status) {
        done(status, status.ok() ? "" : "the volume can't be synced: " + status.to_string());
    };
    loop_.offload(*flush_job_);
}

}  // namespace gemel
