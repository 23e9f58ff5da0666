// SPDX-License-Identifier: Apache-2.0
// What both nodes of a verify make of the same unit: digests, and descriptions of what a digest
// stands for. Left out is what is each node's own: names and objects kept per node, access and
// change times, link counts (the names say which links there are), sizes of directories.
#pragma once

#include "engine/store/directory_volume.hpp"
#include "resync/verify_messages.hpp"
#include "resync/verify_report.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace gemel {

// A file system's "there is no such object (any more)".
[[nodiscard]] bool is_gone(Status status) noexcept;

// Of a directory's names, in whatever order they are met.
struct NamesDigest {
    Digest128 digest;
    std::uint64_t count = 0;

    void add(std::string_view name, ObjectId id);
    friend bool operator==(const NamesDigest&, const NamesDigest&) noexcept = default;
};

struct ObjectDescription {
    struct Xattr {
        std::string name;
        std::uint64_t size = 0;
        Digest128 digest;
        ByteBuffer value;  // a short one's; of a long one its beginning
    };
    std::uint32_t mode = 0, uid = 0, gid = 0;
    std::uint64_t device = 0;  // device nodes
    std::uint64_t size = 0;    // regular files
    WallTime modified;
    ByteBuffer link_target;
    std::vector<Xattr> xattrs;  // sorted by name
};
// Errors: is_gone() of those that are not there, or are none of the mirror's; the disk's.
Result<ObjectDescription> describe_object(DirectoryVolume& volume, ObjectId object) noexcept;
void encode_description(const ObjectDescription& description, ByteBuffer& payload);
Result<ObjectDescription> decode_description(Bytes payload) noexcept;
[[nodiscard]] Digest128 digest_of(const ObjectDescription& description);
// Each attribute that differs, with both values.
std::vector<VerifyDetail> differences(const ObjectDescription& here,
                                      const ObjectDescription& there);

// Reads the unit's range into `chunk`: of a block volume, what is allocated does not count.
// Requires: as read_chunk(); nothing is under way there in a block volume.
Status read_for_verify(Vfs& vfs, Volume& volume, const VerifyUnit& unit, Chunk& chunk) noexcept;
// Of each block of a chunk.
std::vector<BlockMark> block_marks(const Chunk& chunk);

}  // namespace gemel
