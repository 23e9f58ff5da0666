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

void DirtyRanges::add(std::uint64_t offset, std::uint64_t size, std::size_t room) noexcept {
    GEMEL_ASSERT(size > 0 && room >= kRangesMax);
    const DirtyRange added{round_down(offset), round_up(end_of(offset, size))};
    if (many_ == nullptr) {
        add_to_few(added);
        if (few_.size() <= kRangesMax) return;
        if (room == kRangesMax) {
            merge_nearest();
            return;
        }
        many_ = std::make_unique<Many>();
        for (const DirtyRange& range : few_) many_->emplace(range.begin, range.end);
        std::vector<DirtyRange>().swap(few_);
    } else {
        add_to_many(added);
    }
    if (many_->size() > room) halve();
}

void DirtyRanges::add_to_few(DirtyRange added) noexcept {
    // What it overlaps or touches becomes part of it.
    const auto first = std::partition_point(
        few_.begin(), few_.end(), [&](const DirtyRange& r) { return r.end < added.begin; });
    const auto last = std::partition_point(
        first, few_.end(), [&](const DirtyRange& r) { return r.begin <= added.end; });
    if (first != last) {
        added.begin = std::min(added.begin, first->begin);
        added.end = std::max(added.end, (last - 1)->end);
        *first = added;
        few_.erase(first + 1, last);
        return;
    }
    if (few_.size() == kRangesMax - 2) {
        // Doubling would end at 16 entries for an object that needs eleven.
        const auto index = first - few_.begin();
        few_.reserve(kRangesMax + 1);
        few_.insert(few_.begin() + index, added);
    } else {
        few_.insert(first, added);
    }
}

void DirtyRanges::add_to_many(DirtyRange added) noexcept {
    auto next = many_->upper_bound(added.begin);
    if (next != many_->begin() && std::prev(next)->second >= added.begin) --next;
    while (next != many_->end() && next->first <= added.end) {
        added.begin = std::min(added.begin, next->first);
        added.end = std::max(added.end, next->second);
        next = many_->erase(next);
    }
    many_->emplace_hint(next, added.begin, added.end);
}

void DirtyRanges::merge_nearest() noexcept {
    GEMEL_ASSERT(few_.size() >= 2);
    std::size_t nearest = 0;
    std::uint64_t gap_min = kEnd;
    for (std::size_t i = 0; i + 1 < few_.size(); ++i) {
        const std::uint64_t gap = few_[i + 1].begin - few_[i].end;
        if (gap < gap_min) {
            gap_min = gap;
            nearest = i;
        }
    }
    few_[nearest].end = few_[nearest + 1].end;
    few_.erase(few_.begin() + static_cast<std::ptrdiff_t>(nearest) + 1);
}

// Merges across ever wider gaps until half of the ranges are left: an addition costs no more than
// its own search, taken over all of them.
void DirtyRanges::halve() noexcept {
    const std::size_t enough = many_->size() / 2;
    for (std::uint64_t gap = kDirtyUnit; many_->size() > enough; gap *= 2) {
        for (auto at = many_->begin(); many_->size() > enough && std::next(at) != many_->end();) {
            const auto next = std::next(at);
            if (next->first - at->second > gap) {
                at = next;
                continue;
            }
            at->second = next->second;
            many_->erase(next);
        }
    }
}

void DirtyRanges::add_all() noexcept {
    many_.reset();
    few_.assign(1, {0, kEnd});
}

void DirtyRanges::remove(std::uint64_t begin, std::uint64_t end) noexcept {
    GEMEL_ASSERT(is_unit_bound(begin) && is_unit_bound(end) && begin <= end);
    if (begin == end) return;
    if (many_ != nullptr) {
        remove_from_many(begin, end);
        return;
    }
    const auto first = std::partition_point(few_.begin(), few_.end(),
                                            [&](const DirtyRange& r) { return r.end <= begin; });
    const auto last =
        std::partition_point(first, few_.end(), [&](const DirtyRange& r) { return r.begin < end; });
    if (first == last) return;
    const DirtyRange head{first->begin, begin}, tail{end, (last - 1)->end};
    const bool keeps_head = head.begin < head.end, keeps_tail = tail.begin < tail.end;
    // A hole in the middle of one range of a full set: there is no room for another range, and a
    // superset is right. The resync clears from the front, where this never happens.
    if (keeps_head && keeps_tail && last - first == 1 && few_.size() == kRangesMax) return;
    auto position = few_.erase(first, last);
    if (keeps_tail) position = few_.insert(position, tail);
    if (keeps_head) few_.insert(position, head);
    if (few_.empty()) few_.shrink_to_fit();
}

void DirtyRanges::remove_from_many(std::uint64_t begin, std::uint64_t end) noexcept {
    auto at = many_->upper_bound(begin);
    if (at != many_->begin() && std::prev(at)->second > begin) --at;
    while (at != many_->end() && at->first < end) {
        const DirtyRange range{at->first, at->second};
        at = many_->erase(at);
        if (range.begin < begin) many_->emplace_hint(at, range.begin, begin);
        if (range.end > end) at = many_->emplace_hint(at, end, range.end);
    }
    if (many_->size() > kRangesMax / 2) return;
    for (const auto& [from, to] : *many_) few_.push_back({from, to});
    many_.reset();
}

DirtyRange DirtyRanges::first_behind(std::uint64_t offset) const noexcept {
    if (many_ == nullptr) {
        const auto first = std::partition_point(
            few_.begin(), few_.end(), [&](const DirtyRange& r) { return r.end <= offset; });
        return first == few_.end() ? DirtyRange{} : *first;
    }
    auto at = many_->upper_bound(offset);
    if (at != many_->begin() && std::prev(at)->second > offset) --at;
    return at == many_->end() ? DirtyRange{} : DirtyRange{at->first, at->second};
}

bool DirtyRanges::intersects(std::uint64_t offset, std::uint64_t size) const noexcept {
    if (size == 0) return false;
    const DirtyRange first = first_behind(offset);
    return first.begin < first.end && first.begin < end_of(offset, size);
}

std::vector<DirtyRange> DirtyRanges::ranges() const {
    if (many_ == nullptr) return few_;
    std::vector<DirtyRange> all;
    for (const auto& [from, to] : *many_) all.push_back({from, to});
    return all;
}

std::uint64_t DirtyRanges::bytes(std::uint64_t object_size) const noexcept {
    std::uint64_t sum = 0;
    const auto add = [&](std::uint64_t begin, std::uint64_t range_end) {
        const std::uint64_t end = range_end == kEnd ? object_size : range_end;
        if (end > begin) sum += end - begin;
    };
    for (const DirtyRange& range : few_) add(range.begin, range.end);
    if (many_ == nullptr) return sum;
    for (const auto& [from, to] : *many_) add(from, to);
    return sum;
}

void DirtyMap::take_out(const DirtyRanges& content) noexcept {
    if (content.count() <= DirtyRanges::kRangesMax) return;
    GEMEL_ASSERT(many_ranges_ >= content.count());
    many_ranges_ -= content.count();
}

void DirtyMap::put_in(const DirtyRanges& content) noexcept {
    if (content.count() > DirtyRanges::kRangesMax) many_ranges_ += content.count();
}

DirtyObject& DirtyMap::entry(ObjectId object) noexcept {
    GEMEL_ASSERT(!object.is_none());
    return objects_[object];
}

void DirtyMap::drop_if_empty(ObjectId object) noexcept {
    const auto found = objects_.find(object);
    if (found != objects_.end() && found->second.empty()) objects_.erase(found);
}

void DirtyMap::mark_content(ObjectId object, std::uint64_t offset, std::uint64_t size) noexcept {
    if (size == 0) return;
    DirtyRanges& content = entry(object).content;
    take_out(content);
    const std::size_t left = kManyRangesMax - std::min(many_ranges_, kManyRangesMax);
    content.add(offset, size, std::max(left, DirtyRanges::kRangesMax));
    put_in(content);
}

void DirtyMap::mark_all_content(ObjectId object) noexcept {
    DirtyRanges& content = entry(object).content;
    take_out(content);
    content.add_all();
}

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
    mark_all_content(object);
    DirtyObject& dirty = entry(object);
    dirty.absent = dirty.attributes = dirty.names = true;
    follow(object, was_absent);
}

void DirtyMap::forget(ObjectId object) noexcept {
    const bool was_absent = marked_absent(object);
    const auto found = objects_.find(object);
    if (found != objects_.end()) {
        take_out(found->second.content);
        objects_.erase(found);
    }
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
    DirtyRanges& content = found->second.content;
    take_out(content);
    content.remove(begin, end);
    put_in(content);
    drop_if_empty(object);
}

void DirtyMap::begin_full() noexcept {
    objects_.clear();
    names_.clear();
    absent_count_ = 0;
    many_ranges_ = 0;
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
    mark_all_content(object);
    DirtyObject& dirty = entry(object);
    dirty.absent = false;
    dirty.attributes = dirty.names = true;
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
        const DirtyRange last = object.content.first_behind(kEnd - 1);
        const bool is_open = last.begin < last.end;
        sum += object.content.bytes(is_open ? last.begin + kDirtyUnit : kEnd);
    }
    return sum;
}

}  // namespace gemel
