// SPDX-License-Identifier: Apache-2.0
#include "engine/store/block_record.hpp"

#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/base/probe.hpp"
#include "engine/io/whole_transfer.hpp"

#include <fcntl.h>

namespace gemel {

Recognition recognize(const BlockRecord& record, const BlockDevice& device,
                      const Uuid& boot) noexcept {
    std::size_t equal = 0;
    std::size_t different = 0;
    for (const auto& [kind, value] : record.names) {
        const auto now = device.names.find(kind);
        if (now != device.names.end()) ++(now->second == value ? equal : different);
    }
    if (equal > 0) return different == 0 ? Recognition::same : Recognition::copied;
    if (different > 0) return Recognition::foreign;
    const bool knows_attachment = record.sequence != 0 && device.sequence != 0;
    if (knows_attachment && record.boot == boot) {
        return record.sequence == device.sequence ? Recognition::same : Recognition::foreign;
    }
    GEMEL_PROBE("block record: nothing to know it by");
    return Recognition::unknown;
}

// ---- the record -------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t kMagic = 0x316B'6C62'6C6D'6567;  // "gemlblk1" in file order
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kRecordSizeMax = 64 * kKiB;
constexpr std::size_t kNamesMax = 64;
constexpr std::size_t kTextSizeMax = 4096;
constexpr std::size_t kHeaderSize = 8 + 4 + 8;

std::string file_name(std::uint16_t index) { return "block-" + std::to_string(index); }

}  // namespace

Result<BlockRecord> BlockRecordFile::read(Vfs& vfs, Fd directory, std::uint16_t index) noexcept {
    const Result<Fd> opened = vfs.open_at(directory, file_name(index), O_RDONLY, 0);
    if (!opened.ok() && opened.status().is_errno(ENOENT)) return Code::not_found;
    if (!opened.ok()) return opened.status();
    const ScopedFd file(vfs, opened.value());
    ByteBuffer bytes(kRecordSizeMax);
    const Result<std::size_t> size = read_fully(vfs, file.get(), bytes, 0);
    if (!size.ok()) return size.status();
    bytes.resize(size.value());
    ByteReader reader(bytes);
    const auto magic = reader.get<std::uint64_t>();
    const auto version = reader.get<std::uint32_t>();
    const auto checksum = reader.get<std::uint64_t>();
    if (!reader.ok() || magic != kMagic) return Code::corrupt;
    if (checksum64(Bytes(bytes).subspan(kHeaderSize), kMagic + version) != checksum) {
        return Code::corrupt;
    }
    if (version != kVersion) return Code::foreign;
    BlockRecord record;
    record.volume = reader.uuid();
    record.size = reader.get<std::uint64_t>();
    record.boot = reader.uuid();
    record.sequence = reader.get<std::uint64_t>();
    const auto count = reader.get<std::uint32_t>();
    if (count > kNamesMax) return Code::corrupt;
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        std::string kind(as_text(reader.sized(kTextSizeMax)));
        record.names[std::move(kind)] = std::string(as_text(reader.sized(kTextSizeMax)));
    }
    if (!reader.at_end()) return Code::corrupt;
    return record;
}

Status BlockRecordFile::write(Vfs& vfs, Fd directory, std::uint16_t index,
                              const BlockRecord& record) noexcept {
    ByteBuffer payload;
    ByteWriter body(payload);
    body.put(record.volume);
    body.put(record.size);
    body.put(record.boot);
    body.put(record.sequence);
    body.put(static_cast<std::uint32_t>(record.names.size()));
    for (const auto& [kind, value] : record.names) {
        body.sized(kind);
        body.sized(value);
    }
    ByteBuffer bytes;
    ByteWriter out(bytes);
    out.put(kMagic);
    out.put(kVersion);
    out.put(checksum64(payload, kMagic + kVersion));
    out.bytes(payload);
    const std::string name = file_name(index);
    const std::string made = name + ".new";
    const Result<Fd> opened = vfs.open_at(directory, made, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!opened.ok()) return opened.status();
    const ScopedFd file(vfs, opened.value());
    GEMEL_TRY(write_fully(vfs, file.get(), bytes, 0));
    GEMEL_TRY(vfs.sync(file.get(), false));
    GEMEL_TRY(vfs.rename(directory, made, directory, name, 0));
    return vfs.sync(directory, false);
}

}  // namespace gemel
