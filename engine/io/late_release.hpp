// SPDX-License-Identifier: Apache-2.0
// Large files that are removed: the name goes at once, and the space, whose return takes long, in
// the background (Vfs::close_later).
#pragma once

#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <string_view>

namespace gemel {

// A file that holds so many bytes on the disk is large.
inline constexpr std::uint64_t kReleasedLater = kMiB;

[[nodiscard]] inline bool is_released_later(const FileStat& stat) noexcept {
    return stat.blocks_512 * 512 >= kReleasedLater;
}

// Removes the name of a file. Requires: the directory is not removed soon after, or that would wait
// for the space (shrink_dcache_parent of the kernel's fs/dcache.c). Errors: as Vfs::unlink.
[[nodiscard]] Status unlink_with_late_release(Vfs& vfs, Fd directory,
                                              std::string_view name) noexcept;

}  // namespace gemel
