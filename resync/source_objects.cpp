// SPDX-License-Identifier: Apache-2.0
// Attributes and content, object by object in the order of ids.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "resync/source.hpp"

#include <algorithm>
#include <string>
#include <sys/stat.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::uint64_t kEnd = DirtyRange::kEndOfObject;
// Of a block volume, so much is looked at while no application may change it.
constexpr std::uint64_t kBlockStepMax = 4 * kMiB;
static_assert(kSmallRange <= ResyncPacer::kTurnBytesBusy);
// An unanswered check holds no memory of the target's: it counts for a part of what it reads.
constexpr std::uint64_t kCheckWeight = 4;
// A frame ends behind the extended attribute that reaches it. XFS and btrfs hold hundreds of MiB.
constexpr std::size_t kXattrsFrameSize = kMiB;

std::uint64_t round_up(std::uint64_t offset, std::uint64_t unit) noexcept {
    return (offset + unit - 1) / unit * unit;
}

bool is_gone(Status status) noexcept {
    return status.is_errno(ENOENT) || status.is_errno(ESTALE) || status.code() == Code::not_found;
}

}  // namespace

void ResyncSource::object_failed(std::uint16_t volume, ObjectId object, Status status,
                                 std::string_view what) noexcept {
    if (is_gone(status)) {
        map(volume).forget(object);
        volumes_[volume].fresh.erase(object);
        return;
    }
    fail(status, std::string(what));
}

bool ResyncSource::object_step(std::uint16_t volume) noexcept {
    constexpr std::size_t kLookedAtMax = 4096;
    DirtyMap& dirty = map(volume);
    VolumeState& state = volumes_[volume];
    bool wrapped = false;
    const ObjectId start = state.object_cursor;
    for (std::size_t looked_at = 0; looked_at < kLookedAtMax; ++looked_at) {
        ObjectId object = dirty.next_after(state.object_cursor);
        if (object.is_none()) {
            if (wrapped || start.is_none()) {
                state.object_cursor = kNoObject;
                return false;
            }
            wrapped = true;
            state.object_cursor = kNoObject;
            continue;
        }
        if (wrapped && object > start) return false;
        // The cursor stays before an object until nothing is left to do for it.
        if (object_work(volume, object)) return true;
        state.object_cursor = object;
    }
    schedule();  // the rest of the map in another turn
    return false;
}

// Content of one of the fresh objects alone: with the others', of which applications may make ever
// more dirty as long as names are, names would never have their turn.
bool ResyncSource::fresh_step(std::uint16_t volume) noexcept {
    std::set<ObjectId>& fresh = volumes_[volume].fresh;
    while (!fresh.empty()) {
        const ObjectId object = *fresh.begin();
        const bool is_there = !map(volume).is_absent(object);
        if (is_there && map(volume).any_content_dirty(object)) return object_work(volume, object);
        fresh.erase(fresh.begin());
    }
    return false;
}

// One step for the object; false when there is none now.
bool ResyncSource::object_work(std::uint16_t volume, ObjectId object) noexcept {
    DirtyMap& dirty = map(volume);
    const DirtyObject* marks = dirty.find(object);
    GEMEL_ASSERT(marks != nullptr);
    if (!dirty.is_known(object)) return false;
    if (marks->absent) {
        // Listings come first: they make it under its name.
        if (dirty.is_full() || !dirty.next_names_after(kNoObject).is_none()) return false;
        send_object(volume, object, kNoObject, {});
        return true;
    }
    if (object == kOrphanDirectory || object == kDetachedDirectory) {
        dirty.clear_attributes(object);
        dirty.clear_content(object, 0, kEnd);
        return false;
    }
    if (marks->attributes) {
        send_attributes(volume, object);
        return true;
    }
    if (marks->content.empty()) return false;
    if (volumes_[volume].made.contains(object)) return false;
    return content_step(volume, object);
}

void ResyncSource::send_object(std::uint16_t volume, ObjectId object, ObjectId parent,
                               std::string_view name) noexcept {
    AttributesItem item;
    Result<DirectoryVolume::FullAttributes> now =
        replica_.directory(volume).full_attributes(object);
    if (!now.ok()) {
        object_failed(volume, object, now.status(), "an object's attributes could not be read");
        return;
    }
    item.attributes = std::move(now).value();
    const std::uint32_t mode = item.attributes.stat.mode;
    ByteBuffer target;
    if (S_ISLNK(mode)) {
        Result<ByteBuffer> link = replica_.directory(volume).read_link(object);
        if (!link.ok()) {
            object_failed(volume, object, link.status(), "a symbolic link could not be read");
            return;
        }
        target = std::move(link).value();
    }
    item.make = true;
    item.link_target = target;
    item.parent = parent;
    item.name = name;
    item.head = new_item(Item::Kind::make, volume, object);
    outstanding_.back().unlisted = parent.is_none();
    DirtyMap& dirty = map(volume);
    if (dirty.is_full()) {
        dirty.set_known(object, true);
    } else {
        dirty.clear_absent(object);
    }
    dirty.clear_attributes(object);
    if (!S_ISDIR(mode)) dirty.clear_names(object);
    if (!S_ISREG(mode) || item.attributes.stat.size == 0) {
        dirty.clear_content(object, 0, kEnd);
    } else {
        // A wrong guess costs at most so many bytes: the target writes what it had.
        const bool is_fresh = expects_new_ && item.attributes.stat.size <= kSmallRange;
        if (is_fresh) {
            volumes_[volume].fresh.insert(object);
        } else {
            volumes_[volume].made.insert(object);
        }
        const Result<Fd> fd = replica_.volume(volume).data_fd(object);
        if (fd.ok()) read_ahead_.expect_file(fd.value(), item.attributes.stat.size);
    }
    send_in_parts(item);
}

void ResyncSource::send_attributes(std::uint16_t volume, ObjectId object) noexcept {
    AttributesItem item;
    Result<DirectoryVolume::FullAttributes> now =
        replica_.directory(volume).full_attributes(object);
    if (!now.ok()) {
        object_failed(volume, object, now.status(), "an object's attributes could not be read");
        return;
    }
    item.attributes = std::move(now).value();
    item.head = new_item(Item::Kind::attributes, volume, object);
    if (S_ISREG(item.attributes.stat.mode)) {
        outstanding_.back().offset = item.attributes.stat.size;
        outstanding_.back().size = kEnd - item.attributes.stat.size;
    }
    map(volume).clear_attributes(object);
    send_in_parts(item);
}

// All in this turn, so that no op comes between.
void ResyncSource::send_in_parts(AttributesItem& item) noexcept {
    auto all = std::exchange(item.attributes.xattrs, {});
    auto next = all.begin();
    do {
        item.attributes.xattrs.clear();
        for (std::size_t size = 0; next != all.end() && size < kXattrsFrameSize; ++next) {
            size += next->first.size() + next->second.size();
            item.attributes.xattrs.push_back(std::move(*next));
        }
        item.last = next == all.end();
        frame_.clear();
        encode_attributes(item, frame_);
        send(FrameType::resync_attributes);
    } while (!item.last);
}

bool ResyncSource::is_block(std::uint16_t volume) noexcept {
    return replica_.volume(volume).as_block() != nullptr;
}

// Small dirty ranges that follow one another: whoever marked so little has most likely changed it,
// and asking costs the target's disk more than the bytes cost the link. A range without an end is
// no change but "whatever there is". Empty: the first is not small.
std::vector<DirtyRange> ResyncSource::small_ranges(std::uint16_t volume, ObjectId object,
                                                   std::uint64_t size) noexcept {
    const DirtyRanges& content = map(volume).find(object)->content;
    DirtyRange range = content.first_behind(0);
    std::uint64_t limit = range.begin + kPartialSpanMax;
    if (is_block(volume)) limit = range.begin / kBlockStepMax * kBlockStepMax + kBlockStepMax;
    const std::uint64_t bytes_max = std::min<std::uint64_t>(kChunkSizeMax, pacer_.item_max());
    std::vector<DirtyRange> pieces;
    std::uint64_t bytes = 0;
    while (range.begin < range.end && range.end - range.begin <= kSmallRange &&
           range.end <= limit && range.begin < size &&
           bytes + (range.end - range.begin) <= bytes_max) {
        pieces.push_back({range.begin, std::min(range.end, size)});
        bytes += range.end - range.begin;
        range = content.first_behind(range.end);
    }
    return pieces;
}

// What has been sent up to the end of the file includes what the target has behind it: the size
// went before it, with the attributes. (When these are lost, it is marked again: remark.)
void ResyncSource::clear_content(std::uint16_t volume, ObjectId object, DirtyRange range,
                                 std::uint64_t size) noexcept {
    const std::uint64_t end = range.end >= size ? kEnd : round_up(range.end, kDirtyUnit);
    map(volume).clear_content(object, range.begin, end);
    if (map(volume).any_content_dirty(object)) return;
    volumes_[volume].fresh.erase(object);
    ++contents_done_;
}

bool ResyncSource::small_step(std::uint16_t volume, ObjectId object, const FileStat& stat,
                              std::vector<DirtyRange> pieces) noexcept {
    const std::uint64_t begin = pieces.front().begin;
    if (is_block(volume) && !replica_.claim_content(volume, begin, pieces.back().end - begin)) {
        return false;
    }
    const Result<Fd> fd = replica_.volume(volume).data_fd(object);
    Status status = fd.ok() ? Status() : fd.status();
    ContentItem item;
    if (status.ok()) {
        read_ahead_.expect_ranges(volume, object, fd.value(), map(volume).find(object)->content,
                                  begin);
        status = read_pieces(volume, fd.value(), pieces, item);
    }
    if (!status.ok()) {
        object_failed(volume, object, status, "a file could not be read");
        return true;
    }
    for (const DirtyRange& piece : pieces) {
        progress_.done_bytes += piece.end - piece.begin;
        clear_content(volume, object, piece, stat.size);
    }
    send_pieces(item, volume, object, stat, std::move(pieces));
    return true;
}

// The first dirty range: small ones, a stretch without data, a chunk, or what lies behind the end
// of the file.
bool ResyncSource::content_step(std::uint16_t volume, ObjectId object) noexcept {
    const DirtyRange range = map(volume).find(object)->content.first_behind(0);
    const bool is_fresh = volumes_[volume].fresh.contains(object);
    const Result<Attributes> now = replica_.volume(volume).attributes(object);
    if (!now.ok()) {
        object_failed(volume, object, now.status(), "a file's attributes could not be read");
        return true;
    }
    const std::uint64_t size = now->stat.size;
    if (!S_ISREG(now->stat.mode) || range.begin >= size) {
        clear_content(volume, object, {range.begin, kEnd}, size);
        return true;
    }
    if (!is_fresh) {
        std::vector<DirtyRange> pieces = small_ranges(volume, object, size);
        if (!pieces.empty()) return small_step(volume, object, now->stat, std::move(pieces));
    }
    // To the end of the range or of the file: there everything behind goes too.
    std::uint64_t limit = std::min(range.end, size);
    if (is_block(volume)) {
        limit = std::min(limit, range.begin / kBlockStepMax * kBlockStepMax + kBlockStepMax);
        if (!replica_.claim_content(volume, range.begin, limit - range.begin)) return false;
    }
    const Result<Fd> fd = replica_.volume(volume).data_fd(object);
    if (!fd.ok()) {
        object_failed(volume, object, fd.status(), "a file could not be opened");
        return true;
    }
    const Result<std::uint64_t> data = next_data(loop_.vfs(), fd.value(), range.begin, limit);
    if (!data.ok()) {
        object_failed(volume, object, data.status(), "a file could not be read");
        return true;
    }
    std::uint64_t end = data.value() == limit ? limit : data.value() / kDirtyUnit * kDirtyUnit;
    if (end > range.begin) {
        send_hole(volume, object, now->stat, range.begin, end - range.begin);
    } else {
        const std::uint64_t unit = std::min<std::uint64_t>(kChunkSizeMax, pacer_.item_max());
        end = std::min(range.begin / unit * unit + unit, limit);
        read_ahead_.expect(volume, object, fd.value(), {range.begin, end},
                           std::min(range.end, size));
        const Status read = read_chunk(loop_.vfs(), fd.value(), range.begin, end - range.begin,
                                       zeros_of(replica_.volume(volume)), chunk_);
        if (!read.ok()) {
            object_failed(volume, object, read, "a file could not be read");
            return true;
        }
        turn_bytes_ += chunk_.size;
        if (is_fresh) {
            send_content(volume, object, now->stat);
        } else {
            send_check(volume, object);
        }
    }
    progress_.done_bytes += end - range.begin;
    clear_content(volume, object, {range.begin, end}, size);
    return true;
}

// A check that was answered with want: what differed of the range, as it is now. False: there is
// none.
bool ResyncSource::want_step() noexcept {
    if (wants_.empty()) return false;
    const Item& front = wants_.front();
    if (is_block(front.volume) && !replica_.claim_content(front.volume, front.offset, front.size)) {
        return false;
    }
    Item want = std::move(wants_.front());
    wants_.pop_front();
    Volume& volume = replica_.volume(want.volume);
    const Result<Attributes> now = volume.attributes(want.object);
    if (!now.ok()) {
        object_failed(want.volume, want.object, now.status(),
                      "a file's attributes could not be read");
        return true;
    }
    // The target takes the last block of an item whole, and the file may have grown since the
    // check: what has been shipped of that block meanwhile goes with it.
    std::vector<DirtyRange> pieces;
    for (const DirtyRange& piece : want.pieces) {
        const std::uint64_t end = std::min(round_up(piece.end, kChunkBlock), now->stat.size);
        if (end > piece.begin) pieces.push_back({piece.begin, end});
    }
    if (pieces.empty()) return true;  // cut off meanwhile
    const Result<Fd> fd = volume.data_fd(want.object);
    Status status = fd.ok() ? Status() : fd.status();
    ContentItem item;
    if (status.ok()) status = read_pieces(want.volume, fd.value(), pieces, item);
    if (!status.ok()) {
        object_failed(want.volume, want.object, status, "a file could not be read");
        if (state_ == State::over) wants_.push_front(std::move(want));
        return true;
    }
    send_pieces(item, want.volume, want.object, now->stat, std::move(pieces));
    return true;
}

// Fills `item` and pieces_data_. Requires: pieces are sorted and apart, together at most
// kChunkSizeMax, and begin with a block.
Status ResyncSource::read_pieces(std::uint16_t volume, Fd file, std::span<const DirtyRange> pieces,
                                 ContentItem& item) noexcept {
    item.partial = true;
    item.offset = pieces.front().begin;
    item.size = pieces.back().end - item.offset;
    pieces_data_.clear();
    for (const DirtyRange& piece : pieces) {
        GEMEL_TRY(read_chunk(loop_.vfs(), file, piece.begin, piece.end - piece.begin,
                             zeros_of(replica_.volume(volume)), chunk_));
        const auto base = static_cast<std::uint32_t>(piece.begin - item.offset);
        std::uint32_t position = 0;
        for (const DataSegment& segment : chunk_.segments) {
            if (segment.begin > position) {
                item.holes.push_back({base + position, base + segment.begin});
            }
            item.segments.push_back({base + segment.begin, base + segment.end});
            position = segment.end;
        }
        if (position < chunk_.size) {
            item.holes.push_back({base + position, base + static_cast<std::uint32_t>(chunk_.size)});
        }
        const std::size_t old_size = pieces_data_.size();
        pieces_data_.resize(old_size + chunk_.data.size());
        std::copy(chunk_.data.begin(), chunk_.data.end(),
                  pieces_data_.begin() + static_cast<std::ptrdiff_t>(old_size));
    }
    return Status();
}

void ResyncSource::send_pieces(ContentItem& item, std::uint16_t volume, ObjectId object,
                               const FileStat& stat, std::vector<DirtyRange> pieces) noexcept {
    item.head = new_item(Item::Kind::content, volume, object);
    item.modified = stat.modified;
    Item& sent = outstanding_.back();
    sent.offset = item.offset;
    sent.size = item.size;
    sent.pieces = std::move(pieces);
    sent.bytes = pieces_data_.size();
    outstanding_bytes_ += sent.bytes;
    progress_.bytes_sent += pieces_data_.size();
    frame_.clear();
    encode_content(item, frame_);
    send(FrameType::resync_content, pieces_data_);
}

void ResyncSource::send_hole(std::uint16_t volume, ObjectId object, const FileStat& stat,
                             std::uint64_t offset, std::uint64_t size) noexcept {
    ContentItem item;
    item.head = new_item(Item::Kind::content, volume, object);
    item.offset = offset;
    item.size = size;
    item.modified = stat.modified;
    outstanding_.back().offset = offset;
    outstanding_.back().size = size;
    frame_.clear();
    encode_content(item, frame_);
    send(FrameType::resync_content);
}

void ResyncSource::send_content(std::uint16_t volume, ObjectId object,
                                const FileStat& stat) noexcept {
    ContentItem item;
    item.head = new_item(Item::Kind::content, volume, object);
    item.offset = chunk_.offset;
    item.size = chunk_.size;
    item.modified = stat.modified;
    item.segments = chunk_.segments;
    Item& sent = outstanding_.back();
    sent.offset = chunk_.offset;
    sent.size = chunk_.size;
    sent.bytes = chunk_.data.size();
    outstanding_bytes_ += sent.bytes;
    progress_.bytes_sent += chunk_.data.size();
    frame_.clear();
    encode_content(item, frame_);
    send(FrameType::resync_content, chunk_.data);
}

void ResyncSource::send_check(std::uint16_t volume, ObjectId object) noexcept {
    CheckItem item;
    item.head = new_item(Item::Kind::check, volume, object);
    item.offset = chunk_.offset;
    item.size = chunk_.size;
    Item& sent = outstanding_.back();
    sent.blocks = chunk_.block_digests();
    item.digest = digest_of(chunk_.size, sent.blocks);
    sent.offset = chunk_.offset;
    sent.size = chunk_.size;
    sent.bytes = chunk_.size / kCheckWeight;
    outstanding_bytes_ += sent.bytes;
    progress_.bytes_compared += chunk_.size;
    frame_.clear();
    encode_check(item, frame_);
    send(FrameType::resync_check);
}

}  // namespace gemel
