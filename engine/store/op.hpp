// SPDX-License-Identifier: Apache-2.0
// An op: one change of one volume, the unit that is executed, shipped, applied and acknowledged.
// A front end fills in the request fields; executing it on the serving node resolves it (ids, final
// owner, mode, ACLs, times), and what is shipped is the resolved op: a secondary never decides.
// docs/wire.md has the encoding (mirror/op_codec.hpp).
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/units.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace gemel {

enum class OpKind : std::uint8_t {
    write = 1,   // data at offset of object
    truncate,    // size of object
    allocate,    // fallocate(2): mode in flags, offset, size
    copy_range,  // from source at source_offset to object at offset, size bytes
    create,      // a new object, named name in parent (or nameless: see Op::name)
    link,        // object gets the name name in parent
    unlink,      // name in parent, which is not a directory
    remove_directory,
    rename,          // name in parent becomes new_name in new_parent; flags RENAME_*
    set_attributes,  // mode, owner, times as the mask says
    set_xattr,       // name, data; flags XATTR_*
    remove_xattr,    // name
    release_orphan,  // the last open of an unlinked object is gone: remove it for good
};

// Objects with fixed ids in every directory volume.
inline constexpr ObjectId kOrphanDirectory{2};    // unlinked objects that are still open, by hex id
inline constexpr ObjectId kDetachedDirectory{3};  // per node: what a resync took out of the tree
inline constexpr ObjectId kIncomingDirectory{4};  // objects on their way to a mirrored name
// The one object of a block volume.
inline constexpr ObjectId kBlockObject{8};
inline constexpr ObjectId kFirstObject{16};

// Bits of Op::mask for set_attributes.
enum AttributeMask : std::uint8_t {
    kSetMode = 1,
    kSetOwner = 2,  // uid and gid both
    kSetAccessed = 4,
    kSetModified = 8,
};

// Which nodes an op concerns (docs/exclude.md). Known once the op has been prepared, not encoded:
// what is shipped is the other node's part of the op.
enum class Scope : std::uint8_t {
    mirrored,   // both nodes
    local,      // this node alone: an object that is kept per node, or its name
    publishes,  // rename, link: an object of this node's own gets a mirrored name
    withdraws,  // rename, link: a mirrored object gets a name of this node's own
};

// All views point into memory of the op's owner that lives until the op has completed.
struct Op {
    OpKind kind = OpKind::write;
    Scope scope = Scope::mirrored;
    std::uint16_t volume = 0;  // index in the mirror's configuration
    ObjectId object;           // what changes; for unlink, rename: what the name stood for
    ObjectId parent, new_parent;
    std::string_view name, new_name;  // create with an empty name: an O_TMPFILE, kept as an orphan
    Bytes data;                       // written data, link target, xattr value
    std::uint64_t offset = 0, size = 0;
    ObjectId source;
    std::uint64_t source_offset = 0;
    std::uint32_t flags = 0;
    std::uint8_t mask = 0;
    bool clear_set_id = false;   // write, truncate, allocate: drop set-id bits and capabilities
    bool object_in_use = false;  // unlink, rename: a replaced or unlinked object is still open
    std::uint32_t mode = 0, uid = 0, gid = 0, umask = 0;
    std::uint64_t special_device = 0;
    WallTime accessed, modified;  // to set; for write and truncate the time of the op

    // Results of the execution, shipped with the op.
    struct Resolved {
        std::uint32_t mode = 0, uid = 0, gid = 0;  // the object's, after the op
        WallTime accessed, modified;               // the object's, after the op
        WallTime parent_modified, new_parent_modified;
        ObjectId replaced;             // rename, link target that had the new name before, or none
        bool object_orphaned = false;  // unlink: moved to the orphan directory
        bool replaced_orphaned = false;
        // unlink: that was the last name and nobody has it open; release_orphan: it had no name.
        bool object_gone = false;
        bool replaced_gone = false;
        bool nothing_changed = false;        // set_attributes: but for the change time (st_ctime)
        ByteBuffer access_acl, default_acl;  // create: system.posix_acl_*, empty where none
    } resolved;
};

}  // namespace gemel
