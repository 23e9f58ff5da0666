// SPDX-License-Identifier: Apache-2.0
#include "resync/read_ahead.hpp"

#include <algorithm>

namespace gemel {

// False: another stretch begins.
bool ReadAhead::goes_on(std::uint16_t volume, ObjectId object, std::uint64_t begin) noexcept {
    const bool same = volume == volume_ && object == object_ && begin >= from_ && begin <= to_;
    volume_ = volume;
    object_ = object;
    from_ = begin;
    if (!same) to_ = begin;
    return same;
}

void ReadAhead::expect(std::uint16_t volume, ObjectId object, Fd file, DirtyRange now,
                       std::uint64_t limit) noexcept {
    if (!goes_on(volume, object, now.begin) && limit - now.begin < kWorthwhile) return;
    const std::uint64_t wanted = std::min(now.end + kAhead, limit);
    // Whole windows, but for the last: each costs some calls.
    while (to_ < wanted && (wanted == limit || wanted - to_ >= kWindow)) {
        const DirtyRange window{to_, std::min(to_ + kWindow, wanted)};
        if (vfs_.read_ahead(file, window.begin, window.end - window.begin)) {
            note_behind({volume, object, window});
        }
        to_ = window.end;
    }
}

void ReadAhead::expect_ranges(std::uint16_t volume, ObjectId object, Fd file,
                              const DirtyRanges& ranges, std::uint64_t begin) noexcept {
    goes_on(volume, object, begin);
    std::size_t ahead = 0;
    std::uint64_t at = begin;
    for (; ahead < kRangesAhead; ++ahead) {
        const DirtyRange range = ranges.first_behind(at);
        if (range.begin >= range.end || range.end - range.begin > kWorthwhile) return;
        if (range.begin >= to_) {
            vfs_.read_ahead(file, range.begin, range.end - range.begin);
            to_ = range.end;
        }
        at = range.end;
    }
}

void ReadAhead::wrote(std::uint16_t volume, ObjectId object, Fd file, DirtyRange range) noexcept {
    Window& window = writing_;
    if (window.volume != volume || window.object != object || window.range.end != range.begin) {
        window = {volume, object, {range.begin, range.begin}};
    }
    window.range.end = range.end;
    const std::uint64_t size = window.range.end - window.range.begin;
    if (size < kWindow) return;
    vfs_.begin_writing(file, window.range.begin, size);
    note_behind(window);
    window.range.begin = window.range.end;
}

void ReadAhead::expect_file(Fd file, std::uint64_t size) noexcept {
    if (size > 0 && size < kWorthwhile) vfs_.read_ahead(file, 0, size);
}

void ReadAhead::note_behind(const Window& window) noexcept {
    behind_.push_back(window);
    behind_bytes_ += window.range.end - window.range.begin;
}

void ReadAhead::give_back() noexcept {
    while (behind_bytes_ > kBehind) {
        const Window old = behind_.front();
        behind_.pop_front();
        const std::uint64_t size = old.range.end - old.range.begin;
        behind_bytes_ -= size;
        const Result<Fd> file = replica_.volume(old.volume).data_fd(old.object);
        if (file.ok()) vfs_.forget_cached(file.value(), old.range.begin, size);
    }
}

}  // namespace gemel
