// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/block_mutants.hpp"

#include "engine/mirror/dirty_from_intents.hpp"
#include "engine/mirror/serving.hpp"
#include "engine/mirror/ship_rules.hpp"

#include <functional>
#include <utility>

namespace gemel::sim {

BlockMutant block_mutant = BlockMutant::none;

namespace {
bool is_claiming = false;
}

}  // namespace gemel::sim

namespace gemel {

using sim::block_mutant;
using sim::BlockMutant;

// Declared with the names that --wrap gives to the callers' and to the real functions; `this` is
// the first argument.
bool claim_broken(Serving* self, std::uint16_t volume, std::uint64_t offset,
                  std::uint64_t size) noexcept asm("__wrap__ZN5gemel7Serving13claim_contentEtmm");
bool claim_real(Serving* self, std::uint16_t volume, std::uint64_t offset,
                std::uint64_t size) noexcept asm("__real__ZN5gemel7Serving13claim_contentEtmm");
bool is_busy_broken(const BlockVolume* self, std::uint64_t offset, std::uint64_t size) noexcept
    asm("__wrap__ZNK5gemel11BlockVolume7is_busyEmm");
bool is_busy_real(const BlockVolume* self, std::uint64_t offset, std::uint64_t size) noexcept
    asm("__real__ZNK5gemel11BlockVolume7is_busyEmm");
using Done = std::function<void(Status)>;
void sync_broken(SyncRunner* self, std::uint16_t volume, ObjectId object, bool data_only,
                 Done done) noexcept
    asm("__wrap__ZN5gemel10SyncRunner11sync_objectEtNS_8ObjectIdEbSt8functionIFvNS_6StatusEEE");
void sync_real(SyncRunner* self, std::uint16_t volume, ObjectId object, bool data_only,
               Done done) noexcept
    asm("__real__ZN5gemel10SyncRunner11sync_objectEtNS_8ObjectIdEbSt8functionIFvNS_6StatusEEE");
void barrier_broken(SyncRunner* self, Done done) noexcept
    asm("__wrap__ZN5gemel10SyncRunner15sync_everythingESt8functionIFvNS_6StatusEEE");
void barrier_real(SyncRunner* self, Done done) noexcept
    asm("__real__ZN5gemel10SyncRunner15sync_everythingESt8functionIFvNS_6StatusEEE");
void mark_broken(DirtyMap& map, const Op& op) noexcept
    asm("__wrap__ZN5gemel4markERNS_8DirtyMapERKNS_2OpE");
void mark_real(DirtyMap& map, const Op& op) noexcept
    asm("__real__ZN5gemel4markERNS_8DirtyMapERKNS_2OpE");
void mark_intent_broken(const IntentKey& key, Volume& volume, DirtyMap& map) noexcept
    asm("__wrap__ZN5gemel11mark_intentERKNS_9IntentKeyERNS_6VolumeERNS_8DirtyMapE");
void mark_intent_real(const IntentKey& key, Volume& volume, DirtyMap& map) noexcept
    asm("__real__ZN5gemel11mark_intentERKNS_9IntentKeyERNS_6VolumeERNS_8DirtyMapE");

bool claim_broken(Serving* self, std::uint16_t volume, std::uint64_t offset,
                  std::uint64_t size) noexcept {
    if (block_mutant == BlockMutant::claim_at_once) return true;
    sim::is_claiming = true;
    const bool claimed = claim_real(self, volume, offset, size);
    sim::is_claiming = false;
    return claimed;
}

// Besides a claim, only what mends asks.
bool is_busy_broken(const BlockVolume* self, std::uint64_t offset, std::uint64_t size) noexcept {
    if (block_mutant == BlockMutant::mend_at_once && !sim::is_claiming) return false;
    return is_busy_real(self, offset, size);
}

void sync_broken(SyncRunner* self, std::uint16_t volume, ObjectId object, bool data_only,
                 Done done) noexcept {
    const bool is_block = object == kBlockObject;
    if ((block_mutant == BlockMutant::flush_elsewhere && is_block) ||
        (block_mutant == BlockMutant::sync_elsewhere && !is_block)) {
        volume = 0;
        object = kRootObject;
    }
    sync_real(self, volume, object, data_only, std::move(done));
}

void barrier_broken(SyncRunner* self, Done done) noexcept {
    if (block_mutant != BlockMutant::barrier_elsewhere) return barrier_real(self, std::move(done));
    sync_real(self, 0, kRootObject, false, std::move(done));
}

void mark_broken(DirtyMap& map, const Op& op) noexcept {
    if (block_mutant != BlockMutant::forget_changes) mark_real(map, op);
}

void mark_intent_broken(const IntentKey& key, Volume& volume, DirtyMap& map) noexcept {
    if (block_mutant != BlockMutant::forget_intents_found) mark_intent_real(key, volume, map);
}

}  // namespace gemel
