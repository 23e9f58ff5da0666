// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/sync_runner.hpp"

#include "engine/base/probe.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

class SyncRunner::SyncJob : public Job {
   public:
    explicit SyncJob(SyncRunner& owner) noexcept : owner_(owner) {}

    void run() noexcept override {
        Vfs& vfs = owner_.context_.loop.vfs();
        status = Status();
        for (const Fd fd : plan.files) {
            const Status one = vfs.sync(fd, data_only && fd == plan.content);
            if (status.ok()) status = one;
        }
        for (const Volume::SyncTarget& target : targets) {
            const Status one = target.whole_file_system ? vfs.sync_file_system(target.file)
                                                        : vfs.sync(target.file, true);
            if (status.ok()) status = one;
        }
    }
    void done() noexcept override { owner_.finish(*this); }

    std::vector<Volume::SyncTarget> targets;  // for a sync of everything
    bool everything = false;
    bool data_only = false;
    Status status;
    std::uint16_t volume = 0;
    Volume::SyncPlan plan;
    std::vector<std::uint64_t> marks;  // of each volume, for a sync of everything
    std::function<void(Status)> callback;

   private:
    SyncRunner& owner_;
};

SyncRunner::SyncRunner(ReplicaContext& context) noexcept : context_(context) {}
SyncRunner::~SyncRunner() = default;

SyncRunner::SyncJob& SyncRunner::take_job() noexcept {
    if (idle_.empty()) {
        jobs_.push_back(std::make_unique<SyncJob>(*this));
        return *jobs_.back();
    }
    SyncJob& job = *idle_.back();
    idle_.pop_back();
    return job;
}

void SyncRunner::sync_object(std::uint16_t volume, ObjectId object, bool data_only,
                             std::function<void(Status)> done) noexcept {
    GEMEL_ASSERT(context_.volume_exists(volume));
    Result<Volume::SyncPlan> plan = context_.volumes[volume]->plan_sync(object);
    if (!plan.ok()) {
        context_.loop.post([done = std::move(done), status = plan.status()] { done(status); });
        return;
    }
    SyncJob& job = take_job();
    job.plan = std::move(plan).value();
    job.targets.clear();
    job.everything = false;
    job.data_only = data_only;
    job.volume = volume;
    job.callback = std::move(done);
    context_.loop.offload(job);
}

void SyncRunner::sync_everything(std::function<void(Status)> done) noexcept {
    SyncJob& job = take_job();
    job.targets.clear();
    job.marks.clear();
    for (const auto& volume : context_.volumes) {
        job.marks.push_back(volume->sync_mark());
        volume->add_sync_targets(job.targets);
    }
    job.everything = true;
    job.callback = std::move(done);
    context_.loop.offload(job);
}

void SyncRunner::relieve() noexcept {
    const auto wants_sync = [](const auto& volume) { return volume->wants_sync(); };
    if (relieving_ || std::none_of(context_.volumes.begin(), context_.volumes.end(), wants_sync)) {
        return;
    }
    GEMEL_PROBE("sync runner: synced before the descriptors run out");
    relieving_ = true;
    sync_everything([this](Status status) {
        relieving_ = false;
        if (!status.ok()) context_.disk_failed(status);
    });
}

void SyncRunner::finish(SyncJob& job) noexcept {
    if (!job.everything) {
        context_.volumes[job.volume]->finish_sync(job.plan, job.status);
    } else if (job.status.ok()) {
        for (std::size_t i = 0; i < job.marks.size(); ++i) {
            context_.volumes[i]->names_synced(job.marks[i]);
        }
    }
    const std::function<void(Status)> callback = std::exchange(job.callback, nullptr);
    const Status status = job.status;
    job.plan = {};
    idle_.push_back(&job);
    callback(status);
}

}  // namespace gemel
