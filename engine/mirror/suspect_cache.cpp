// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/suspect_cache.hpp"

#include "engine/base/probe.hpp"

#include <set>
#include <sys/stat.h>

namespace gemel {

Status show_as_on_disk(Vfs& vfs, Volume& volume, ObjectId object) noexcept {
    const Result<Attributes> now = volume.attributes(object);
    if (!now.ok()) return now.status();
    if (!S_ISREG(now->stat.mode)) return Status();
    const Result<Fd> file = volume.data_fd(object);
    if (!file.ok()) return file.status();
    // First: a page that is changed is not forgotten.
    GEMEL_TRY(vfs.drop_cache(file.value()));
    GEMEL_PROBE("suspect cache: a file is cut off again");
    Op cut;
    cut.kind = OpKind::truncate;
    cut.object = object;
    cut.size = now->stat.size;
    cut.modified = now->stat.modified;
    return volume.apply(cut);
}

Status drop_suspect_cache(Vfs& vfs, const IntentLog& intents,
                          std::span<const std::unique_ptr<Volume>> volumes) noexcept {
    GEMEL_PROBE("suspect cache: a copy that has failed is started");
    std::set<std::pair<std::uint16_t, ObjectId>> objects;
    intents.for_each([&](const IntentKey& key) {
        // Block volumes are not cached.
        if (key.volume >= volumes.size() || volumes[key.volume]->as_block() != nullptr) return;
        if (key.object.is_none() || key.region == IntentKey::kNames) return;
        const std::uint64_t count = key.region == IntentKey::kIdRange ? kIdRangeCount : 1;
        for (std::uint64_t i = 0; i < count; ++i) {
            const ObjectId id = ObjectId::make(key.object.tag(), key.object.sequence() + i);
            if (volumes[key.volume]->exists(id)) objects.emplace(key.volume, id);
        }
    });
    Status first;
    for (const auto& [volume, object] : objects) {
        const Status dropped = show_as_on_disk(vfs, *volumes[volume], object);
        if (first.ok()) first = dropped;
    }
    return first;
}

}  // namespace gemel
