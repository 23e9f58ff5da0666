// SPDX-License-Identifier: Apache-2.0
#include "resync/estimate.hpp"

#include "resync/chunk.hpp"

#include <algorithm>

namespace gemel {

namespace {

ResyncEstimate::Volume everything_of(Volume& volume) noexcept {
    ResyncEstimate::Volume all;
    all.full = true;
    if (const BlockVolume* block = volume.as_block(); block != nullptr) {
        all.objects = 1;
        all.compare_bytes = block->size();
    } else {
        const Result<FileSystemStat> stat = volume.as_directory()->stat_file_system();
        if (stat.ok()) {
            all.compare_bytes = (stat->blocks - stat->blocks_free) * stat->block_size;
        }
    }
    all.send_bytes_max = all.compare_bytes;
    return all;
}

// Of the object's content, what lies in ranges that are sent without being compared.
std::uint64_t unchecked_bytes(const DirtyRanges& content, std::uint64_t size) noexcept {
    std::uint64_t bytes = 0;
    DirtyRange range = content.first_behind(0);
    for (; range.begin < std::min(range.end, size); range = content.first_behind(range.end)) {
        const std::uint64_t length = range.end - range.begin;
        if (length <= kSmallRange) bytes += std::min(range.end, size) - range.begin;
    }
    return bytes;
}

ResyncEstimate::Volume difference_of(Volume& volume, const DirtyMap& map) noexcept {
    ResyncEstimate::Volume dirty;
    dirty.objects = map.object_count();
    std::size_t looked_at = 0;
    ObjectId object = map.next_after(kNoObject);
    for (; !object.is_none() && looked_at < ResyncEstimate::kLookedAtMax;
         object = map.next_after(object)) {
        ++looked_at;
        const DirtyObject& marks = *map.find(object);
        if (marks.content.empty()) continue;
        const Result<Attributes> now = volume.attributes(object);
        if (!now.ok()) continue;  // gone meanwhile: its names settle that
        const std::uint64_t bytes = marks.content.bytes(now->stat.size);
        dirty.send_bytes_max += bytes;
        // What is made there just then is not looked for.
        if (marks.absent) continue;
        dirty.compare_bytes += bytes - unchecked_bytes(marks.content, now->stat.size);
    }
    if (looked_at < dirty.objects) {
        dirty.sampled = true;
        dirty.send_bytes_max = dirty.send_bytes_max / looked_at * dirty.objects;
        dirty.compare_bytes = dirty.compare_bytes / looked_at * dirty.objects;
    }
    return dirty;
}

}  // namespace

std::uint64_t ResyncEstimate::compare_bytes() const noexcept {
    std::uint64_t bytes = 0;
    for (const Volume& volume : volumes) bytes += volume.compare_bytes;
    return bytes;
}

std::uint64_t ResyncEstimate::send_bytes_max() const noexcept {
    std::uint64_t bytes = 0;
    for (const Volume& volume : volumes) bytes += volume.send_bytes_max;
    return bytes;
}

ResyncEstimate estimate_resync(Replica& replica, bool full) noexcept {
    ResyncEstimate estimate;
    for (std::uint16_t i = 0; i < replica.volume_count(); ++i) {
        const DirtyMap& map = replica.dirty_map(i);
        Volume& volume = replica.volume(i);
        estimate.volumes.push_back(full || map.is_full() ? everything_of(volume)
                                                         : difference_of(volume, map));
    }
    return estimate;
}

}  // namespace gemel
