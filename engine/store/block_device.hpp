// SPDX-License-Identifier: Apache-2.0
// What the kernel says of a block device: its size and block, and what it can be known by: the
// names that it has for ever (serial number, WWID, partition UUID, the UUID of a logical volume)
// and which attachment of it this is. Major and minor number are nothing to go by.
#pragma once

#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace gemel {

struct BlockDevice {
    std::uint64_t size = 0;           // bytes
    std::uint32_t logical_block = 0;  // bytes: what transfers have to be multiples of
    // Of this attachment, until the next boot; 0: a kernel before 5.15. A partition has its disk's.
    std::uint64_t sequence = 0;
    // Kind to value: "wwid", "serial", "partuuid", "dm", "md". Empty: nothing to know it by.
    std::map<std::string, std::string> names;

    friend bool operator==(const BlockDevice&, const BlockDevice&) noexcept = default;
};

// From /sys and /dev/disk; st_rdev of the device's node. not_found: there is no such device.
Result<BlockDevice> read_block_device(Vfs& vfs, std::uint64_t special_device) noexcept;

}  // namespace gemel
