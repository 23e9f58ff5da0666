// SPDX-License-Identifier: Apache-2.0
// Failing, full, slow and stuck disks of a simulated machine, chosen from a seed: what goes wrong,
// on which of its two file systems, after how many calls and for how many.
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/sim/fault_policy.hpp"
#include "engine/io/sim/node.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace gemel::sim {

class DiskFault final : public FaultPolicy {
   public:
    enum class Kind : std::uint8_t {
        full_data,    // ENOSPC on the volume
        full_state,   // ENOSPC where intent log, index and superblock are
        quota,        // EDQUOT of what needs space on the volume
        read_error,   // EIO
        write_error,  // EIO
        sync_error,   // EIO, and the pages that were to be written are lost
        names_error,  // EIO of what changes names and attributes
        state_error,  // EIO of whatever changes or syncs the state directory
        read_only,    // EROFS of every change: the kernel has remounted the volume
        slow,
        stuck,
    };
    static constexpr std::uint64_t kKindCount = 11;

    // Begins at once; ends with end() or the object. Requires: the machine outlives it.
    // `volume`: the mounted path of the volume's file system.
    DiskFault(Node& machine, Kind kind, Prng& prng, std::string_view volume);
    ~DiskFault() override;
    DiskFault(const DiskFault&) = delete;
    DiskFault& operator=(const DiskFault&) = delete;

    void end() noexcept;
    // Failed syncs are not told: what an engine does that does not look.
    void hide_failed_syncs() noexcept { hides_failed_syncs_ = true; }
    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    [[nodiscard]] static std::string_view name_of(Kind kind) noexcept;
    [[nodiscard]] std::string describe() const;
    // Answers that the disk gave wrongly.
    [[nodiscard]] std::uint64_t hits() const noexcept { return hits_; }
    // The copy can't be trusted once it has hit.
    [[nodiscard]] static constexpr bool spoils_copy(Kind kind) noexcept {
        return kind >= Kind::read_error && kind <= Kind::read_only;
    }
    [[nodiscard]] bool spoils_copy() const noexcept { return spoils_copy(kind_); }

    VfsFault before(const VfsFaultPoint& point) noexcept override;

   private:
    [[nodiscard]] bool concerns(const VfsFaultPoint& point) const noexcept;
    void fill(FileSystem& disk, Prng& prng) noexcept;

    Node& machine_;
    Kind kind_;
    FileSystem* data_;
    FileSystem* state_;
    std::uint64_t capacity_ = 0;  // of the filled file system, before
    FileSystem* filled_ = nullptr;
    std::uint64_t skip_ = 0, left_ = 0;
    std::uint64_t hits_ = 0;
    bool ended_ = false;
    bool hides_failed_syncs_ = false;
};

}  // namespace gemel::sim
