// SPDX-License-Identifier: Apache-2.0
// Listings: which directory is next (from the root downwards, docs/resync.md A5), the children that
// the target lacks, and the listing itself in one turn.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "resync/source.hpp"

#include <sys/stat.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kListBatch = 1024;
// After so many passes over a directory in which objects keep appearing, it is listed at any cost.
constexpr unsigned kPassesMax = 3;

bool is_gone(Status status) noexcept {
    return status.is_errno(ENOENT) || status.is_errno(ESTALE) || status.code() == Code::not_found;
}

}  // namespace

bool ResyncSource::names_step(std::uint16_t volume) noexcept {
    if (scan_.active && scan_.volume != volume) return false;
    if (!scan_.active) return choose_directory(volume);
    scan_step();
    return true;
}

// Begins the listing of the highest dirty directory above (or at) the next dirty one.
bool ResyncSource::choose_directory(std::uint16_t volume) noexcept {
    DirtyMap& dirty = map(volume);
    VolumeState& state = volumes_[volume];
    ObjectId next = dirty.next_names_after(state.names_cursor);
    if (next.is_none()) next = dirty.next_names_after(kNoObject);
    if (next.is_none()) {
        // Every directory that a listing has named has been listed itself.
        if (dirty.is_full()) dirty.end_full();
        return false;
    }
    state.names_cursor = next;
    const ObjectId highest = highest_dirty(volume, next);
    if (highest.is_none()) return true;
    if (dirty.is_absent(highest)) {
        // Known to be there by its parent's clean listing, or made and compared from there.
        send_object(volume, highest, kNoObject, {});
        return true;
    }
    scan_ = Scan();
    scan_.active = true;
    scan_.volume = volume;
    scan_.directory = highest;
    if (read_children()) scan_step();
    return true;
}

// None: the directory is gone or stands nowhere, and is forgotten.
ObjectId ResyncSource::highest_dirty(std::uint16_t volume, ObjectId directory) noexcept {
    DirtyMap& dirty = map(volume);
    ObjectId highest;
    ObjectId current = directory;
    for (;;) {
        if (dirty.names_dirty(current) || dirty.is_absent(current)) highest = current;
        if (current == kRootObject || current == kOrphanDirectory) return highest;
        const Result<ObjectId> parent = replica_.directory(volume).parent_of(current);
        if (parent.ok()) {
            current = parent.value();
            continue;
        }
        if (is_gone(parent.status())) {
            GEMEL_PROBE("resync: a directory with dirty names stands nowhere");
            dirty.forget(directory);
        } else if (parent.status().is_errno(ENOTDIR)) {
            dirty.clear_names(directory);  // no directory: it has no names
        } else {
            fail(parent.status(), "a directory could not be read");
        }
        return kNoObject;
    }
}

bool ResyncSource::lost_directory(Status status) noexcept {
    GEMEL_ASSERT(!status.ok());
    const std::uint16_t volume = scan_.volume;
    const ObjectId directory = scan_.directory;
    scan_ = Scan();
    if (is_gone(status) && directory != kRootObject) {
        map(volume).forget(directory);
    } else {
        fail(status, "a directory could not be read");
    }
    return false;
}

bool ResyncSource::read_children() noexcept {
    scan_.children.clear();
    scan_.next = 0;
    scan_.turn = turn_;
    ++scan_.passes;
    std::vector<ListedEntry> batch;
    std::uint64_t position = 0;
    for (;;) {
        batch.clear();
        const Status status =
            replica_.directory(scan_.volume).list(scan_.directory, position, kListBatch, batch);
        if (!status.ok()) return lost_directory(status);
        if (batch.empty()) return true;
        position = batch.back().next;
        turn_bytes_ += batch.size() * 64;
        for (ListedEntry& entry : batch) {
            if (entry.local) continue;
            if (!entry.id.is_none()) scan_.children.push_back({std::move(entry.name), entry.id});
        }
    }
}

// Sends the missing children of the directory as long as the turn lasts; when none is left, all
// seen in this same turn, the listing.
void ResyncSource::scan_step() noexcept {
    DirtyMap& dirty = map(scan_.volume);
    if (!dirty.names_dirty(scan_.directory)) {
        scan_ = Scan();
        return;
    }
    if (scan_.turn != turn_ && scan_.next == scan_.children.size() && !read_children()) return;
    const bool at_any_cost = scan_.passes > kPassesMax && scan_.turn == turn_;
    while (scan_.next < scan_.children.size()) {
        const Child& child = scan_.children[scan_.next];
        if (dirty.is_absent(child.id)) {
            if (!at_any_cost && (turn_over() || !may_send())) return;
            send_object(scan_.volume, child.id, scan_.directory, child.name);
            if (state_ != State::working) return;
        }
        ++scan_.next;
    }
    if (scan_.turn != turn_) return;  // the next step reads it again
    // A directory above may have become dirty since this one was chosen.
    const std::uint16_t volume = scan_.volume;
    const ObjectId directory = scan_.directory;
    if (highest_dirty(volume, directory) == directory) {
        send_listing();
    } else {
        GEMEL_PROBE("resync: a directory above became dirty");
    }
    scan_ = Scan();
}

void ResyncSource::send_listing() noexcept {
    const Result<Attributes> now = replica_.volume(scan_.volume).attributes(scan_.directory);
    if (!now.ok()) {
        lost_directory(now.status());
        return;
    }
    NamesItem item;
    item.head = new_item(Item::Kind::names, scan_.volume, scan_.directory);
    item.accessed = now->stat.accessed;
    item.modified = now->stat.modified;
    item.first = true;
    std::size_t size = 0;
    const auto flush = [&](bool last) {
        item.last = last;
        frame_.clear();
        encode_names(item, frame_);
        send(FrameType::resync_names);
        item.first = false;
        item.entries.clear();
        size = 0;
    };
    for (const Child& child : scan_.children) {
        item.entries.emplace_back(child.name, child.id);
        size += child.name.size() + 12;
        if (size >= kNamesFrameSize) flush(false);
    }
    flush(true);
    map(scan_.volume).clear_names(scan_.directory);
    contents_wanted_ = contents_done_ + scan_.children.size();
}

}  // namespace gemel
