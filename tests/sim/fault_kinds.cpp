// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/fault_kinds.hpp"

#include <iterator>

namespace gemel::sim {

std::string_view fault_name(FaultKind kind) noexcept {
    static constexpr std::string_view kNames[] = {"kill",
                                                  "power cut",
                                                  "cut one way",
                                                  "cut both ways",
                                                  "isolated one way",
                                                  "pause",
                                                  "death in a call",
                                                  "clock drift",
                                                  "wrong clock at a restart",
                                                  "verify",
                                                  "changed options",
                                                  "damaged state directory"};
    static_assert(std::size(kNames) == static_cast<std::size_t>(FaultKind::wire));
    if (is_of_disk(kind)) return DiskFault::name_of(disk_kind_of(kind));
    if (is_of_wire(kind)) return WireFaults::name_of(wire_kind_of(kind));
    return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace gemel::sim
