// SPDX-License-Identifier: Apache-2.0
// Ranges are kept sorted, disjoint and not adjacent. Whatever rounding or merging does makes the
// set larger, never smaller: the map stays a superset of the difference.
#include "engine/store/dirty_map.hpp"

#include "engine/base/assert.hpp"
#include "engine/store/op.hpp"

#include <algorithm>

namespace gemel {

namespace {

constexpr std::uint64_t kEnd = DirtyRange::kEndOfObject;

std::uint64_t round_down(std::uint64_t offset) noexcept { return offset & ~(kDirtyUnit - 1); }

std::uint64_t round_up(std::uint64_t offset) noexcept {
    return offset > kEnd - kDirtyUnit ? kEnd : round_down(offset + kDirtyUnit - 1);
}

// End of what starts at `offset`, or the end of the object where the sum leaves 64 bits.
std::uint64_t end_of(std::uint64_t offset, std::uint64_t size) noexcept {
    return size > kEnd - offset ? kEnd : offset + size;
}

bool is_unit_bound(std::uint64_t offset) noexcept {
    return offset % kDirtyUnit == 0 || offset == kEnd;
}

}  // namespace

void DirtyRanges::add(std::uint64_t offset, std::uint64_t size) noexcept {
    GEMEL_ASSERT(size > 0);
    DirtyRange added{round_down(offset), round_up(end_of(offset, size))};
    // What it overlaps or touches becomes part of it.
    const auto first = std::partition_point(
        ranges_.begin(), ranges_.end(), [&](const DirtyRange& r) { return r.end < added.begin; });
    const auto last = std::partition_point(
        first, ranges_.end(), [&](const DirtyRange& r) { return r.begin <= added.end; });
    if (first != last) {
        added.begin = std::min(added.begin, first->begin);
        added.end = std::max(added.end, (last - 1)->end);
        *first = added;
        ranges_.erase(first + 1, last);
        return;
    }
    if (ranges_.size() == ranges_max_ - 2) {
        // Doubling would end at 16 entries for an object that needs eleven.
        const auto index = first - ranges_.begin();
        ranges_.reserve(ranges_max_ + 1);
        ranges_.insert(ranges_.begin() + index, added);
    } else {
        ranges_.insert(first, added);
    }
    if (ranges_.size() > ranges_max_) merge_nearest();
}

void DirtyRanges::merge_nearest() noexcept {
    GEMEL_ASSERT(ranges_.size() >= 2);
    std::size_t nearest = 0;
    std::uint64_t gap_min = kEnd;
    for (std::size_t i = 0; i + 1 < ranges_.size(); ++i) {
        const std::uint64_t gap = ranges_[i + 1].begin - ranges_[i].end;
        if (gap < gap_min) {
            gap_min = gap;
            nearest = i;
        }
    }
    ranges_[nearest].end = ranges_[nearest + 1].end;
    ranges_.erase(ranges_.begin() + static_cast<std::ptrdiff_t>(nearest) + 1);
}

void DirtyRanges::add_all() noexcept { ranges_.assign(1, {0, kEnd}); }

void DirtyRanges::remove(std::uint64_t begin, std::uint64_t end) noexcept {
    GEMEL_ASSERT(is_unit_bound(begin) && is_unit_bound(end) && begin <= end);
    if (begin == end) return;
    const auto first = std::partition_point(ranges_.begin(), ranges_.end(),
                                            [&](const DirtyRange& r) { return r.end <= begin; });
    const auto last = std::partition_point(first, ranges_.end(),
                                           [&](const DirtyRange& r) { return r.begin < end; });
    if (first == last) return;
    const DirtyRange head{first->begin, begin}, tail{end, (last - 1)->end};
    const bool keeps_head = head.begin < head.end, keeps_tail = tail.begin < tail.end;
    // A hole in the middle of one range of a full set: there is no room for another range, and a
    // superset is right. The resync clears from the front, where this never happens.
    if (keeps_head && keeps_tail && last - first == 1 && ranges_.size() == ranges_max_) return;
    auto position = ranges_.erase(first, last);
    if (keeps_tail) position = ranges_.insert(position, tail);
    if (keeps_head) ranges_.insert(position, head);
    if (ranges_.empty()) ranges_.shrink_to_fit();
}

bool DirtyRanges::intersects(std::uint64_t offset, std::uint64_t size) const noexcept {
    const std::uint64_t end = end_of(offset, size);
    const auto first = std::partition_point(ranges_.begin(), ranges_.end(),
                                            [&](const DirtyRange& r) { return r.end <= offset; });
    return size > 0 && first != ranges_.end() && first->begin < end;
}

std::uint64_t DirtyRanges::bytes(std::uint64_t object_size) const noexcept {
    std::uint64_t sum = 0;
    for (const DirtyRange& range : ranges_) {
        const std::uint64_t end = range.end == kEnd ? object_size : range.end;
        if (end > range.begin) sum += end - range.begin;
    }
    return sum;
}

DirtyObject& DirtyMap::entry(ObjectId object) noexcept {
    GEMEL_ASSERT(!object.is_none());
    const auto [found, is_new] = objects_.try_emplace(object);
    if (is_new && object == kBlockObject) {
        found->second.content = DirtyRanges(DirtyRanges::kBlockRangesMax);
    }
    return found->second;
}

void DirtyMap::drop_if_empty(ObjectId object) noexcept {
    const auto found = objects_.find(object);
    if (found != objects_.end() && found->second.empty()) objects_.erase(found);
}

void DirtyMap::mark_content(ObjectId object, std::uint64_t offset, std::uint64_t size) noexcept {
    if (size > 0) entry(object).content.add(offset, size);
}

void DirtyMap::mark_all_content(ObjectId object) noexcept { entry(object).content.add_all(); }

void DirtyMap::mark_attributes(ObjectId object) noexcept {
    if (object != kBlockObject) entry(object).attributes = true;
}

bool DirtyMap::marked_absent(ObjectId object) const noexcept {
    const DirtyObject* dirty = find(object);
    return dirty != nullptr && dirty->absent;
}

void DirtyMap::follow(ObjectId object, bool was_absent) noexcept {
    const DirtyObject* dirty = find(object);
    const bool absent = dirty != nullptr && dirty->absent;
    if (dirty != nullptr && dirty->names && !absent) {
        names_.insert(object);
    } else {
        names_.erase(object);
    }
    if (absent && !was_absent) ++absent_count_;
    if (!absent && was_absent) --absent_count_;
}

void DirtyMap::mark_names(ObjectId directory) noexcept {
    entry(directory).names = true;
    follow(directory, marked_absent(directory));
}

void DirtyMap::mark_absent(ObjectId object) noexcept {
    const bool was_absent = marked_absent(object);
    DirtyObject& dirty = entry(object);
    dirty.absent = dirty.attributes = dirty.names = true;
    dirty.content.add_all();
    follow(object, was_absent);
}

void DirtyMap::forget(ObjectId object) noexcept {
    const bool was_absent = marked_absent(object);
    objects_.erase(object);
    follow(object, was_absent);
}

bool DirtyMap::is_absent(ObjectId object) const noexcept {
    const DirtyObject* dirty = find(object);
    return !is_known(object) || (dirty != nullptr && dirty->absent);
}

bool DirtyMap::names_dirty(ObjectId directory) const noexcept {
    const DirtyObject* dirty = find(directory);
    return !is_known(directory) || (dirty != nullptr && dirty->names);
}

bool DirtyMap::attributes_dirty(ObjectId object) const noexcept {
    const DirtyObject* dirty = find(object);
    return !is_known(object) || (dirty != nullptr && dirty->attributes);
}

bool DirtyMap::content_dirty(ObjectId object, std::uint64_t offset,
                             std::uint64_t size) const noexcept {
    const DirtyObject* dirty = find(object);
    return !is_known(object) || (dirty != nullptr && dirty->content.intersects(offset, size));
}

bool DirtyMap::any_content_dirty(ObjectId object) const noexcept {
    const DirtyObject* dirty = find(object);
    return !is_known(object) || (dirty != nullptr && !dirty->content.empty());
}

void DirtyMap::clear_absent(ObjectId object) noexcept {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return;
    const bool was_absent = found->second.absent;
    found->second.absent = false;
    follow(object, was_absent);
    drop_if_empty(object);
}

void DirtyMap::clear_attributes(ObjectId object) noexcept {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return;
    found->second.attributes = false;
    drop_if_empty(object);
}

void DirtyMap::clear_names(ObjectId directory) noexcept {
    const auto found = objects_.find(directory);
    if (found == objects_.end()) return;
    found->second.names = false;
    follow(directory, found->second.absent);
    drop_if_empty(directory);
}

void DirtyMap::clear_content(ObjectId object, std::uint64_t begin, std::uint64_t end) noexcept {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return;
    found->second.content.remove(begin, end);
    drop_if_empty(object);
}

void DirtyMap::begin_full() noexcept {
    objects_.clear();
    names_.clear();
    absent_count_ = 0;
    known_.clear();
    full_ = true;
}

void DirtyMap::end_full() noexcept {
    known_.clear();
    full_ = false;
}

bool DirtyMap::is_known(ObjectId object) const noexcept {
    if (!full_) return true;
    const auto page = known_.find(object.value / kIdsPerPage);
    if (page == known_.end()) return false;
    const std::uint64_t bit = object.value % kIdsPerPage;
    return (page->second[bit / 64] >> (bit % 64) & 1) != 0;
}

void DirtyMap::set_known(ObjectId object, bool still_dirty) noexcept {
    GEMEL_ASSERT(!object.is_none());
    if (full_) {
        const std::uint64_t bit = object.value % kIdsPerPage;
        known_[object.value / kIdsPerPage][bit / 64] |= std::uint64_t{1} << (bit % 64);
    }
    if (!still_dirty) return;
    const bool was_absent = marked_absent(object);
    DirtyObject& dirty = entry(object);
    dirty.absent = false;
    dirty.attributes = dirty.names = true;
    dirty.content.add_all();
    follow(object, was_absent);
}

const DirtyObject* DirtyMap::find(ObjectId object) const noexcept {
    const auto found = objects_.find(object);
    return found == objects_.end() ? nullptr : &found->second;
}

ObjectId DirtyMap::next_after(ObjectId after) const noexcept {
    const auto found = objects_.upper_bound(after);
    return found == objects_.end() ? kNoObject : found->first;
}

ObjectId DirtyMap::next_names_after(ObjectId after) const noexcept {
    const auto found = names_.upper_bound(after);
    return found == names_.end() ? kNoObject : *found;
}

std::uint64_t DirtyMap::content_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& [id, object] : objects_) {
        for (const DirtyRange& range : object.content.ranges()) {
            const bool open = range.end == DirtyRange::kEndOfObject;
            sum += open ? kDirtyUnit : range.end - range.begin;
        }
    }
    return sum;
}

}  // namespace gemel
