// SPDX-License-Identifier: Apache-2.0
// Damage to what a node keeps in its state directory, while no process has it open: a few bytes of
// one block of metadata flipped. Everything there carries a checksum, so whoever opens it has to
// refuse or to repair what is not intact.
//
// Not damaged is the last batch of the intent log: that looks like the torn tail of a crash, which
// docs/on-disk.md says can't be told from it.
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/sim/file_system.hpp"

#include <string>
#include <string_view>

namespace gemel::sim {

// `directory`: of the mirror, a path in `disk`. What was damaged, for people; empty: there is
// nothing yet that could be.
std::string damage_state(FileSystem& disk, std::string_view directory, Prng& prng);

}  // namespace gemel::sim
