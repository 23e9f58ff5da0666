// SPDX-License-Identifier: Apache-2.0
// A directory as a volume of objects. Everything is addressed by ObjectId; the id is kept in the
// extended attribute trusted.gemel.id of each object (identity.hpp) and led back to the inode by an
// index of file handles (object_index.hpp), so it outlives renames, remounts and restarts.
//
// All calls are synchronous and belong to the loop's thread. They carry out changes as root; who
// may do what was decided by the kernel at the mount. The tree is reached through `root`, a
// descriptor opened before the path was covered by a mount.
//
// Layout inside the root: `.gemel/` (never shown, never replicated as a name) holds `orphans/`
// (object 2), `detached/` (object 3), `incoming/` (object 4) and `staging/` (objects being made,
// and what is being removed in the background). `lost+found` in the root belongs to the file system
// and is treated alike. A name on another device answers EXDEV.
//
// Objects under excluded names are local: this node's own, for which the other node has nothing. An
// object is local exactly while its path is excluded; its identity remembers it, so that an op by
// id needs no path, and is put right whenever the object is met by name. See docs/exclude.md.
//
// Invariants: an object has its id before it has a name; an id whose attribute does not carry this
// inode's own handle is not an id (a copy of an object is a new object); `trusted.gemel.*` is
// neither listed, read nor set through the calls below.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/vfs.hpp"
#include "engine/store/exclude_list.hpp"
#include "engine/store/op.hpp"
#include "engine/store/volume.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

struct ListedEntry {
    std::string name;
    ObjectId id;
    std::uint32_t mode = 0;
    std::uint64_t next = 0;
    FileStat stat;
    bool local = false;  // kept by this node for itself
};

class DirectoryVolume : public Volume {
   public:
    struct Options {
        Uuid volume_id;                    // none: taken over from the root's attribute, or refused
        std::string_view state_directory;  // absolute; its index/ is made if missing
        std::uint16_t index = 0;           // Op::volume
        std::size_t open_files_max = 1024;  // descriptors kept open at once
        ExcludeList exclude;                // names kept per node
    };

    // Requires: `root` is an open directory; it becomes the volume's own. Makes `.gemel/` and gives
    // the root its id where they are missing. Errors: unsupported (no trusted xattrs or no file
    // handles here), foreign (the root belongs to another volume: see foreign_volume_id), errno.
    static Result<std::unique_ptr<DirectoryVolume>> open(Loop& loop, LogSink& log, Fd root,
                                                         const Options& options) noexcept;
    // The volume id that a directory carries, or none where it has no identity of its own; what a
    // refusal names. unsupported: no trusted attributes here.
    static Result<Uuid> volume_id_of(Vfs& vfs, Fd root) noexcept;

    [[nodiscard]] DirectoryVolume* as_directory() noexcept final { return this; }

    // --- Reading -----------------------------------------------------------------------------
    // A name without an id (foreign change, first synchronisation) gets one if this node serves
    // (see set_allotment), else the answer is corrupt. ENOENT, ENOTDIR, ESTALE.
    virtual Result<Attributes> lookup(ObjectId parent, std::string_view name) noexcept = 0;
    virtual Result<ByteBuffer> read_link(ObjectId object) noexcept = 0;
    // Appends at most `count_max` entries after `position` (0: start). None appended: the end.
    // While this node does not serve, a name without a valid id is listed with id none.
    virtual Status list(ObjectId directory, std::uint64_t position, std::size_t count_max,
                        std::vector<ListedEntry>& entries) noexcept = 0;
    // data_fd() is of regular files, O_NOATIME. A pinned one stays until unpin.
    virtual Result<Fd> pin(ObjectId object) noexcept = 0;
    virtual void unpin(ObjectId object) noexcept = 0;
    virtual Result<std::size_t> get_xattr(ObjectId object, std::string_view name,
                                          MutableBytes buffer) noexcept = 0;
    virtual Result<std::vector<std::string>> list_xattrs(ObjectId object) noexcept = 0;
    virtual Result<FileSystemStat> stat_file_system() noexcept = 0;
    virtual Result<std::uint64_t> seek(ObjectId object, std::uint64_t offset,
                                       int whence) noexcept = 0;
    // Data were written to it that are not known to be on the disk.
    [[nodiscard]] virtual bool is_unsynced(ObjectId object) const noexcept = 0;

    // --- Changing ----------------------------------------------------------------------------
    // New objects get ids (tag, first), (tag, first + 1), ... . Requires before any create.
    // Tag 0 ends it: this node does not serve any more.
    virtual void set_allotment(std::uint32_t tag, std::uint64_t first_sequence) noexcept = 0;
    // The id that the next create gets; the caller makes its intent durable before.
    [[nodiscard]] virtual ObjectId next_id() const noexcept = 0;
    // Fills in what can be known of a request before it is executed and what its intents depend
    // on: its scope, the object a name stands for (unlink, rename), the replaced object. No effect
    // on disk. EXDEV: the op would join names of this node's own with mirrored ones.
    virtual Status prepare(Op& op) noexcept = 0;
    // Carries a request out on the serving node and fills op.resolved (and op.object for create).
    // A short write shortens op.size and op.data. Errors leave the tree as it was, except where a
    // write, allocate or copy_range failed in the middle (the caller mends the peer from here).
    virtual Status execute(Op& op) noexcept = 0;

    // --- For a resync's target (engine-internal; see docs/resync.md) ----------------------------
    // Makes an object of the given type with this id and no name but its place in detached/.
    virtual Status make_skeleton(ObjectId id, std::uint32_t type_mode, std::uint64_t special_device,
                                 Bytes link_target) noexcept = 0;
    // The name in `parent` without following identity rules: id is none where it has no valid one.
    virtual Result<Attributes> lookup_raw(ObjectId parent, std::string_view name) noexcept = 0;
    // Gives the existing object at parent/name this id (adoption of an older copy by path).
    virtual Status adopt(ObjectId parent, std::string_view name, ObjectId id) noexcept = 0;
    // Puts the object under this name: moves a directory, links another kind (out of detached/:
    // moves).
    virtual Status place(ObjectId id, ObjectId parent, std::string_view name) noexcept = 0;
    // Takes a name away without destroying what it stands for: the last name moves to detached/.
    virtual Status detach(ObjectId parent, std::string_view name) noexcept = 0;
    // Takes everything that is in detached/ now away for good: at once, whatever it is, and in the
    // background, a bounded amount of work a turn, out of staging/.
    virtual Status discard_detached() noexcept = 0;
    // Removes everything in orphans/ (or incoming/) for good.
    virtual Status empty_directory(ObjectId directory) noexcept = 0;
    // Sets mode, owner, times, size and all xattrs and ACLs to exactly these.
    struct FullAttributes {
        FileStat stat;
        std::vector<std::pair<std::string, ByteBuffer>> xattrs;
    };
    // Of a directory other than the root: the directory that it stands in. not_found: that is none
    // of the volume's tree (a private one).
    virtual Result<ObjectId> parent_of(ObjectId directory) noexcept = 0;
    virtual Result<FullAttributes> full_attributes(ObjectId id) noexcept = 0;
    virtual Status set_full_attributes(ObjectId id, const FullAttributes& attributes) noexcept = 0;

    // A directory of this node's own in `.gemel/`: for what is kept beside the tree, on its file
    // system. Where it is missing it is made, or, unless `make`, the answer is not_found.
    virtual Result<ScopedFd> private_directory(std::string_view name, bool make) noexcept = 0;

    // --- For changes that somebody else has made (engine/mirror/change_source.hpp) -------------
    struct ChangedObject {
        ObjectId id;
        ScopedFd file;  // O_PATH
    };
    // Called with the id of each mirrored object that was there without one and has been given it,
    // inside the call that met it.
    virtual void set_found_handler(std::function<void(ObjectId)> handler) noexcept = 0;
    // The mirrored object that this handle of its file system leads to; a change of it that is
    // being made at the moment is waited for. not_found: it is gone, or none of the mirror's.
    virtual Result<ChangedObject> find_changed(const FileHandle& handle) noexcept = 0;

    // --- Repair --------------------------------------------------------------------------------
    // Walks the whole tree and writes the index of handles from the attributes found. open() does
    // so by itself after a crash of the machine or when the index is missing.
    virtual Status rebuild_index() noexcept = 0;
};

}  // namespace gemel
