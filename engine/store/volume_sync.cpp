// SPDX-License-Identifier: Apache-2.0
// What has to be synced so that an object and the names that lead to it are durable. Names made
// since the last sync of everything are remembered with their directories; a new directory's own
// name may be as new, so the way is followed upwards.
#include "engine/base/assert.hpp"
#include "engine/store/volume_impl.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace gemel {

Status TreeVolume::add_to_plan(ObjectId object, FdCache::Kind kind, SyncPlan& plan) noexcept {
    const Result<Fd> file = open_object(object, kind);
    if (!file.ok()) return file.status();
    if (std::find(plan.files.begin(), plan.files.end(), file.value()) != plan.files.end()) {
        return Status();
    }
    plan.files.push_back(file.value());
    if (!is_fixed(object)) {
        cache_.pin(object);
        plan.pinned.push_back(object);
    }
    return Status();
}

Status TreeVolume::add_names(ObjectId object, SyncPlan& plan) noexcept {
    std::vector<ObjectId> pending{object};
    while (!pending.empty()) {
        const ObjectId child = pending.back();
        pending.pop_back();
        const auto names = new_names_.find(child);
        if (names == new_names_.end() ||
            std::find(plan.named.begin(), plan.named.end(), child) != plan.named.end()) {
            continue;
        }
        plan.named.push_back(child);
        for (const NewName& name : names->second) {
            const Status added = add_to_plan(name.parent, FdCache::Kind::directory, plan);
            if (added.is_errno(ESTALE)) continue;  // removed since: the name went before
            GEMEL_TRY(added);
            pending.push_back(name.parent);
        }
    }
    return Status();
}

Result<DirectoryVolume::SyncPlan> TreeVolume::plan_sync(ObjectId object) noexcept {
    begin_call();
    SyncPlan plan;
    plan.mark = change_mark_;
    const Result<Fd> file = object_fd(object);
    if (!file.ok()) return file.status();
    const Result<FileStat> stat = vfs_.stat(file.value());
    if (!stat.ok()) return stat.status();
    Status added;
    if (S_ISREG(stat->mode)) {
        added = add_to_plan(object, FdCache::Kind::data, plan);
        if (added.ok()) plan.content = plan.files.front();
    }
    if (S_ISDIR(stat->mode)) added = add_to_plan(object, FdCache::Kind::directory, plan);
    if (added.ok()) added = add_names(object, plan);
    if (!added.ok()) {
        for (const ObjectId pinned : plan.pinned) cache_.unpin(pinned);
        return added;
    }
    return plan;
}

void TreeVolume::finish_sync(const SyncPlan& plan, Status outcome) noexcept {
    for (const ObjectId object : plan.pinned) {
        if (outcome.ok()) cache_.note_synced(object, plan.mark);
        cache_.unpin(object);
    }
    if (!outcome.ok()) return;
    for (const ObjectId object : plan.named) {
        const auto names = new_names_.find(object);
        if (names == new_names_.end()) continue;
        std::erase_if(names->second, [&](const NewName& name) { return name.mark <= plan.mark; });
        if (names->second.empty()) new_names_.erase(names);
    }
}

void TreeVolume::names_synced(std::uint64_t mark) noexcept {
    drop_old_prepared();
    cache_.note_all_synced(mark);
    for (auto entry = new_names_.begin(); entry != new_names_.end();) {
        std::erase_if(entry->second, [&](const NewName& name) { return name.mark <= mark; });
        entry = entry->second.empty() ? new_names_.erase(entry) : std::next(entry);
    }
}

bool TreeVolume::wants_sync() const noexcept {
    return cache_.unsynced_count() > cache_.count_max() / 2;
}

void TreeVolume::set_writeback_failure_handler(std::function<void(Status)> handler) noexcept {
    writeback_failure_ = std::move(handler);
}

}  // namespace gemel
