// SPDX-License-Identifier: Apache-2.0
// Whether the peer can carry an op out, judged by what it lacks, and what it lacks once it has not
// been told of the op. The two belong together: after mark(), everything that the op changed is
// dirty, so nothing that builds on it is shipped before the resync has sent it.
#pragma once

#include "engine/store/dirty_map.hpp"
#include "engine/store/op.hpp"

namespace gemel {

// For all of these: op is mirrored, or the peer's part of one (peer_part.hpp).
// Requires: op is resolved (write, truncate, allocate, copy_range: may be unexecuted).
[[nodiscard]] bool can_ship(const DirtyMap& map, const Op& op) noexcept;
// The peer was not told of `op`, or it is not known whether it carried it out.
void mark(DirtyMap& map, const Op& op) noexcept;
// The op was shipped: the map follows the objects that came and went.
void note_shipped(DirtyMap& map, const Op& op) noexcept;

}  // namespace gemel
