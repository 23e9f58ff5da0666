// SPDX-License-Identifier: Apache-2.0
#include "resync/verify_report.hpp"

#include <algorithm>

namespace gemel {

namespace {

// They come in rising order, but for one that is looked at again.
void add_range(std::vector<ByteRange>& ranges, ByteRange range) {
    const auto later = std::find_if(ranges.begin(), ranges.end(),
                                    [&](const ByteRange& one) { return one.end >= range.begin; });
    auto end = later;
    for (; end != ranges.end() && end->begin <= range.end; ++end) {
        range.begin = std::min(range.begin, end->begin);
        range.end = std::max(range.end, end->end);
    }
    ranges.insert(ranges.erase(later, end), range);
    if (ranges.size() > VerifyReport::kRangesMax) {
        ranges = {{ranges.front().begin, ranges.back().end}};
    }
}

}  // namespace

VerifyDifference* VerifyReport::find(std::uint16_t volume, const std::string& path, bool& is_new) {
    const Place place{volume, path};
    const auto known = kept_.find(place);
    is_new = known == kept_.end();
    if (!is_new) return &known->second;
    if (kept_.size() < kDifferencesMax) {
        VerifyDifference& added = kept_[place];
        added.volume = volume;
        added.path = path;
        return &added;
    }
    // What differs of one object comes in one go, nearly always.
    is_new = last_ != place;
    if (is_new) ++uncounted_;
    last_ = place;
    return nullptr;
}

bool VerifyReport::add(std::uint16_t volume, const std::string& path, const VerifyDetail& detail) {
    bool is_new = false;
    VerifyDifference* difference = find(volume, path, is_new);
    if (difference == nullptr) return is_new;
    const bool known =
        std::any_of(difference->details.begin(), difference->details.end(),
                    [&](const VerifyDetail& one) { return one.what == detail.what; });
    if (!known) difference->details.push_back(detail);
    return is_new;
}

bool VerifyReport::add_content(std::uint16_t volume, const std::string& path, ByteRange range) {
    bool is_new = false;
    VerifyDifference* difference = find(volume, path, is_new);
    if (difference != nullptr) add_range(difference->content, range);
    return is_new;
}

bool VerifyReport::add_holes(std::uint16_t volume, const std::string& path, ByteRange range) {
    bool is_new = false;
    VerifyDifference* difference = find(volume, path, is_new);
    if (difference != nullptr) add_range(difference->holes, range);
    return is_new;
}

void VerifyReport::mark(const IntentKey& key) {
    const IntentKey all{kNoObject, IntentKey::kVolume, key.volume};
    if (keys_.contains(all)) return;
    if (keys_.size() < kKeysMax) {
        keys_.insert(key);
        return;
    }
    std::erase_if(keys_, [&](const IntentKey& one) { return one.volume == key.volume; });
    keys_.insert(all);
}

void VerifyReport::mark_content(std::uint16_t volume, ObjectId object, ByteRange range) {
    const std::uint64_t last = (range.end - 1) / kIntentRegionSize;
    if (last >= IntentKey::kRegionMax) {
        mark({object, IntentKey::kAllContent, volume});
        return;
    }
    for (std::uint64_t region = range.begin / kIntentRegionSize; region <= last; ++region) {
        mark({object, static_cast<std::uint32_t>(region), volume});
    }
}

void VerifyReport::mark_missing(std::uint16_t volume, ObjectId object, ObjectId directory) {
    mark({directory, IntentKey::kNames, volume});
    if (missing_.size() < kKeysMax) missing_.emplace(volume, object);
}

std::vector<VerifyDifference> VerifyReport::differences() const {
    std::vector<VerifyDifference> result;
    for (const auto& [place, difference] : kept_) result.push_back(difference);
    return result;
}

}  // namespace gemel
