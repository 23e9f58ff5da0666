// SPDX-License-Identifier: Apache-2.0
// Encoding of the identity attribute; the checksum covers everything before it.
#include "engine/store/identity.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"

#include <array>
#include <cstring>

namespace gemel {

namespace {

constexpr std::uint64_t kIdentitySeed = 0x67656D656C2D6964;  // "gemel-id"
constexpr std::size_t kChecksumSize = sizeof(std::uint64_t);

}  // namespace

void encode_identity(const Identity& identity, ByteBuffer& buffer) noexcept {
    GEMEL_ASSERT(!identity.object.is_none());
    GEMEL_ASSERT(identity.handle.size <= FileHandle::kSizeMax);
    GEMEL_ASSERT(identity.handle.type >= 0 && identity.handle.type <= 0xFFFF);
    const std::size_t begin = buffer.size();
    ByteWriter writer(buffer);
    writer.put(identity.local ? Identity::kVersionLocal : Identity::kVersion);
    writer.put(identity.handle.size);
    writer.put(static_cast<std::uint16_t>(identity.handle.type));
    writer.put(identity.volume);
    writer.put(identity.object);
    writer.bytes(std::as_bytes(std::span(identity.handle.bytes).first(identity.handle.size)));
    writer.put(checksum64(Bytes(buffer).subspan(begin), kIdentitySeed));
}

Result<Identity> decode_identity(Bytes value) noexcept {
    if (value.size() < Identity::kSizeFixed) return Code::corrupt;
    const Bytes covered = value.first(value.size() - kChecksumSize);
    ByteReader checksum(value.subspan(covered.size()));
    if (checksum.get<std::uint64_t>() != checksum64(covered, kIdentitySeed)) return Code::corrupt;
    ByteReader reader(covered);
    const auto version = reader.get<std::uint8_t>();
    if (version != Identity::kVersion && version != Identity::kVersionLocal) return Code::foreign;
    Identity identity;
    identity.local = version == Identity::kVersionLocal;
    identity.handle.size = reader.get<std::uint8_t>();
    identity.handle.type = reader.get<std::uint16_t>();
    identity.volume = reader.uuid();
    identity.object = reader.object_id();
    if (identity.handle.size > FileHandle::kSizeMax || identity.object.is_none()) {
        return Code::corrupt;
    }
    const Bytes handle = reader.bytes(identity.handle.size);
    if (!reader.at_end()) return Code::corrupt;
    if (!handle.empty()) std::memcpy(identity.handle.bytes.data(), handle.data(), handle.size());
    return identity;
}

Result<Identity> read_identity(Vfs& vfs, Fd file) noexcept {
    std::array<std::byte, Identity::kSizeMax> buffer;
    const Result<std::size_t> size = vfs.get_xattr(file, kIdentityAttribute, buffer);
    if (!size.ok()) {
        if (size.status().is_errno(ENODATA) || size.status().is_errno(ERANGE)) {
            return Code::not_found;
        }
        return size.status();
    }
    Result<Identity> identity = decode_identity(Bytes(buffer).first(size.value()));
    if (!identity.ok()) return Code::not_found;
    return identity;
}

Status write_identity(Vfs& vfs, Fd file, const Identity& identity) noexcept {
    ByteBuffer value;
    value.reserve(Identity::kSizeMax);
    encode_identity(identity, value);
    return vfs.set_xattr(file, kIdentityAttribute, value, 0);
}

}  // namespace gemel
