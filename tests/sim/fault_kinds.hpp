// SPDX-License-Identifier: Apache-2.0
// Everything that a campaign does to a machine, its process, its wires and its disks, as one list.
#pragma once

#include "tests/sim/disk_faults.hpp"
#include "tests/sim/wire_faults.hpp"

#include <cstdint>
#include <string_view>

namespace gemel::sim {

enum class FaultKind : std::uint8_t {
    kill,
    power_cut,
    cut_one_way,
    cut_both_ways,
    isolate,  // it hears the others, and they do not hear it
    pause,
    die_in_a_call,    // of the file system, some calls later
    drift,            // its clocks run up to a tenth too fast or too slow
    wrong_clock,      // it restarts, and its wall clock is up to ten years off
    verify,           // a person has the copies compared, and perhaps mended
    changed_options,  // a person restarts it with another configuration
    damaged_state,    // its process ends, and bytes of its state directory are flipped meanwhile
    wire,             // from here on WireFaults::Kind
    disk = wire + WireFaults::kKindCount,  // from here on DiskFault::Kind
};
inline constexpr std::uint64_t kFaultKinds =
    static_cast<std::uint64_t>(FaultKind::disk) + DiskFault::kKindCount;
// No safety depends on clocks; they may be as wrong as this, and detection is as much sooner or
// later.
inline constexpr std::int64_t kDriftPpmMax = 100'000;

[[nodiscard]] constexpr FaultKind fault_of(WireFaults::Kind kind) noexcept {
    return static_cast<FaultKind>(static_cast<std::uint8_t>(FaultKind::wire) +
                                  static_cast<std::uint8_t>(kind));
}
[[nodiscard]] constexpr bool is_of_wire(FaultKind kind) noexcept {
    return kind >= FaultKind::wire && kind < FaultKind::disk;
}
// Requires: is_of_wire.
[[nodiscard]] constexpr WireFaults::Kind wire_kind_of(FaultKind kind) noexcept {
    return static_cast<WireFaults::Kind>(static_cast<std::uint8_t>(kind) -
                                         static_cast<std::uint8_t>(FaultKind::wire));
}
[[nodiscard]] constexpr FaultKind fault_of(DiskFault::Kind kind) noexcept {
    return static_cast<FaultKind>(static_cast<std::uint8_t>(FaultKind::disk) +
                                  static_cast<std::uint8_t>(kind));
}
[[nodiscard]] constexpr bool is_of_disk(FaultKind kind) noexcept { return kind >= FaultKind::disk; }
// Requires: is_of_disk.
[[nodiscard]] constexpr DiskFault::Kind disk_kind_of(FaultKind kind) noexcept {
    return static_cast<DiskFault::Kind>(static_cast<std::uint8_t>(kind) -
                                        static_cast<std::uint8_t>(FaultKind::disk));
}
[[nodiscard]] constexpr bool spoils_copy(FaultKind kind) noexcept {
    return is_of_disk(kind) && DiskFault::spoils_copy(disk_kind_of(kind));
}
[[nodiscard]] std::string_view fault_name(FaultKind kind) noexcept;

}  // namespace gemel::sim
