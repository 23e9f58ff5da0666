// SPDX-License-Identifier: Apache-2.0
// What a resync would have to do, by what the serving node knows alone. Nothing is changed.
#pragma once

#include "engine/mirror/replica.hpp"

#include <cstdint>
#include <vector>

namespace gemel {

struct ResyncEstimate {
    // Objects that are looked at one by one; more are concluded from these.
    static constexpr std::size_t kLookedAtMax = 10'000;

    struct Volume {
        bool full = false;  // everything is compared; of a directory, the bytes are what is used on
                            // its file system, whoever uses it, and the objects are not known
        bool sampled = false;  // concluded from the first kLookedAtMax objects
        std::uint64_t objects = 0;
        std::uint64_t compare_bytes = 0;   // read on both nodes, compared by digests
        std::uint64_t send_bytes_max = 0;  // content, if nothing of it is there already
    };
    std::vector<Volume> volumes;  // in the order of the replica's

    [[nodiscard]] std::uint64_t compare_bytes() const noexcept;
    [[nodiscard]] std::uint64_t send_bytes_max() const noexcept;
};

// Looks at kLookedAtMax objects of each volume at most. `full`: as if everything was compared.
// Requires: it serves.
ResyncEstimate estimate_resync(Replica& replica, bool full) noexcept;

}  // namespace gemel
