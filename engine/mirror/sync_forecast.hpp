// SPDX-License-Identifier: Apache-2.0
// Tells from what a client has done whether the write at hand will be followed by its sync, so that
// the sync can be begun with the write instead of a round trip later: a log that is written and
// synced, record by record, waits for the disk and little else.
//
// It only guesses. What a guess may be used for is decided by its user (serving_sync.cpp); a wrong
// one costs a sync that nobody asked for, so each makes the next guess need more evidence.
#pragma once

#include "engine/store/op.hpp"

#include <algorithm>
#include <cstdint>

namespace gemel {

class SyncForecast {
   public:
    static constexpr std::uint32_t kEvidenceMin = 4, kEvidenceMax = 4096;

    // A change is about to be carried out.
    void note_change(const Op& op) noexcept {
        const bool fits = op.kind == OpKind::write && op.volume == volume_ && op.object == object_;
        changes_ = fits && changes_ == 0 ? 1 : 2;
    }
    void note_sync(std::uint16_t volume, ObjectId object, bool data_only) noexcept {
        const bool fits =
            changes_ == 1 && volume == volume_ && object == object_ && data_only == data_only_;
        pairs_ = fits ? std::min(pairs_ + 1, kEvidenceMax) : 0;
        volume_ = volume;
        object_ = object;
        data_only_ = data_only;
        changes_ = 0;
    }
    // The last change noted is a write that will be synced next.
    [[nodiscard]] bool expects_sync() const noexcept { return changes_ == 1 && pairs_ >= needed_; }
    // Nothing but one write of this object has been carried out since the last sync.
    [[nodiscard]] bool is_last_change(std::uint16_t volume, ObjectId object) const noexcept {
        return changes_ == 1 && volume == volume_ && object == object_;
    }
    // Of the sync that is expected.
    [[nodiscard]] bool data_only() const noexcept { return data_only_; }
    // Something else came after all.
    void was_wrong() noexcept {
        pairs_ = 0;
        changes_ = 2;
        needed_ = std::min(needed_ * 2, kEvidenceMax);
    }

   private:
    // Of the last sync.
    std::uint16_t volume_ = 0;
    ObjectId object_;
    bool data_only_ = false;
    std::uint32_t changes_ = 2;  // since it; 1: one write of its object, 2: anything else
    std::uint32_t pairs_ = 0;    // of one write and its sync, with nothing in between
    std::uint32_t needed_ = kEvidenceMin;
};

}  // namespace gemel
