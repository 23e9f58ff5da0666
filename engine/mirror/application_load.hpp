// SPDX-License-Identifier: Apache-2.0
// The applications' requests of a mirror's serving node, summed up since it was opened: who takes
// two readings knows how many there were between them and how long they took.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>

namespace gemel {

struct ApplicationLoad {
    struct Answered {
        std::uint64_t count = 0;
        Duration time;  // of all of them, from their arrival to their answer

        void add(Duration taken) noexcept {
            ++count;
            time = time + taken;
        }
    };
    std::uint64_t arrived = 0;  // ops and syncs
    Answered ops, syncs;

    [[nodiscard]] bool is_any_waiting() const noexcept { return arrived > ops.count + syncs.count; }
};

}  // namespace gemel
