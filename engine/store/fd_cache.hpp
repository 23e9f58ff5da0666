// SPDX-License-Identifier: Apache-2.0
// Open descriptors of objects by id, least recently used ones closed first.
//
// Invariant (protocol.md 11): a descriptor through which data were written is not closed before a
// checked sync of them, because the kernel may report a failed writeback to that descriptor only.
// When nothing but such descriptors is left, the whole file system is synced through a descriptor
// held for that purpose; its failure is told to the owner before anything is closed.
//
// Loop thread only. Nothing is closed behind the owner's back: only trim(), forget() and unpin()
// close.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

namespace gemel {

class FdCache {
   public:
    enum class Kind : std::uint8_t {
        path,       // O_PATH, for attributes and names of any object
        data,       // a regular file's content
        directory,  // entries of a directory
    };

    FdCache(Vfs& vfs, std::size_t count_max) noexcept : vfs_(vfs), count_max_(count_max) {}
    ~FdCache();
    FdCache(const FdCache&) = delete;
    FdCache& operator=(const FdCache&) = delete;

    // A descriptor of the object fit for `kind` (any kind serves as path), or a closed one.
    // Counts as a use.
    Fd find(ObjectId id, Kind kind) noexcept;
    // Takes over `fd`. A weaker descriptor of the same object is closed.
    // Requires: find(id, kind) would fail, or what it finds is forgotten and still pinned.
    void insert(ObjectId id, Fd fd, Kind kind) noexcept;
    // What the object's identity says of it. Requires: an entry exists, or nothing is remembered.
    void set_local(ObjectId id, bool local) noexcept;
    [[nodiscard]] bool is_local(ObjectId id) const noexcept;
    // The object is gone, or its id void. A pinned descriptor is closed by its last unpin.
    void forget(ObjectId id) noexcept;
    void forget_all() noexcept;
    void forget_if(const std::function<bool(Fd)>& is_gone) noexcept;

    // Requires: an entry exists. A pinned descriptor is neither closed nor exchanged.
    void pin(ObjectId id) noexcept;
    void unpin(ObjectId id) noexcept;

    // Data were written through the descriptor; `mark` grows with every change of the volume.
    void note_write(ObjectId id, std::uint64_t mark) noexcept;
    // What was written up to `mark` has been synced and checked.
    void note_synced(ObjectId id, std::uint64_t mark) noexcept;
    void note_all_synced(std::uint64_t mark) noexcept;

    // Closes descriptors until at most count_max are open, pinned ones excepted. Where written ones
    // are in the way, `whole` (a descriptor of the file system) is synced, waiting for the disk;
    // returns the outcome of that, ok when it was not needed.
    Status trim(Fd whole) noexcept;

    // Data were written and not synced since.
    [[nodiscard]] bool is_unsynced(ObjectId id) const noexcept;
    [[nodiscard]] std::size_t count() const noexcept { return entries_.size(); }
    [[nodiscard]] std::size_t unsynced_count() const noexcept { return unsynced_count_; }
    [[nodiscard]] std::size_t count_max() const noexcept { return count_max_; }

   private:
    struct Entry : ListLink {
        ObjectId id;
        Fd fd;
        Kind kind = Kind::path;
        std::uint32_t pins = 0;
        std::uint64_t written = 0;  // mark of the last write not known to be synced, or 0
        bool gone = false;
        bool local = false;
    };
    using List = IntrusiveList<Entry>;

    Entry* entry_of(ObjectId id) noexcept;
    List* list_of(const Entry& entry) noexcept;
    // Puts the entry at the recent end of the list it belongs in now.
    void enlist(Entry& entry) noexcept;
    void delist(Entry& entry, List* list) noexcept;
    void set_written(Entry& entry, std::uint64_t mark) noexcept;
    void drop(Entry& entry) noexcept;

    Vfs& vfs_;
    const std::size_t count_max_;
    std::size_t unsynced_count_ = 0;
    std::unordered_map<ObjectId, std::unique_ptr<Entry>, ObjectIdHash> entries_;
    List clean_;     // unpinned, least recently used first
    List unsynced_;  // unpinned and written
    List pinned_;
    std::vector<Fd> buried_;  // of objects gone, pinned when their id came back with another inode
};

}  // namespace gemel
