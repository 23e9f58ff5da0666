// SPDX-License-Identifier: Apache-2.0
// The owner's, the group class's and the others' entries are limited by the mode asked for, and the
// mode by them; where a mask is present it stands for the group class.
#include "engine/store/posix_acl.hpp"

#include <sys/stat.h>
#include <vector>

namespace gemel {

namespace {

constexpr std::uint32_t kVersion = 2;
// Tags of <linux/posix_acl.h>.
constexpr std::uint16_t kUserObject = 0x01;
constexpr std::uint16_t kUser = 0x02;
constexpr std::uint16_t kGroupObject = 0x04;
constexpr std::uint16_t kGroup = 0x08;
constexpr std::uint16_t kMask = 0x10;
constexpr std::uint16_t kOther = 0x20;

struct Entry {
    std::uint16_t tag = 0;
    std::uint16_t permissions = 0;
    std::uint32_t id = 0;
};

Status decode(Bytes value, std::vector<Entry>& entries) noexcept {
    ByteReader reader(value);
    if (reader.get<std::uint32_t>() != kVersion) return Status(Code::corrupt);
    while (reader.ok() && reader.remaining() > 0) {
        Entry entry;
        entry.tag = reader.get<std::uint16_t>();
        entry.permissions = reader.get<std::uint16_t>();
        entry.id = reader.get<std::uint32_t>();
        if ((entry.permissions & ~7U) != 0) return Status(Code::corrupt);
        entries.push_back(entry);
    }
    return reader.ok() ? Status() : Status(Code::corrupt);
}

ByteBuffer encode(const std::vector<Entry>& entries) {
    ByteBuffer value;
    ByteWriter writer(value);
    writer.put(kVersion);
    for (const Entry& entry : entries) {
        writer.put(entry.tag);
        writer.put(entry.permissions);
        writer.put(entry.id);
    }
    return value;
}

// Limits the entry by the three bits of `mode` at `shift`, and those bits by the entry.
void limit(Entry& entry, std::uint32_t& mode, unsigned shift) noexcept {
    entry.permissions = static_cast<std::uint16_t>(entry.permissions & ((mode >> shift) & 7U));
    mode &= (std::uint32_t{entry.permissions} << shift) | ~(7U << shift);
}

}  // namespace

Result<InheritedAcl> inherit_acl(Bytes parent_default, std::uint32_t mode) noexcept {
    std::vector<Entry> entries;
    GEMEL_TRY(decode(parent_default, entries));
    Entry* owner = nullptr;
    Entry* group = nullptr;
    Entry* mask = nullptr;
    Entry* other = nullptr;
    bool extended = false;
    for (Entry& entry : entries) {
        switch (entry.tag) {
            case kUserObject:
                owner = &entry;
                break;
            case kGroupObject:
                group = &entry;
                break;
            case kMask:
                mask = &entry;
                break;
            case kOther:
                other = &entry;
                break;
            case kUser:
            case kGroup:
                extended = true;
                break;
            default:
                return Code::corrupt;
        }
    }
    if (owner == nullptr || group == nullptr || other == nullptr) return Code::corrupt;
    if (extended && mask == nullptr) return Code::corrupt;
    InheritedAcl result;
    if (S_ISDIR(mode)) result.default_acl.assign(parent_default.begin(), parent_default.end());
    limit(*owner, mode, 6);
    limit(mask != nullptr ? *mask : *group, mode, 3);
    limit(*other, mode, 0);
    if (mask != nullptr) result.access = encode(entries);
    result.mode = mode;
    return result;
}

}  // namespace gemel
