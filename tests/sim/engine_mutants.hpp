// SPDX-License-Identifier: Apache-2.0
// Parts of engine, controller, netdev and resync broken on purpose, where no object can be put
// around them: the linker leads their calls to engine_mutants.cpp (CMakeLists.txt), as to
// block_mutants.cpp. There is no such hook in what is shipped.
#pragma once

namespace gemel::sim {

enum class EngineMutant : unsigned char {
    none,
    // Errors of the disk:
    keep_incarnation,    // a copy whose disk has failed passes for what it was
    skip_comparison,     // ... is not compared in full, nor as its disk has it
    pass_disk_failures,  // an error of the disk is taken for a refusal, as for want of space
    // Nobody checks the checksum of
    unchecked_frames,
    unchecked_superblock,
    // Intents:
    forget_names,       // names take none
    forget_attributes,  // attributes take none
    // What differs:
    weak_digests,       // blocks are compared by their length alone
    forget_unanswered,  // a resync that is lost takes what it had sent for arrived
    merge_apart,        // copies that were written apart pass for one
    // Ids, names, votes:
    allot_again,      // every service allots the ids of the first
    exclude_nothing,  // names that are kept per node are mirrored
    record_anything,  // the witness records what it is asked to
};

// Of every node of the clusters that run.
extern EngineMutant engine_mutant;

}  // namespace gemel::sim
