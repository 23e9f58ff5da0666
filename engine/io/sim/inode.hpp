// SPDX-License-Identifier: Apache-2.0
// What a simulated file system keeps of one object. `InodeMeta` is changed through the metadata log
// only (durability.hpp), which can take its changes back; `InodeData` goes to disk with the pages.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/units.hpp"
#include "engine/io/sim/content.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace gemel::sim {

using XattrMap = std::map<std::string, ByteBuffer, std::less<>>;

struct InodeMeta {
    std::uint32_t mode = 0;  // with the type
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::shared_ptr<const XattrMap> xattrs;  // null: none
};

struct InodeData {
    std::uint64_t size = 0;
    WallTime accessed, modified, changed;
};

struct Entry {
    std::string name;
    std::uint64_t inode = 0;
};

struct Directory {
    // By position, which is a hash of the name (as in ext4): stable while others come and go.
    std::map<std::uint64_t, Entry> entries;
    std::uint64_t parent = 0;  // inode; 0: it is the root, or removed
    std::string name;          // in the parent
    std::uint32_t subdirectories = 0;
};

struct Inode {
    std::uint64_t number = 0;
    std::uint32_t generation = 0;
    InodeMeta meta;
    InodeData data;
    std::optional<InodeData> durable_data;  // what the disk has, where it differs
    WallTime born;
    std::uint64_t special_device = 0;
    // Of a block device that is there: what transfers must be multiples of. 0: a node without one.
    std::uint32_t logical_block = 0;
    bool is_claimed = false;  // opened with O_EXCL, as long as that is open
    Content content;
    ByteBuffer link_target;
    std::unique_ptr<Directory> directory;
    std::uint32_t names = 0;       // entries that stand for it; the root counts as named
    std::uint32_t open_count = 0;  // descriptors
    std::uint32_t log_count = 0;   // operations in the metadata log that speak of it
    bool may_be_linked = false;    // O_TMPFILE without O_EXCL, not linked yet
    bool is_listed = false;        // among the file system's dirty inodes
    // Sequence numbers in the metadata log, 0: none.
    std::uint64_t last_name_op = 0;
    std::uint64_t last_meta_op = 0;

    [[nodiscard]] bool is_gone() const noexcept { return names == 0 && open_count == 0; }
};

}  // namespace gemel::sim
