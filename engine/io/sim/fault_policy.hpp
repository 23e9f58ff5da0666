// SPDX-License-Identifier: Apache-2.0
// Errors of a simulated disk, decided call by call. A policy is consulted before a call of the
// process's Vfs takes effect; a call that gets an errno has no effect, except that a sync failing
// may throw away what it should have written.
//
// After a failed sync with lost pages the disk behaves as Linux does: the cache still shows the
// new content, the pages count as clean, the next sync succeeds, and once a page has been evicted
// the old content is read back. FileSystem::evict_lost_pages evicts; reads do it at random.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace gemel::sim {

class FileSystem;

enum class VfsCall : std::uint8_t {
    open,
    close,
    stat,
    stat_file_system,
    read,
    write,
    truncate,
    allocate,
    seek,
    copy,
    sync,
    sync_file_system,
    make,
    link,
    unlink,
    rename,
    read_link,
    list,
    locate,
    handle,
    set_attributes,
    get_xattr,
    set_xattr,
    drop_cache,
};

std::string_view vfs_call_name(VfsCall call) noexcept;

struct VfsFaultPoint {
    VfsCall call = VfsCall::open;
    const FileSystem* file_system = nullptr;  // null: open_directory has not found one
    std::uint64_t inode = 0;             // of the descriptor given; of a new name its directory
    std::uint64_t offset = 0, size = 0;  // of a transfer
};

struct VfsFault {
    int error = 0;            // errno to answer; 0: none
    bool lose_pages = false;  // sync, sync_file_system: what is dirty there is lost
    // read, write: transfer at most this much (at least 1). 0: no limit.
    std::uint64_t size_max = 0;
};

class FaultPolicy {
   public:
    virtual ~FaultPolicy() = default;
    virtual VfsFault before(const VfsFaultPoint& point) noexcept = 0;
};

// Answers an errno to chosen calls by their number.
class ScriptedFaults final : public FaultPolicy {
   public:
    struct Rule {
        VfsCall call = VfsCall::write;
        const FileSystem* file_system = nullptr;  // null: any
        std::uint64_t skip = 0;                   // so many matching calls first go well
        std::uint64_t count = 1;                  // then so many fail; kForEver
        VfsFault fault;
    };
    static constexpr std::uint64_t kForEver = ~std::uint64_t{0};

    void add(const Rule& rule) { rules_.push_back(rule); }
    void clear() noexcept { rules_.clear(); }
    // Faults answered so far.
    [[nodiscard]] std::uint64_t hits() const noexcept { return hits_; }
    VfsFault before(const VfsFaultPoint& point) noexcept override;

   private:
    std::vector<Rule> rules_;
    std::uint64_t hits_ = 0;
};

}  // namespace gemel::sim
