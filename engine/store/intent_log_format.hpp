// SPDX-License-Identifier: Apache-2.0
// Blocks of the intent log's two files (docs/on-disk.md). A block is written once in the life of
// its generation and says by itself whose it is, where it belongs, and with which other blocks it
// was made durable (its batch), so that a reader can tell a torn tail from a damaged middle.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/store/intent_log.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace gemel {

inline constexpr std::size_t kIntentBlockSize = 4096;
inline constexpr std::uint32_t kIntentFormatVersion = 1;
// A new file is written this long, so that the first appends need no allocation by the file
// system; a snapshot is due beyond it, or beyond four times the snapshot's length.
inline constexpr std::uint32_t kIntentFileBlocksMin = 256;

struct IntentBlockHeader {
    std::uint64_t magic;
    std::uint64_t checksum;  // of all that follows in the block, seeded with the block's number
    std::uint32_t version;   // the fields up to here, and owner, are the same in every version
    std::uint32_t entry_count;
    std::uint8_t owner[16];
    std::uint64_t generation;      // of the file's content; each snapshot begins a higher one
    std::uint32_t block;           // its number in the file
    std::uint32_t batch_first;     // first block of the batch
    std::uint32_t batch_count;     // blocks in the batch
    std::uint32_t snapshot_count;  // blocks of the snapshot, which is the first batch
};
static_assert(sizeof(IntentBlockHeader) == 64);
static_assert(offsetof(IntentBlockHeader, owner) == 24);
static_assert(offsetof(IntentBlockHeader, generation) == 40);
static_assert(offsetof(IntentBlockHeader, snapshot_count) == 60);

enum class IntentEntryKind : std::uint8_t { set = 1, clear = 2 };

struct IntentEntry {
    IntentKey key;
    IntentEntryKind kind = IntentEntryKind::set;
};
inline constexpr std::size_t kIntentEntrySize = 16;
inline constexpr std::size_t kIntentEntriesPerBlock =
    (kIntentBlockSize - sizeof(IntentBlockHeader)) / kIntentEntrySize;

// Blocks that hold `entries`; at least one.
constexpr std::uint32_t intent_block_count(std::size_t entries) noexcept {
    const std::size_t blocks = (entries + kIntentEntriesPerBlock - 1) / kIntentEntriesPerBlock;
    return blocks == 0 ? 1 : static_cast<std::uint32_t>(blocks);
}

struct IntentBatchPlace {
    Uuid owner;
    std::uint64_t generation = 0;
    std::uint32_t first_block = 0;
    std::uint32_t snapshot_count = 0;  // 0: this batch is the snapshot
};

// Appends the batch's blocks to `out`.
void encode_intent_batch(const IntentBatchPlace& place, std::span<const IntentEntry> entries,
                         ByteBuffer& out) noexcept;

enum class IntentBlockState : std::uint8_t { damaged, foreign, intact };

struct IntentBlockCheck {
    IntentBlockState state = IntentBlockState::damaged;  // damaged: or never written
    IntentBlockHeader header{};                          // valid when intact
};
// Validates everything, entries included. Requires: raw.size() == kIntentBlockSize.
IntentBlockCheck check_intent_block(Bytes raw, const Uuid& owner, std::uint32_t block) noexcept;

// Requires: the block is intact and index < entry_count.
IntentEntry intent_entry(Bytes raw, std::size_t index) noexcept;

}  // namespace gemel
