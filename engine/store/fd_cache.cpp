// SPDX-License-Identifier: Apache-2.0
// Each entry is in exactly one of three lists; moving between them is O(1).
#include "engine/store/fd_cache.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"

#include <utility>
#include <vector>

namespace gemel {

FdCache::~FdCache() {
    while (!entries_.empty()) drop(*entries_.begin()->second);
    for (const Fd fd : buried_) vfs_.close(fd);
}

FdCache::Entry* FdCache::entry_of(ObjectId id) noexcept {
    const auto found = entries_.find(id);
    return found == entries_.end() ? nullptr : found->second.get();
}

FdCache::List* FdCache::list_of(const Entry& entry) noexcept {
    if (entry.pins > 0) return &pinned_;
    return entry.written != 0 ? &unsynced_ : &clean_;
}

void FdCache::enlist(Entry& entry) noexcept { list_of(entry)->push_back(entry); }

void FdCache::delist(Entry& entry, List* list) noexcept { list->remove(entry); }

void FdCache::set_written(Entry& entry, std::uint64_t mark) noexcept {
    if ((entry.written != 0) != (mark != 0)) {
        if (mark != 0) {
            ++unsynced_count_;
        } else {
            --unsynced_count_;
        }
    }
    delist(entry, list_of(entry));
    entry.written = mark;
    enlist(entry);
}

void FdCache::drop(Entry& entry) noexcept {
    if (entry.written != 0) --unsynced_count_;
    delist(entry, list_of(entry));
    if (entry.fd.is_open()) vfs_.close(entry.fd);
    entries_.erase(entry.id);
}

Fd FdCache::find(ObjectId id, Kind kind) noexcept {
    Entry* entry = entry_of(id);
    if (entry == nullptr || (kind != Kind::path && entry->kind != kind)) return {};
    delist(*entry, list_of(*entry));
    enlist(*entry);
    return entry->fd;
}

void FdCache::insert(ObjectId id, Fd fd, Kind kind) noexcept {
    GEMEL_ASSERT(fd.is_open());
    std::uint32_t pins = 0;
    if (Entry* old = entry_of(id); old != nullptr) {
        if (old->gone) {
            // Its pinners hold the number of the descriptor: it stays open for the cache's life.
            GEMEL_PROBE("fd cache: an id comes back while its old object is pinned");
            pins = old->pins;
            buried_.push_back(std::exchange(old->fd, Fd{}));
        } else {
            // Only a path descriptor can be weaker, and nobody pins those.
            GEMEL_ASSERT(old->kind == Kind::path && old->pins == 0);
        }
        drop(*old);
    }
    auto entry = std::make_unique<Entry>();
    entry->id = id;
    entry->fd = fd;
    entry->kind = kind;
    entry->pins = pins;
    enlist(*entry);
    entries_.emplace(id, std::move(entry));
}

void FdCache::set_local(ObjectId id, bool local) noexcept {
    if (Entry* entry = entry_of(id); entry != nullptr) entry->local = local;
}

bool FdCache::is_local(ObjectId id) const noexcept {
    const auto found = entries_.find(id);
    return found != entries_.end() && found->second->local;
}

bool FdCache::is_unsynced(ObjectId id) const noexcept {
    const auto found = entries_.find(id);
    return found != entries_.end() && found->second->written != 0;
}

void FdCache::forget(ObjectId id) noexcept {
    Entry* entry = entry_of(id);
    if (entry == nullptr) return;
    if (entry->pins == 0) {
        drop(*entry);
    } else {
        entry->gone = true;
        set_written(*entry, 0);  // nothing that a sync could save for anybody
    }
}

void FdCache::forget_all() noexcept {
    for (Entry* entry = pinned_.front(); entry != nullptr; entry = pinned_.next(*entry)) {
        entry->gone = true;
    }
    while (Entry* entry = clean_.front()) drop(*entry);
    while (Entry* entry = unsynced_.front()) drop(*entry);
}

void FdCache::forget_if(const std::function<bool(Fd)>& is_gone) noexcept {
    std::vector<ObjectId> gone;
    for (const auto& [id, entry] : entries_) {
        if (is_gone(entry->fd)) gone.push_back(id);
    }
    for (const ObjectId id : gone) forget(id);
}

void FdCache::pin(ObjectId id) noexcept {
    Entry* entry = entry_of(id);
    GEMEL_ASSERT(entry != nullptr && entry->kind != Kind::path);
    delist(*entry, list_of(*entry));
    ++entry->pins;
    enlist(*entry);
}

void FdCache::unpin(ObjectId id) noexcept {
    Entry* entry = entry_of(id);
    GEMEL_ASSERT(entry != nullptr && entry->pins > 0);
    delist(*entry, list_of(*entry));
    --entry->pins;
    enlist(*entry);
    if (entry->gone && entry->pins == 0) drop(*entry);
}

void FdCache::note_write(ObjectId id, std::uint64_t mark) noexcept {
    GEMEL_ASSERT(mark != 0);
    Entry* entry = entry_of(id);
    GEMEL_ASSERT(entry != nullptr && entry->kind == Kind::data);
    if (!entry->gone) set_written(*entry, mark);
}

void FdCache::note_synced(ObjectId id, std::uint64_t mark) noexcept {
    Entry* entry = entry_of(id);
    if (entry != nullptr && entry->written != 0 && entry->written <= mark) set_written(*entry, 0);
}

void FdCache::note_all_synced(std::uint64_t mark) noexcept {
    for (List* list : {&unsynced_, &pinned_}) {
        for (Entry* entry = list->front(); entry != nullptr;) {
            Entry* next = list->next(*entry);
            // A pinned entry stays in its list, at the end: it is not met twice because its mark
            // is gone by then.
            if (entry->written != 0 && entry->written <= mark) set_written(*entry, 0);
            entry = next;
        }
    }
}

Status FdCache::trim(Fd whole) noexcept {
    Status status;
    while (entries_.size() > count_max_) {
        if (Entry* entry = clean_.front(); entry != nullptr) {
            drop(*entry);
        } else if (!unsynced_.empty()) {
            GEMEL_PROBE("fd cache: full of unsynced descriptors");
            status = vfs_.sync_file_system(whole);
            // After a failure they are no safer for being kept: the owner distrusts all of them.
            note_all_synced(~std::uint64_t{0});
        } else {
            break;  // all pinned
        }
    }
    return status;
}

}  // namespace gemel
