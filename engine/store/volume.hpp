// SPDX-License-Identifier: Apache-2.0
// What replication and resynchronisation need of a volume, whichever kind it is: a directory tree
// (directory_volume.hpp), or one object of bytes (block_volume.hpp). Objects are addressed by
// ObjectId; the kinds share ops, intents, dirty map and resync.
//
// All calls belong to the loop's thread.
#pragma once

#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"
#include "engine/store/op.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace gemel {

class BlockVolume;
class DirectoryVolume;

struct Attributes {
    ObjectId id;
    FileStat stat;  // inode and device are the backing file system's, never shown to applications
};

class Volume {
   public:
    virtual ~Volume() = default;

    // The volume as what it is; null: it is of another kind.
    [[nodiscard]] virtual DirectoryVolume* as_directory() noexcept { return nullptr; }
    [[nodiscard]] virtual BlockVolume* as_block() noexcept { return nullptr; }

    [[nodiscard]] virtual Uuid id() const noexcept = 0;
    // Becomes part of another volume (first synchronisation): every old id is void from here on.
    virtual Status adopt_volume_id(const Uuid& id) noexcept = 0;
    // True when it holds nothing that would be mirrored.
    virtual Result<bool> is_empty() noexcept = 0;
    // At open it carried this volume's id, but is not what it was given to: a restored or copied
    // one that has to be compared whole.
    [[nodiscard]] virtual bool was_restored() const noexcept = 0;

    virtual Result<Attributes> attributes(ObjectId object) noexcept = 0;
    // There is such an object, and it is mirrored.
    [[nodiscard]] virtual bool exists(ObjectId id) noexcept = 0;
    // The object is this node's own. False for what is not there.
    [[nodiscard]] virtual bool is_local(ObjectId) noexcept { return false; }
    // Some names are excluded: ops may have another scope than mirrored.
    [[nodiscard]] virtual bool keeps_names() const noexcept { return false; }
    // A descriptor of the object's content, valid until the next call on this volume or the loop's
    // next turn; the volume closes it.
    virtual Result<Fd> data_fd(ObjectId object) noexcept = 0;
    // Carries a resolved op out on a secondary, exactly. Any failure means this copy differs now.
    virtual Status apply(const Op& op) noexcept = 0;

    // --- Durability --------------------------------------------------------------------------
    // Descriptors whose sync makes the object and the names that lead to it since the last
    // sync of everything durable; pinned until the given objects are unpinned by finish_sync.
    struct SyncPlan {
        std::vector<Fd> files;
        Fd content;  // the one of them that holds content; closed: none does
        std::vector<ObjectId> pinned;
        std::vector<ObjectId> named;  // objects whose new names the plan makes durable
        std::uint64_t mark = 0;       // changes up to here are covered
    };
    virtual Result<SyncPlan> plan_sync(ObjectId object) noexcept = 0;
    virtual void finish_sync(const SyncPlan& plan, Status outcome) noexcept = 0;
    // What a sync of everything has to sync, for a Job: held for the daemon's life, so that every
    // writeback error since is reported.
    struct SyncTarget {
        Fd file;
        bool whole_file_system = false;
    };
    virtual void add_sync_targets(std::vector<SyncTarget>& targets) noexcept = 0;
    // Around a sync of everything: take the mark before it begins, hand it back when it has ended
    // well. Names and data up to the mark need no sync of their own any more.
    [[nodiscard]] virtual std::uint64_t sync_mark() const noexcept { return 0; }
    virtual void names_synced(std::uint64_t) noexcept {}
    // True when most descriptors kept open hold data not yet synced: a sync of everything now, off
    // the loop, spares one on the loop when they run out.
    [[nodiscard]] virtual bool wants_sync() const noexcept { return false; }
    // Called (inside a call on the volume) when such a sync on the loop failed: none of what was
    // written since the last good one can be relied on.
    virtual void set_writeback_failure_handler(std::function<void(Status)>) noexcept {}
};

}  // namespace gemel
