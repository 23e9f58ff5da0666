// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/op_codec.hpp"

#include <utility>

namespace gemel {

namespace {

// Which optional groups of fields a kind carries, in the order they are encoded.
struct Layout {
    bool parent = false, new_parent = false, range = false, source = false;
    bool attributes = false;  // mode, owner, times as resolved
    bool parent_time = false, new_parent_time = false;
    bool acls = false;
};

constexpr Layout layout_of(OpKind kind) noexcept {
    switch (kind) {
        case OpKind::write:
        case OpKind::truncate:
        case OpKind::allocate:
            return {.range = true};
        case OpKind::copy_range:
            return {.range = true, .source = true};
        case OpKind::create:
            return {.parent = true, .attributes = true, .parent_time = true, .acls = true};
        case OpKind::link:
        case OpKind::unlink:
        case OpKind::remove_directory:
            return {.parent = true, .parent_time = true};
        case OpKind::rename:
            return {
                .parent = true, .new_parent = true, .parent_time = true, .new_parent_time = true};
        case OpKind::set_attributes:
            return {.attributes = true};
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            // An ACL changes the mode: the resolved attributes travel with it.
            return {.attributes = true};
        case OpKind::release_orphan:
            return {};
    }
    return {};
}

constexpr bool is_known(OpKind kind) noexcept {
    return kind >= OpKind::write && kind <= OpKind::release_orphan;
}

enum Flag : std::uint8_t {
    kClearSetId = 1,
    kObjectInUse = 2,
    kObjectOrphaned = 4,
    kReplacedOrphaned = 8,
    kObjectGone = 16,
    kReplacedGone = 32,
};

std::uint8_t flags_of(const Op& op) noexcept {
    const Op::Resolved& r = op.resolved;
    return static_cast<std::uint8_t>(
        (op.clear_set_id ? kClearSetId : 0) | (op.object_in_use ? kObjectInUse : 0) |
        (r.object_orphaned ? kObjectOrphaned : 0) | (r.replaced_orphaned ? kReplacedOrphaned : 0) |
        (r.object_gone ? kObjectGone : 0) | (r.replaced_gone ? kReplacedGone : 0));
}

void set_flags(Op& op, std::uint8_t flags) noexcept {
    op.clear_set_id = (flags & kClearSetId) != 0;
    op.object_in_use = (flags & kObjectInUse) != 0;
    op.resolved.object_orphaned = (flags & kObjectOrphaned) != 0;
    op.resolved.replaced_orphaned = (flags & kReplacedOrphaned) != 0;
    op.resolved.object_gone = (flags & kObjectGone) != 0;
    op.resolved.replaced_gone = (flags & kReplacedGone) != 0;
}

bool is_name(std::string_view name) noexcept {
    return !name.empty() && name.size() <= kNameSizeMax && name != "." && name != ".." &&
           name.find('/') == name.npos && name.find('\0') == name.npos;
}

std::size_t data_size_max(OpKind kind) noexcept {
    switch (kind) {
        case OpKind::write:
            return kWriteSizeMax;
        case OpKind::create:
            return kLinkTargetSizeMax;
        case OpKind::set_xattr:
            return kXattrSizeMax;
        default:
            return 0;
    }
}

// Everything that can be wrong with an op whatever the volume holds.
bool is_valid(const Op& op, const Layout& layout) noexcept {
    if (op.object.is_none()) return false;
    if (layout.parent && op.parent.is_none()) return false;
    if (layout.new_parent && op.new_parent.is_none()) return false;
    if (layout.source && op.source.is_none()) return false;
    if (op.data.size() > data_size_max(op.kind)) return false;
    constexpr std::uint64_t kOffsetMax = static_cast<std::uint64_t>(INT64_MAX);
    if (op.offset > kOffsetMax || op.size > kOffsetMax - op.offset) return false;
    switch (op.kind) {
        case OpKind::write:
            return !op.data.empty() && op.size == op.data.size();
        case OpKind::create:
            return op.name.empty() || is_name(op.name);
        case OpKind::rename:
            return is_name(op.name) && is_name(op.new_name);
        case OpKind::link:
        case OpKind::unlink:
        case OpKind::remove_directory:
            return is_name(op.name);
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            return !op.name.empty() && op.name.size() <= kNameSizeMax &&
                   op.name.find('\0') == op.name.npos && !op.name.starts_with("trusted.gemel.");
        default:
            return true;
    }
}

}  // namespace

void encode_op(const Op& op, std::uint64_t number, ByteBuffer& head) {
    GEMEL_ASSERT(is_known(op.kind));
    const Layout layout = layout_of(op.kind);
    const Op::Resolved& r = op.resolved;
    ByteWriter out(head);
    out.put(number);
    out.put(op.kind);
    out.put(flags_of(op));
    out.put(op.volume);
    out.put(op.flags);
    out.put(op.mask);
    out.put(op.object);
    out.put(op.accessed);
    out.put(op.modified);
    if (layout.parent) out.put(op.parent);
    if (layout.new_parent) {
        out.put(op.new_parent);
        out.put(r.replaced);
    }
    if (layout.range) {
        out.put(op.offset);
        out.put(op.size);
    }
    if (layout.source) {
        out.put(op.source);
        out.put(op.source_offset);
    }
    if (layout.attributes) {
        out.put(r.mode);
        out.put(r.uid);
        out.put(r.gid);
        out.put(r.accessed);
        out.put(r.modified);
        out.put(op.special_device);
    }
    if (layout.parent_time) out.put(r.parent_modified);
    if (layout.new_parent_time) out.put(r.new_parent_modified);
    if (layout.acls) {
        out.sized(Bytes(r.access_acl));
        out.sized(Bytes(r.default_acl));
    }
    out.sized(op.name);
    out.sized(op.new_name);
    out.put(static_cast<std::uint32_t>(op.data.size()));
}

Result<DecodedOp> decode_op(Bytes payload) noexcept {
    ByteReader in(payload);
    DecodedOp decoded;
    Op& op = decoded.op;
    Op::Resolved& r = op.resolved;
    decoded.number = in.get<std::uint64_t>();
    op.kind = in.get<OpKind>();
    if (!in.ok() || !is_known(op.kind)) return Code::corrupt;
    const Layout layout = layout_of(op.kind);
    set_flags(op, in.get<std::uint8_t>());
    op.volume = in.get<std::uint16_t>();
    op.flags = in.get<std::uint32_t>();
    op.mask = in.get<std::uint8_t>();
    op.object = in.object_id();
    op.accessed = in.wall_time();
    op.modified = in.wall_time();
    if (layout.parent) op.parent = in.object_id();
    if (layout.new_parent) {
        op.new_parent = in.object_id();
        r.replaced = in.object_id();
    }
    if (layout.range) {
        op.offset = in.get<std::uint64_t>();
        op.size = in.get<std::uint64_t>();
    }
    if (layout.source) {
        op.source = in.object_id();
        op.source_offset = in.get<std::uint64_t>();
    }
    if (layout.attributes) {
        r.mode = in.get<std::uint32_t>();
        r.uid = in.get<std::uint32_t>();
        r.gid = in.get<std::uint32_t>();
        r.accessed = in.wall_time();
        r.modified = in.wall_time();
        op.special_device = in.get<std::uint64_t>();
    }
    if (layout.parent_time) r.parent_modified = in.wall_time();
    if (layout.new_parent_time) r.new_parent_modified = in.wall_time();
    if (layout.acls) {
        const Bytes access = in.sized(kXattrSizeMax);
        r.access_acl.assign(access.begin(), access.end());
        const Bytes standard = in.sized(kXattrSizeMax);
        r.default_acl.assign(standard.begin(), standard.end());
    }
    op.name = as_text(in.sized(kNameSizeMax));
    op.new_name = as_text(in.sized(kNameSizeMax));
    op.data = in.sized(data_size_max(op.kind));
    if (!in.at_end() || !is_valid(op, layout)) return Code::corrupt;
    return decoded;
}

}  // namespace gemel
