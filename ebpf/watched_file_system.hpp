// SPDX-License-Identifier: Apache-2.0
// A file system as the tracker sees it: how the kernel numbers its superblock, of which kind it is,
// and how the handle of one of its inodes is put together.
#pragma once

#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <string>

namespace gemel {

class WatchedFileSystem {
   public:
    // Errors: unsupported, with a clause about the file system in `why`; errno.
    static Result<WatchedFileSystem> of(int directory, std::string& why) noexcept;

    // tracker_device.device and .kind.
    [[nodiscard]] std::uint32_t device() const noexcept { return device_; }
    [[nodiscard]] std::uint32_t kind() const noexcept { return kind_; }
    // Of an inode of it, for open_by_handle_at(2).
    [[nodiscard]] FileHandle handle_of(std::uint64_t inode,
                                       std::uint32_t generation) const noexcept;

   private:
    WatchedFileSystem() noexcept = default;

    std::uint32_t device_ = 0;
    std::uint32_t kind_ = 0;
    std::uint64_t subvolume_ = 0;  // of Btrfs
};

}  // namespace gemel
