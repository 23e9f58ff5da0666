// SPDX-License-Identifier: Apache-2.0
#include "resync/verify_compare.hpp"

#include "engine/mirror/op_codec.hpp"
#include "resync/wire_fields.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <sys/stat.h>
#include <utility>

namespace gemel {

namespace {

// So much of an attribute's value is shown.
constexpr std::size_t kShownMax = 64;
constexpr std::size_t kXattrsMax = 65536;

const char* type_name(std::uint32_t mode) noexcept {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return "regular file";
        case S_IFDIR:
            return "directory";
        case S_IFLNK:
            return "symbolic link";
        case S_IFCHR:
            return "character device";
        case S_IFBLK:
            return "block device";
        case S_IFIFO:
            return "pipe";
        case S_IFSOCK:
            return "socket";
        default:
            return "unknown";
    }
}

std::string shown_mode(std::uint32_t mode) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%04o", mode & 07777);
    return text.data();
}

std::string shown_time(WallTime time) {
    const std::time_t seconds = time.seconds;
    std::tm parts{};
    std::array<char, 32> date{};
    std::array<char, 48> text{};
    if (gmtime_r(&seconds, &parts) == nullptr) return std::to_string(time.seconds);
    std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(text.data(), text.size(), "%s.%09uZ", date.data(), time.nanoseconds);
    return text.data();
}

std::string shown_bytes(Bytes value, std::uint64_t size) {
    std::string text;
    for (const std::byte one : value) {
        const auto c = static_cast<unsigned char>(one);
        if (c >= ' ' && c < 0x7f && c != '\\') {
            text += static_cast<char>(c);
        } else {
            std::array<char, 8> escaped{};
            std::snprintf(escaped.data(), escaped.size(), "\\x%02x", c);
            text += escaped.data();
        }
    }
    if (size > value.size()) text += "... (" + std::to_string(size) + " bytes)";
    return text;
}

void compare_xattrs(const ObjectDescription& here, const ObjectDescription& there,
                    std::vector<VerifyDetail>& details) {
    auto left = here.xattrs.begin();
    auto right = there.xattrs.begin();
    while (left != here.xattrs.end() || right != there.xattrs.end()) {
        const bool has_left =
            left != here.xattrs.end() && (right == there.xattrs.end() || left->name <= right->name);
        const bool has_right =
            right != there.xattrs.end() && (left == here.xattrs.end() || right->name <= left->name);
        const bool equal =
            has_left && has_right && left->size == right->size && left->digest == right->digest;
        if (!equal) {
            details.push_back({"xattr " + (has_left ? left : right)->name,
                               has_left ? shown_bytes(left->value, left->size) : "(none)",
                               has_right ? shown_bytes(right->value, right->size) : "(none)"});
        }
        if (has_left) ++left;
        if (has_right) ++right;
    }
}

}  // namespace

bool is_gone(Status status) noexcept {
    return status.is_errno(ENOENT) || status.is_errno(ESTALE) || status.code() == Code::not_found;
}

void NamesDigest::add(std::string_view name, ObjectId id) {
    const Digest128 one = digest128(as_bytes(name), id.value);
    digest.low += one.low;
    digest.high += one.high;
    ++count;
}

Result<ObjectDescription> describe_object(DirectoryVolume& volume, ObjectId object) noexcept {
    if (!volume.exists(object)) return Status::from_errno(ESTALE);
    Result<DirectoryVolume::FullAttributes> now = volume.full_attributes(object);
    if (!now.ok()) return now.status();
    const FileStat& stat = now->stat;
    ObjectDescription description;
    description.mode = stat.mode;
    description.uid = stat.uid;
    description.gid = stat.gid;
    description.modified = stat.modified;
    if (S_ISREG(stat.mode)) description.size = stat.size;
    if (S_ISCHR(stat.mode) || S_ISBLK(stat.mode)) description.device = stat.special_device;
    if (S_ISLNK(stat.mode)) {
        Result<ByteBuffer> target = volume.read_link(object);
        if (!target.ok()) return target.status();
        description.link_target = std::move(target).value();
    }
    for (auto& [name, value] : now->xattrs) {
        ObjectDescription::Xattr xattr{std::move(name), value.size(), digest128(value), {}};
        value.resize(std::min(value.size(), kShownMax));
        xattr.value = std::move(value);
        description.xattrs.push_back(std::move(xattr));
    }
    std::sort(description.xattrs.begin(), description.xattrs.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return description;
}

void encode_description(const ObjectDescription& description, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(description.mode);
    out.put(description.uid);
    out.put(description.gid);
    out.put(description.device);
    out.put(description.size);
    out.put(description.modified);
    out.sized(description.link_target);
    out.put(static_cast<std::uint32_t>(description.xattrs.size()));
    for (const ObjectDescription::Xattr& xattr : description.xattrs) {
        out.sized(xattr.name);
        out.put(xattr.size);
        put_digest(out, xattr.digest);
        out.sized(xattr.value);
    }
}

Result<ObjectDescription> decode_description(Bytes payload) noexcept {
    ByteReader in(payload);
    ObjectDescription description;
    description.mode = in.get<std::uint32_t>();
    description.uid = in.get<std::uint32_t>();
    description.gid = in.get<std::uint32_t>();
    description.device = in.get<std::uint64_t>();
    description.size = in.get<std::uint64_t>();
    description.modified = in.wall_time();
    const Bytes target = in.sized(kLinkTargetSizeMax);
    description.link_target.assign(target.begin(), target.end());
    const auto count = in.get<std::uint32_t>();
    if (count > kXattrsMax) in.fail();
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        ObjectDescription::Xattr xattr;
        xattr.name = as_text(in.sized(kNameSizeMax));
        xattr.size = in.get<std::uint64_t>();
        xattr.digest = get_digest(in);
        const Bytes value = in.sized(kShownMax);
        xattr.value.assign(value.begin(), value.end());
        description.xattrs.push_back(std::move(xattr));
    }
    if (!in.at_end()) return Code::corrupt;
    return description;
}

Digest128 digest_of(const ObjectDescription& description) {
    ByteBuffer encoded;
    encode_description(description, encoded);
    return digest128(encoded);
}

std::vector<VerifyDetail> differences(const ObjectDescription& here,
                                      const ObjectDescription& there) {
    std::vector<VerifyDetail> details;
    const auto compare = [&](const char* what, const auto& left, const auto& right,
                             const auto& shown) {
        if (left != right) details.push_back({what, shown(left), shown(right)});
    };
    const auto number = [](auto value) { return std::to_string(value); };
    const auto bytes = [](const ByteBuffer& value) { return shown_bytes(value, value.size()); };
    compare("type", here.mode & S_IFMT, there.mode & S_IFMT, type_name);
    compare("mode", here.mode & 07777, there.mode & 07777, shown_mode);
    compare("uid", here.uid, there.uid, number);
    compare("gid", here.gid, there.gid, number);
    compare("device", here.device, there.device, number);
    compare("size", here.size, there.size, number);
    compare("modified", here.modified, there.modified, shown_time);
    compare("target", here.link_target, there.link_target, bytes);
    compare_xattrs(here, there, details);
    return details;
}

Status read_for_verify(Vfs& vfs, Volume& volume, const VerifyUnit& unit, Chunk& chunk) noexcept {
    const Result<Fd> fd = volume.data_fd(unit.object);
    if (!fd.ok()) return fd.status();
    if (unit.disk && volume.as_block() == nullptr) GEMEL_TRY(vfs.drop_cache(fd.value()));
    return read_chunk(vfs, fd.value(), unit.offset, unit.size, zeros_of(volume), chunk);
}

std::vector<BlockMark> block_marks(const Chunk& chunk) {
    static constexpr std::array<std::byte, kChunkBlock> kZeros{};
    const std::uint64_t zeros = checksum64(kZeros);
    std::vector<BlockMark> marks((chunk.size + kChunkBlock - 1) / kChunkBlock, {zeros, false});
    std::size_t from = 0;
    std::array<std::byte, kChunkBlock> padded{};
    for (const DataSegment& segment : chunk.segments) {
        for (std::uint32_t at = segment.begin; at < segment.end;) {
            const std::size_t step = std::min<std::size_t>(kChunkBlock, segment.end - at);
            Bytes block = Bytes(chunk.data).subspan(from, step);
            if (step < kChunkBlock) {
                padded.fill(std::byte{0});
                std::copy(block.begin(), block.end(), padded.begin());
                block = padded;
            }
            marks[at / kChunkBlock] = {checksum64(block), true};
            from += step;
            at += static_cast<std::uint32_t>(step);
        }
    }
    return marks;
}

}  // namespace gemel
