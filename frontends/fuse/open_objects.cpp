// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/open_objects.hpp"

#include "engine/base/probe.hpp"

namespace gemel {

void OpenObjects::open(ObjectId object) noexcept {
    ++objects_[object].count;
    for (PendingRemoval* removal = removals_.front(); removal != nullptr;
         removal = removals_.next(*removal)) {
        if (removal->victim != object || removal->op->object_in_use) continue;
        GEMEL_PROBE("fuse: opened while its removal was on its way");
        removal->op->object_in_use = true;
    }
}

bool OpenObjects::close(ObjectId object) noexcept {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return false;
    GEMEL_ASSERT(found->second.count > 0);
    if (--found->second.count > 0) return false;
    const bool orphan = found->second.orphan;
    objects_.erase(found);
    return orphan;
}

bool OpenObjects::is_open(ObjectId object) const noexcept { return objects_.contains(object); }

void OpenObjects::begin_removal(PendingRemoval& removal, ObjectId victim, Op& op) noexcept {
    removal.victim = victim;
    removal.op = &op;
    op.object_in_use = is_open(victim);
    removals_.push_back(removal);
}

bool OpenObjects::end_removal(PendingRemoval& removal, bool orphaned) noexcept {
    removals_.remove(removal);
    removal.op = nullptr;
    if (!orphaned) return false;
    const auto found = objects_.find(removal.victim);
    if (found == objects_.end()) {
        GEMEL_PROBE("fuse: the last release came before the removal's end");
        return true;
    }
    found->second.orphan = true;
    return false;
}

void OpenObjects::mark_orphan(ObjectId object) noexcept {
    GEMEL_ASSERT(is_open(object));
    objects_[object].orphan = true;
}

void OpenObjects::clear_orphan(ObjectId object) noexcept {
    const auto found = objects_.find(object);
    if (found != objects_.end()) found->second.orphan = false;
}

bool OpenObjects::is_orphan(ObjectId object) const noexcept {
    const auto found = objects_.find(object);
    return found != objects_.end() && found->second.orphan;
}

}  // namespace gemel
