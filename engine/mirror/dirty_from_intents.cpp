// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/dirty_from_intents.hpp"

namespace gemel {

namespace {

void mark_id_range(ObjectId first, Volume& volume, DirtyMap& map) noexcept {
    for (std::uint64_t i = 0; i < kIdRangeCount; ++i) {
        const ObjectId id = ObjectId::make(first.tag(), first.sequence() + i);
        // The peer may or may not have it. "Absent" only keeps ops on it from being shipped until
        // the resync has sent what it is.
        if (volume.exists(id)) map.mark_absent(id);
    }
}

}  // namespace

void mark_everything(Volume& volume, DirtyMap& map) noexcept {
    if (volume.as_block() != nullptr) {
        map.mark_all_content(kBlockObject);
    } else {
        map.begin_full();
    }
}

void mark_intent(const IntentKey& key, Volume& volume, DirtyMap& map) noexcept {
    if (key.region == IntentKey::kVolume) {
        mark_everything(volume, map);
        return;
    }
    if (key.region == IntentKey::kIdRange) {
        mark_id_range(key.object, volume, map);
        return;
    }
    if (!volume.exists(key.object)) return;
    switch (key.region) {
        case IntentKey::kNames:
            map.mark_names(key.object);
            return;
        case IntentKey::kAttributes:
            map.mark_attributes(key.object);
            return;
        case IntentKey::kAllContent:
            map.mark_all_content(key.object);
            map.mark_attributes(key.object);
            return;
        default: {
            const std::uint64_t offset = std::uint64_t{key.region} * kIntentRegionSize;
            map.mark_content(key.object, offset, kIntentRegionSize);
            map.mark_attributes(key.object);
            return;
        }
    }
}

}  // namespace gemel
