// SPDX-License-Identifier: Apache-2.0
// What is kept of a block volume beside it, in the mirror's state directory (docs/on-disk.md): its
// size, which may have grown beyond the configured one, and for a device, which carries no
// attributes and has no place for a label if it was adopted, whose it is and by what it is known
// again.
#pragma once

#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"
#include "engine/store/block_device.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace gemel {

struct BlockRecord {
    Uuid volume;
    std::uint64_t size = 0;  // bytes
    // Of a device, at the start that wrote it.
    Uuid boot;
    std::uint64_t sequence = 0;
    std::map<std::string, std::string> names;

    friend bool operator==(const BlockRecord&, const BlockRecord&) noexcept = default;
};

enum class Recognition : std::uint8_t {
    same,
    copied,   // some of its names are the recorded ones, others are not: a clone of it
    unknown,  // it has no name by which it could be told after a boot
    foreign,  // another device
};
[[nodiscard]] Recognition recognize(const BlockRecord& record, const BlockDevice& device,
                                    const Uuid& boot) noexcept;

// `block-<index>`, replaced as a whole.
class BlockRecordFile {
   public:
    // not_found: there is none. corrupt: it is damaged. foreign: a later format.
    static Result<BlockRecord> read(Vfs& vfs, Fd directory, std::uint16_t index) noexcept;
    // Durable when it returns ok; on an error the old one stays.
    static Status write(Vfs& vfs, Fd directory, std::uint16_t index,
                        const BlockRecord& record) noexcept;
};

}  // namespace gemel
