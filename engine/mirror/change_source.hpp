// SPDX-License-Identifier: Apache-2.0
// Changes of the volumes' file systems that did not come through the engine: what another mount,
// a shell or a program did below the mirror's mount, also while this process was not running. The
// engine defines the interface; ebpf/ implements it on a kernel.
//
// A record is taken in two steps, and the order keeps the promise that none is missed
// (protocol.md 18, docs/tracking.md): take() closes the record, later changes go to the next one;
// then the caller writes the file systems back (which makes stores through mappings raise events
// again), waits for changes in progress on each object that it looks at, and reads; and only when
// it has a durable note of all of them, confirm(). What was not confirmed is in the next record
// again, also after a crash of this process.
#pragma once

#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"
#include "engine/store/dirty_map.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

// Changes of content are recorded so precisely, no finer.
inline constexpr std::uint64_t kTrackedUnit = 64 * kKiB;
static_assert(kTrackedUnit % kDirtyUnit == 0);

// Who changed an object first.
struct Changer {
    std::string command;  // its thread's name, at most 15 bytes
    std::uint32_t pid = 0;
    std::uint32_t uid = 0;
};

struct ObjectChange {
    std::size_t file_system = 0;  // as watch() numbered it
    FileHandle handle;            // for Vfs::open_by_handle; ESTALE: it is gone
    bool attributes = false;      // size, mode, owner, times, extended attributes
    bool names = false;           // of a directory
    // Content; sorted, apart from each other, rounded outwards to kTrackedUnit. All of it: one
    // range from 0 to kEndOfObject.
    std::vector<DirtyRange> ranges;
    std::uint64_t bytes = 0;   // sum of the lengths of the changes: an estimate for people
    std::uint64_t events = 0;  // how many there were, likewise
    Changer changer;
};

struct ChangeRecord {
    std::vector<ObjectChange> objects;
    // File systems of which changes are missing in `objects`: everything has to be compared.
    std::vector<std::size_t> incomplete;
};

// How precisely changes were recorded since the programs were loaded.
struct ChangeCounters {
    std::uint64_t objects_lost = 0;    // no room for the object: its file system is incomplete
    std::uint64_t ranges_widened = 0;  // no room for the range: all of the object's content
    std::uint64_t runs_missed = 0;     // skipped by the kernel: everything is incomplete
};

class ChangeSource {
   public:
    virtual ~ChangeSource() = default;

    // Watches the file system that `directory` is on, from now on at the latest, and gives it a
    // number; the same one for another directory on it. The descriptor stays the caller's. Errors:
    // unsupported, `why` says what about it (for people).
    virtual Result<std::size_t> watch(int directory, std::string& why) noexcept = 0;
    // Since when the file system has been watched without a gap. Earlier than this process: what
    // changed while nobody ran is in the first record.
    [[nodiscard]] virtual WallTime watched_since(std::size_t file_system) const noexcept = 0;
    // There may be something to take. Costs nothing; loop's thread.
    [[nodiscard]] virtual bool has_news() noexcept = 0;
    // Closes the record and appends what is in it. Waits for the kernel: on a worker, one call of
    // this and confirm() at a time. Errors: the kernel's; nothing is lost by them.
    virtual Status take(ChangeRecord& record) noexcept = 0;
    // Everything of the last take() is safe elsewhere.
    virtual Status confirm() noexcept = 0;
    [[nodiscard]] virtual ChangeCounters counters() const noexcept = 0;
    // "raw tracepoints": by what changes are seen.
    [[nodiscard]] virtual std::string description() const = 0;
};

}  // namespace gemel
