// SPDX-License-Identifier: Apache-2.0
// Parts of the production engine broken on purpose, where no object can be put around them: the
// linker leads their calls to block_mutants.cpp (CMakeLists.txt). The engine has no such hook.
#pragma once

namespace gemel::sim {

enum class BlockMutant : unsigned char {
    none,
    claim_at_once,    // a resync looks at a range in which changes are under way
    mend_at_once,     // what a refused change left is mended before the changes behind it
    flush_elsewhere,  // a flush of a block volume syncs something else
    // Of every volume:
    sync_elsewhere,        // a sync of a file syncs something else
    barrier_elsewhere,     // ... one of everything does
    forget_changes,        // what is carried out alone is not marked as missing on the peer
    forget_intents_found,  // intents that are left mark nothing
};

// Of every node of the clusters that run.
extern BlockMutant block_mutant;

}  // namespace gemel::sim
