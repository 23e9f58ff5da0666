// SPDX-License-Identifier: Apache-2.0
#include "engine/store/intent_log_format.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"

#include <algorithm>
#include <cstring>

namespace gemel {

namespace {

constexpr std::uint64_t kMagic = 0x746E'696C'656D'6567;  // "gemelint" in file order
constexpr std::size_t kChecksumBegin = 16;

std::uint64_t block_checksum(Bytes raw, std::uint32_t block) noexcept {
    return checksum64(raw.subspan(kChecksumBegin), kMagic ^ block);
}

bool is_header_valid(const IntentBlockHeader& header, std::uint32_t block) noexcept {
    return header.block == block && header.generation != 0 && header.generation >> 63 == 0 &&
           header.entry_count <= kIntentEntriesPerBlock && header.batch_count > 0 &&
           header.batch_first <= block && block - header.batch_first < header.batch_count &&
           header.snapshot_count > 0 &&
           (header.batch_first == 0 ? header.batch_count == header.snapshot_count
                                    : header.batch_first >= header.snapshot_count);
}

}  // namespace

bool is_intent_key_valid(const IntentKey& key) noexcept {
    if (key.region == IntentKey::kVolume) return key.object.is_none();
    if (key.object.is_none()) return false;
    return key.region <= IntentKey::kRegionMax || key.region >= IntentKey::kAllContent;
}

void encode_intent_batch(const IntentBatchPlace& place, std::span<const IntentEntry> entries,
                         ByteBuffer& out) noexcept {
    const std::uint32_t count = intent_block_count(entries.size());
    GEMEL_ASSERT((place.first_block == 0) == (place.snapshot_count == 0));
    IntentBlockHeader header{};
    header.magic = kMagic;
    header.version = kIntentFormatVersion;
    std::copy(place.owner.bytes.begin(), place.owner.bytes.end(), header.owner);
    header.generation = place.generation;
    header.batch_first = place.first_block;
    header.batch_count = count;
    header.snapshot_count = place.snapshot_count == 0 ? count : place.snapshot_count;

    for (std::uint32_t i = 0; i < count; ++i) {
        const auto part = entries.subspan(
            i * kIntentEntriesPerBlock,
            std::min(kIntentEntriesPerBlock, entries.size() - i * kIntentEntriesPerBlock));
        const std::size_t begin = out.size();
        out.reserve(begin + kIntentBlockSize);
        header.block = place.first_block + i;
        header.entry_count = static_cast<std::uint32_t>(part.size());
        ByteWriter writer(out);
        writer.bytes(std::as_bytes(std::span(&header, 1)));
        for (const IntentEntry& entry : part) {
            GEMEL_ASSERT(is_intent_key_valid(entry.key));
            writer.put(entry.key.object);
            writer.put(entry.key.region);
            writer.put(entry.key.volume);
            writer.put(entry.kind);
            writer.put(std::uint8_t{0});
        }
        out.resize(begin + kIntentBlockSize);
        const std::uint64_t checksum =
            block_checksum(Bytes(out).subspan(begin, kIntentBlockSize), header.block);
        std::memcpy(out.data() + begin + offsetof(IntentBlockHeader, checksum), &checksum,
                    sizeof checksum);
    }
}

IntentBlockCheck check_intent_block(Bytes raw, const Uuid& owner, std::uint32_t block) noexcept {
    GEMEL_ASSERT(raw.size() == kIntentBlockSize);
    IntentBlockCheck check;
    IntentBlockHeader& header = check.header;
    std::memcpy(&header, raw.data(), sizeof header);
    if (header.magic != kMagic || header.checksum != block_checksum(raw, block)) return check;
    if (header.version != kIntentFormatVersion ||
        !std::equal(owner.bytes.begin(), owner.bytes.end(), header.owner)) {
        check.state = IntentBlockState::foreign;
        return check;
    }
    if (!is_header_valid(header, block)) return check;
    for (std::size_t i = 0; i < header.entry_count; ++i) {
        const IntentEntry entry = intent_entry(raw, i);
        if (!is_intent_key_valid(entry.key)) return check;
        if (entry.kind != IntentEntryKind::set && entry.kind != IntentEntryKind::clear) {
            return check;
        }
    }
    check.state = IntentBlockState::intact;
    return check;
}

IntentEntry intent_entry(Bytes raw, std::size_t index) noexcept {
    ByteReader reader(
        raw.subspan(sizeof(IntentBlockHeader) + index * kIntentEntrySize, kIntentEntrySize));
    IntentEntry entry;
    entry.key.object = reader.object_id();
    entry.key.region = reader.get<std::uint32_t>();
    entry.key.volume = reader.get<std::uint16_t>();
    entry.kind = reader.get<IntentEntryKind>();
    return entry;
}

}  // namespace gemel
