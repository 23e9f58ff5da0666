// SPDX-License-Identifier: Apache-2.0
// A tar archive like that of a source tree: the same for the same seed.
#pragma once

#include "bench/posix_file.hpp"

namespace gemel::bench {

// In memory (ustar): `files` files of 256 bytes to 64 KiB, small ones more often, twenty to a
// directory, directories nested three deep, modes and times of their own. `bytes` becomes the sum
// of their sizes.
PosixFile make_archive(std::uint64_t files, std::uint64_t seed, std::uint64_t& bytes);

}  // namespace gemel::bench
