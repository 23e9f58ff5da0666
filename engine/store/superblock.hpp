// SPDX-License-Identifier: Apache-2.0
// The durable facts of one mirror on one node: whose state this is, the volumes' ids, the last
// register value this node has seen, its incarnation, its histories. Two slots written in turn,
// each with a generation and a checksum, so a torn write leaves the other. docs/on-disk.md.
#pragma once

#include "engine/base/checksum.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

// A node's participation between two losses of its memory: drawn when it joins the in-sync set,
// void as soon as the boot id is another (protocol.md 1).
struct Incarnation {
    Uuid boot;
    Uuid number;

    friend bool operator==(const Incarnation&, const Incarnation&) noexcept = default;
};

struct SuperblockVolume {
    std::string path;
    Uuid volume_id;
    bool must_compare = false;  // released, or restored: the next synchronisation compares all
};

struct Superblock {
    static constexpr std::uint32_t kVersion = 3;  // 2: without `excluded`; still read
    static constexpr std::size_t kHistoriesMax = 16;

    std::string cluster, mirror, node;
    std::uint64_t epoch = 0;  // highest epoch of the register that this node acted on
    Incarnation incarnation;
    // Newest first. histories[0] names the content of this copy; a new one is drawn at the first
    // write carried out alone (protocol.md 3). A copy may become the target of another whose list
    // contains its histories[0]; else both have served apart from each other.
    std::vector<Uuid> histories;
    bool history_is_shared = true;         // another copy may carry histories[0]
    bool served_alone_unrecorded = false;  // reserved for forced promotions: never forgotten
    bool is_consistent = true;             // false while this copy is being filled by a resync
    // ExcludeList::digest of the names that were kept per node when this was written.
    Digest128 excluded;
    std::vector<SuperblockVolume> volumes;

    friend bool operator==(const Superblock&, const Superblock&) noexcept = default;
};
bool operator==(const SuperblockVolume&, const SuperblockVolume&) noexcept;

class SuperblockFile {
   public:
    // `directory` is the mirror's state directory and stays the caller's. not_found: there is none
    // yet. corrupt: neither slot is intact. foreign: a format this program does not know.
    static Result<Superblock> read(Vfs& vfs, Fd directory) noexcept;
    // Writes the older slot and syncs it and, when the file is new, the directory. Waits for the
    // disk. On an error the previous state is intact on disk.
    static Status write(Vfs& vfs, Fd directory, const Superblock& superblock) noexcept;
};

}  // namespace gemel
