// SPDX-License-Identifier: Apache-2.0
#include "resync/read_ahead.hpp"

#include <algorithm>

namespace gemel {

void ReadAhead::begin() noexcept {
    object_ = kNoObject;
    writing_ = {};
}

void ReadAhead::Batch::run() noexcept {
    Vfs& vfs = owner_.loop_.vfs();
    for (Hint& hint : hints) {
        const DirtyRange& range = hint.window.range;
        const std::uint64_t size = range.end - range.begin;
        switch (hint.kind) {
            case Hint::Kind::read:
                hint.was_absent = vfs.read_ahead(hint.file, range.begin, size);
                break;
            case Hint::Kind::write:
                vfs.begin_writing(hint.file, range.begin, size);
                break;
            case Hint::Kind::forget:
                vfs.forget_cached(hint.file, range.begin, size);
                break;
        }
    }
}

void ReadAhead::give(const Hint& hint) noexcept {
    waiting_.push_back(hint);
    send();
}

void ReadAhead::send() noexcept {
    if (is_under_way_ || waiting_.empty()) return;
    is_under_way_ = true;
    batch_.hints.swap(waiting_);
    loop_.offload(batch_);
}

void ReadAhead::given() noexcept {
    is_under_way_ = false;
    for (const Hint& hint : batch_.hints) {
        const bool is_ours = hint.kind == Hint::Kind::read && hint.was_absent;
        if (!is_ours && hint.kind != Hint::Kind::write) continue;
        behind_.push_back(hint.window);
        behind_bytes_ += hint.window.range.end - hint.window.range.begin;
    }
    batch_.hints.clear();
    give_back();
    send();
}

void ReadAhead::give_back() noexcept {
    while (behind_bytes_ > kBehind) {
        const Window old = behind_.front();
        behind_.pop_front();
        behind_bytes_ -= old.range.end - old.range.begin;
        const Result<Fd> file = replica_.volume(old.volume).data_fd(old.object);
        if (file.ok()) give({Hint::Kind::forget, file.value(), old});
    }
}

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
        give({Hint::Kind::read, file, {volume, object, window}});
        to_ = window.end;
    }
}

void ReadAhead::expect_ranges(std::uint16_t volume, ObjectId object, Fd file,
                              const DirtyRanges& ranges, std::uint64_t begin) noexcept {
    goes_on(volume, object, begin);
    std::uint64_t at = begin;
    for (std::size_t ahead = 0; ahead < kRangesAhead; ++ahead) {
        const DirtyRange range = ranges.first_behind(at);
        if (range.begin >= range.end || range.end - range.begin > kWorthwhile) return;
        if (range.begin >= to_) {
            give({Hint::Kind::read, file, {volume, object, range}});
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
    if (window.range.end - window.range.begin < kWindow) return;
    give({Hint::Kind::write, file, window});
    window.range.begin = window.range.end;
}

// At once: the call takes less than handing it over.
void ReadAhead::expect_file(Fd file, std::uint64_t size) noexcept {
    if (size > 0 && size < kWorthwhile) loop_.vfs().read_ahead(file, 0, size);
}

}  // namespace gemel
