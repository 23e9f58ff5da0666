// SPDX-License-Identifier: Apache-2.0
// How a difference that no op has made is mended: it is noted in the intent log, durably and known
// to a resync from either side, and the session with the peer ends, so that the next one begins
// with a resync of exactly what is noted, from the serving node's copy. Changes behind the mount
// and what a verify has found go this way.
#pragma once

#include "controller/mirror_node.hpp"
#include "engine/mirror/replica.hpp"

#include <functional>
#include <set>
#include <utility>
#include <vector>

namespace gemel {

struct MarkedObjects {
    std::vector<IntentKey> keys;
    // By volume: the other node lacks these. What is known of them is sent before any op on them.
    std::set<std::pair<std::uint16_t, ObjectId>> missing;
};

// `command`: resync_changed, or stop, if this node is to leave the mirror instead. `done` comes
// once, from the loop or inside the call; false: not now, though it is noted; try again. Requires:
// the references outlive that; `node` is null while the mirror has not been started.
void resync_marked(IntentLog& intents, Replica& replica, MirrorNode* node, Command command,
                   MarkedObjects marked, std::function<void(bool)> done);

}  // namespace gemel
