// SPDX-License-Identifier: Apache-2.0
// The identity of an object as it is kept with the object itself, in the extended attribute
// trusted.gemel.id (docs/on-disk.md): volume id, object id, the inode's own file handle, checksum.
//
// The handle is what makes it an identity: programs run by root copy `trusted.` attributes (cp -a,
// rsync -X, tar, restores of backups), and then two inodes carry the same id. Only the inode whose
// handle stands in the attribute owns the id; the others have none.
//
// An object that is kept by this node for itself (docs/exclude.md) says so by its version.
//
// Encoded (little-endian): version 1 (2: local), handle size 1, handle type 2, volume 16, object 8,
// handle, checksum 8. On ext4 44 bytes, so that it stays inside a 256-byte inode.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"

#include <cstddef>
#include <string_view>

namespace gemel {

inline constexpr std::string_view kIdentityAttribute = "trusted.gemel.id";
// Nothing below this prefix is listed, read or set through a volume.
inline constexpr std::string_view kPrivateAttributePrefix = "trusted.gemel.";

struct Identity {
    static constexpr std::uint8_t kVersion = 1;
    static constexpr std::uint8_t kVersionLocal = 2;
    static constexpr std::size_t kSizeFixed = 1 + 1 + 2 + 16 + 8 + 8;
    static constexpr std::size_t kSizeMax = kSizeFixed + FileHandle::kSizeMax;

    Uuid volume;
    ObjectId object;
    FileHandle handle;
    bool local = false;  // this node's own: not mirrored

    friend bool operator==(const Identity&, const Identity&) noexcept = default;
};

// Appends the attribute's value to `buffer`. Requires: an object, a handle type that fits 16 bits
// (the kernel's fileid_type is one byte).
void encode_identity(const Identity& identity, ByteBuffer& buffer) noexcept;
// corrupt: damaged or not ours. foreign: a later format.
Result<Identity> decode_identity(Bytes value) noexcept;

// The identity attribute of an open object as it stands, whoever owns it. not_found: there is none,
// or none that can be read as one (damage is not told apart: both need a new id).
Result<Identity> read_identity(Vfs& vfs, Fd file) noexcept;
Status write_identity(Vfs& vfs, Fd file, const Identity& identity) noexcept;

}  // namespace gemel
