// SPDX-License-Identifier: Apache-2.0
// Two slots of kSlotSize in one file. The write goes to the slot that does not hold the newest
// state, so whatever a crash leaves of it, the newest durable state stays readable. The file first
// appears by a rename of a finished one: where it exists, one slot was intact once.
//
// Each slot holds its record twice. A damaged block can't be told from a write that was torn, and
// with one copy the state before would count: that of a node that never acted on what it did.
#include "engine/store/superblock.hpp"

#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/base/units.hpp"
#include "engine/io/whole_transfer.hpp"

#include <array>
#include <cstddef>
#include <fcntl.h>
#include <optional>

namespace gemel {

namespace {

constexpr std::string_view kFileName = "superblock";
constexpr std::string_view kNewFileName = "superblock.new";
constexpr std::uint64_t kMagic = 0x3162'736C'656D'6567;  // "gemelsb1" in file order
constexpr std::size_t kBlockSize = 4096;
constexpr std::size_t kSlotSize = 64 * kKiB;
constexpr std::size_t kSlotCount = 2;
constexpr std::size_t kCopyDistance = kSlotSize / 2;  // a larger record has no second copy
constexpr std::size_t kNameSizeMax = 255;
constexpr std::size_t kPathSizeMax = 4096;
constexpr std::size_t kVolumesMax = 1024;

// The first 32 bytes of a slot mean the same in every version of the format, so that an older
// program can tell a newer format from damage.
struct SlotHeader {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t payload_size;
    std::uint64_t generation;
    std::uint64_t checksum;  // of the slot's first 24 bytes, then the payload; seeded by the slot
};
static_assert(sizeof(SlotHeader) == 32 && offsetof(SlotHeader, checksum) == 24);
static_assert(kSlotSize % kBlockSize == 0);

struct Slot {
    bool intact = false;
    std::uint32_t version = 0;
    std::uint64_t generation = 0;
    ByteBuffer payload;
};

std::uint64_t slot_checksum(std::size_t index, const SlotHeader& header, Bytes payload) noexcept {
    const Bytes head = std::as_bytes(std::span(&header, 1)).first(offsetof(SlotHeader, checksum));
    return checksum64(payload, checksum64(head, kMagic + index));
}

void encode(const Superblock& superblock, ByteBuffer& out) {
    ByteWriter writer(out);
    writer.sized(superblock.cluster);
    writer.sized(superblock.mirror);
    writer.sized(superblock.node);
    writer.put(superblock.epoch);
    writer.put(superblock.incarnation.boot);
    writer.put(superblock.incarnation.number);
    writer.put(static_cast<std::uint32_t>(superblock.histories.size()));
    for (const Uuid& history : superblock.histories) writer.put(history);
    writer.put(static_cast<std::uint8_t>(superblock.history_is_shared));
    writer.put(static_cast<std::uint8_t>(superblock.served_alone_unrecorded));
    writer.put(static_cast<std::uint8_t>(superblock.is_consistent));
    writer.put(superblock.excluded.low);
    writer.put(superblock.excluded.high);
    writer.put(static_cast<std::uint32_t>(superblock.volumes.size()));
    for (const SuperblockVolume& volume : superblock.volumes) {
        writer.sized(volume.path);
        writer.put(volume.volume_id);
        writer.put(static_cast<std::uint8_t>(volume.must_compare));
    }
}

std::string read_name(ByteReader& reader, std::size_t size_max) {
    return std::string(as_text(reader.sized(size_max)));
}

bool read_flag(ByteReader& reader) noexcept {
    const auto value = reader.get<std::uint8_t>();
    if (value > 1) reader.fail();
    return value == 1;
}

std::uint32_t read_count(ByteReader& reader, std::size_t count_max) noexcept {
    const auto count = reader.get<std::uint32_t>();
    if (count > count_max) reader.fail();
    return reader.ok() ? count : 0;
}

constexpr std::uint32_t kVersionOldest = 2;

bool is_known(std::uint32_t version) noexcept {
    return version >= kVersionOldest && version <= Superblock::kVersion;
}

std::optional<Superblock> decode(Bytes payload, std::uint32_t version) {
    ByteReader reader(payload);
    Superblock superblock;
    superblock.cluster = read_name(reader, kNameSizeMax);
    superblock.mirror = read_name(reader, kNameSizeMax);
    superblock.node = read_name(reader, kNameSizeMax);
    superblock.epoch = reader.get<std::uint64_t>();
    superblock.incarnation.boot = reader.uuid();
    superblock.incarnation.number = reader.uuid();
    for (auto left = read_count(reader, Superblock::kHistoriesMax); left > 0; --left) {
        superblock.histories.push_back(reader.uuid());
    }
    superblock.history_is_shared = read_flag(reader);
    superblock.served_alone_unrecorded = read_flag(reader);
    superblock.is_consistent = read_flag(reader);
    if (version > kVersionOldest) {
        superblock.excluded.low = reader.get<std::uint64_t>();
        superblock.excluded.high = reader.get<std::uint64_t>();
    }
    for (auto left = read_count(reader, kVolumesMax); left > 0; --left) {
        SuperblockVolume volume;
        volume.path = read_name(reader, kPathSizeMax);
        volume.volume_id = reader.uuid();
        volume.must_compare = read_flag(reader);
        superblock.volumes.push_back(std::move(volume));
    }
    if (!reader.at_end()) return std::nullopt;
    return superblock;
}

// `begin`: of the copy within the slot.
Result<Slot> read_copy(Vfs& vfs, Fd file, std::size_t index, std::size_t begin) {
    const std::size_t at = index * kSlotSize + begin;
    ByteBuffer raw(kCopyDistance);
    auto size = read_fully(vfs, file, raw, at);
    SlotHeader header{};
    if (size.ok() && size.value() >= sizeof header) {
        std::memcpy(&header, raw.data(), sizeof header);
        if (begin == 0 && header.magic == kMagic &&
            header.payload_size > kCopyDistance - sizeof header) {
            raw.resize(kSlotSize);
            size = read_fully(vfs, file, raw, at);
        }
    }
    // A sector whose write was torn may be unreadable: that is a damaged copy, no reason to stop.
    if (!size.ok() && size.status().is_errno(EIO)) return Slot{};
    if (!size.ok()) return size.status();
    if (size.value() < sizeof header || header.magic != kMagic) return Slot{};
    if (header.payload_size > size.value() - sizeof header) return Slot{};
    const Bytes payload = Bytes(raw).subspan(sizeof header, header.payload_size);
    if (slot_checksum(index, header, payload) != header.checksum) return Slot{};

    Slot slot{true, header.version, header.generation, {}};
    slot.payload.assign(payload.begin(), payload.end());
    return slot;
}

// The newer of its copies.
Result<Slot> read_slot(Vfs& vfs, Fd file, std::size_t index) {
    Slot newest;
    for (const std::size_t begin : {std::size_t{0}, kCopyDistance}) {
        auto copy = read_copy(vfs, file, index, begin);
        if (!copy.ok()) return copy.status();
        const bool is_newer = !newest.intact || copy->generation > newest.generation;
        if (copy->intact && is_newer) newest = std::move(copy).value();
    }
    return newest;
}

struct Slots {
    std::array<Slot, kSlotCount> slots;
    std::size_t newest = 0;  // index of the intact slot with the highest generation
};

// corrupt: no slot is intact.
Result<Slots> read_slots(Vfs& vfs, Fd file) {
    Slots result;
    for (std::size_t index = 0; index < kSlotCount; ++index) {
        auto slot = read_slot(vfs, file, index);
        if (!slot.ok()) return slot.status();
        result.slots[index] = std::move(slot).value();
    }
    const auto& [first, second] = result.slots;
    if (!first.intact && !second.intact) return Code::corrupt;
    const bool second_is_newest =
        second.intact && (!first.intact || second.generation > first.generation);
    result.newest = second_is_newest ? 1 : 0;
    return result;
}

// The slot's record, padded to whole blocks. Empty: it does not fit.
ByteBuffer build_record(const Superblock& superblock, std::size_t index, std::uint64_t generation) {
    ByteBuffer record(sizeof(SlotHeader));
    encode(superblock, record);
    if (record.size() > kSlotSize) return {};
    const auto payload_size = static_cast<std::uint32_t>(record.size() - sizeof(SlotHeader));
    SlotHeader header{kMagic, Superblock::kVersion, payload_size, generation, 0};
    header.checksum = slot_checksum(index, header, Bytes(record).subspan(sizeof header));
    std::memcpy(record.data(), &header, sizeof header);
    record.resize((record.size() + kBlockSize - 1) / kBlockSize * kBlockSize);
    return record;
}

Status write_slot(Vfs& vfs, Fd file, std::size_t index, Bytes record) {
    GEMEL_TRY(write_fully(vfs, file, record, index * kSlotSize));
    if (record.size() > kCopyDistance) return Status();
    return write_fully(vfs, file, record, index * kSlotSize + kCopyDistance);
}

bool fits_limits(const Superblock& superblock) noexcept {
    if (superblock.cluster.size() > kNameSizeMax || superblock.mirror.size() > kNameSizeMax ||
        superblock.node.size() > kNameSizeMax || superblock.volumes.size() > kVolumesMax) {
        return false;
    }
    for (const SuperblockVolume& volume : superblock.volumes) {
        if (volume.path.size() > kPathSizeMax) return false;
    }
    return true;
}

Status write_first(Vfs& vfs, Fd directory, const Superblock& superblock) {
    const ByteBuffer record = build_record(superblock, 0, 1);
    if (record.empty()) return Status(Code::too_large);
    const auto opened = vfs.open_at(directory, kNewFileName, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!opened.ok()) return opened.status();
    const ScopedFd file(vfs, opened.value());
    GEMEL_TRY(vfs.truncate(file.get(), kSlotCount * kSlotSize));
    GEMEL_TRY(write_slot(vfs, file.get(), 0, record));
    GEMEL_TRY(vfs.sync(file.get(), false));
    GEMEL_TRY(vfs.rename(directory, kNewFileName, directory, kFileName, 0));
    return vfs.sync(directory, false);
}

Status write_next(Vfs& vfs, Fd file, const Superblock& superblock) {
    const auto slots = read_slots(vfs, file);
    if (!slots.ok()) return slots.status();
    const Slot& newest = slots->slots[slots->newest];
    if (!is_known(newest.version)) return Status(Code::foreign);
    const std::size_t index = 1 - slots->newest;
    const ByteBuffer record = build_record(superblock, index, newest.generation + 1);
    if (record.empty()) return Status(Code::too_large);

    Status status = write_slot(vfs, file, index, record);
    if (status.ok()) status = vfs.sync(file, true);
    if (!status.ok()) {
        // The page cache may now show a state that the disk does not have; the next write would
        // take it for the newest and overwrite the one that is durable. Blank it.
        (void)write_slot(vfs, file, index, ByteBuffer(sizeof(SlotHeader)));
    }
    return status;
}

}  // namespace

bool operator==(const SuperblockVolume& a, const SuperblockVolume& b) noexcept {
    return a.path == b.path && a.volume_id == b.volume_id && a.must_compare == b.must_compare;
}

Result<Superblock> SuperblockFile::read(Vfs& vfs, Fd directory) noexcept {
    const auto opened = vfs.open_at(directory, kFileName, O_RDONLY, 0);
    if (!opened.ok() && opened.status().is_errno(ENOENT)) return Code::not_found;
    if (!opened.ok()) return opened.status();
    const ScopedFd file(vfs, opened.value());
    const auto slots = read_slots(vfs, file.get());
    if (!slots.ok()) return slots.status();
    const Slot& newest = slots->slots[slots->newest];
    if (!is_known(newest.version)) return Code::foreign;
    auto superblock = decode(newest.payload, newest.version);
    if (!superblock) return Code::corrupt;
    return std::move(*superblock);
}

Status SuperblockFile::write(Vfs& vfs, Fd directory, const Superblock& superblock) noexcept {
    GEMEL_ASSERT(superblock.histories.size() <= Superblock::kHistoriesMax);
    if (!fits_limits(superblock)) return Status(Code::too_large);
    const auto opened = vfs.open_at(directory, kFileName, O_RDWR, 0);
    if (!opened.ok() && opened.status().is_errno(ENOENT)) {
        return write_first(vfs, directory, superblock);
    }
    if (!opened.ok()) return opened.status();
    const ScopedFd file(vfs, opened.value());
    return write_next(vfs, file.get(), superblock);
}

}  // namespace gemel
