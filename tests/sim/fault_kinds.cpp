// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/fault_kinds.hpp"

#include <iterator>

namespace gemel::sim {

std::string_view fault_name(FaultKind kind) noexcept {
    static constexpr std::string_view kNames[] = {
        "kill",  "power cut",      "cut one way", "cut both ways", "isolated one way",
        "pause", "death in a call"};
    static_assert(std::size(kNames) == static_cast<std::size_t>(FaultKind::disk));
    return is_of_disk(kind) ? DiskFault::name_of(disk_kind_of(kind))
                            : kNames[static_cast<std::size_t>(kind)];
}

}  // namespace gemel::sim
