// SPDX-License-Identifier: Apache-2.0
// Turns intents into dirty marks: after a restart or a takeover the intents of both nodes are all
// that is known of the difference between the copies, and they name a superset of it.
#pragma once

#include "engine/store/directory_volume.hpp"
#include "engine/store/dirty_map.hpp"
#include "engine/store/intent_log.hpp"

namespace gemel {

// Marks what `key` covers of the objects that exist in `volume` (what is gone here is settled by
// the names of its directories). Requires: key.volume is that volume.
// Everything must be compared.
void mark_everything(Volume& volume, DirtyMap& map) noexcept;
void mark_intent(const IntentKey& key, Volume& volume, DirtyMap& map) noexcept;

}  // namespace gemel
