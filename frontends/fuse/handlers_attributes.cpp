// SPDX-License-Identifier: Apache-2.0
// Requests about what an object is: attributes, link targets, extended attributes and ACLs.
#include "frontends/fuse/handlers.hpp"

#include <string_view>
#include <sys/stat.h>
#include <sys/xattr.h>

namespace gemel::fuse {

namespace {

constexpr std::size_t kXattrNameMax = 255;         // XATTR_NAME_MAX
constexpr std::size_t kXattrValueMax = 64 * kKiB;  // XATTR_SIZE_MAX, XATTR_LIST_MAX
constexpr std::string_view kTrustedPrefix = "trusted.";

WallTime wall_time(std::uint64_t seconds, std::uint32_t nanoseconds) noexcept {
    return {static_cast<std::int64_t>(seconds), nanoseconds};
}

void answer_changed(Session& session, Request& request, Status status) noexcept {
    if (answered_failure(session, request, status)) return;
    answer_attributes(session, request, request.node());
}

// Fills request.op with everything of request.setattr but the size. False: there is nothing else.
bool fill_attribute_op(Session& session, Request& request, const FileStat& now) noexcept {
    const SetattrIn& in = request.setattr;
    request.op = Op{};
    Op& op = request.op;
    op.kind = OpKind::set_attributes;
    op.object = request.node();
    const bool regular = (now.mode & S_IFMT) == S_IFREG;
    const bool owner = (in.valid & (kSetattrUid | kSetattrGid)) != 0;
    std::uint32_t mode = now.mode & 07777U;
    if ((in.valid & kSetattrMode) != 0) mode = in.mode & 07777U;
    // Owner changed, or (no field at all) a write is about to follow by somebody who may not keep
    // the bits: the kernel leaves dropping them to us, and takes the mode from the answer. For
    // root the latter means that only capabilities go, which the write itself removes.
    const bool before_write =
        (in.valid & ~std::uint32_t{kSetattrFh | kSetattrLockOwner | kSetattrKillSuidgid}) == 0 &&
        request.header.uid != 0;
    if (owner && (in.valid & kSetattrKillSuidgid) != 0) mode = without_set_id(mode);
    if (before_write && regular) mode = without_set_id(mode);
    if ((in.valid & kSetattrMode) != 0 || mode != (now.mode & 07777U)) {
        op.mask |= kSetMode;
        op.mode = mode;
    }
    if (owner) {
        op.mask |= kSetOwner;
        op.uid = (in.valid & kSetattrUid) != 0 ? in.uid : now.uid;
        op.gid = (in.valid & kSetattrGid) != 0 ? in.gid : now.gid;
    }
    const WallTime present = session.loop().wall_time();
    if ((in.valid & kSetattrAtime) != 0) {
        op.mask |= kSetAccessed;
        const bool to_now = (in.valid & kSetattrAtimeNow) != 0;
        op.accessed = to_now ? present : wall_time(in.atime, in.atimensec);
    }
    if ((in.valid & kSetattrMtime) != 0) {
        op.mask |= kSetModified;
        const bool to_now = (in.valid & kSetattrMtimeNow) != 0;
        op.modified = to_now ? present : wall_time(in.mtime, in.mtimensec);
    }
    return op.mask != 0;
}

void set_other_attributes(Session& session, Request& request, Status status) noexcept {
    if (answered_failure(session, request, status)) return;
    const Result<Attributes> now = session.volume().attributes(request.node());
    if (answered_failure(session, request, now.status())) return;
    if (!fill_attribute_op(session, request, now.value().stat)) {
        answer_attributes(session, request, request.node());
        return;
    }
    session.submit(request, answer_changed);
}

// 0 or the errno for the name of an extended attribute.
int xattr_name_error(std::string_view name) noexcept {
    return name.empty() || name.size() > kXattrNameMax ? ERANGE : 0;
}

// Answers the size alone, as the first call of every reader of extended attributes wants it.
void answer_size(Session& session, Request& request, std::size_t size) noexcept {
    if (size > kXattrValueMax) {
        session.answer_error(request, E2BIG);
        return;
    }
    GetxattrOut out{};
    out.size = static_cast<std::uint32_t>(size);
    session.answer_struct(request, out);
}

}  // namespace

void handle_getattr(Session& session, Request& request) noexcept {
    answer_attributes(session, request, request.node());
}

void handle_statx(Session& session, Request& request) noexcept {
    const Result<Attributes> found = session.attributes(request.node());
    if (answered_failure(session, request, found.status())) return;
    StatxOut out{};
    out.attr_valid = session.valid_seconds();
    fill_statx(found.value(), out.stat);
    session.answer_struct(request, out);
}

void handle_setattr(Session& session, Request& request) noexcept {
    request.setattr = request.body.take<SetattrIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    const SetattrIn& in = request.setattr;
    if ((in.valid & kSetattrSize) == 0) {
        set_other_attributes(session, request, Status());
        return;
    }
    Op& op = request.op;
    op.kind = OpKind::truncate;
    op.object = request.node();
    op.size = in.size;
    op.clear_set_id = (in.valid & kSetattrKillSuidgid) != 0;
    op.accessed = op.modified = session.loop().wall_time();
    // The bits are dropped with the truncation; what is left are changes that were asked for.
    request.setattr.valid &= ~std::uint32_t{kSetattrSize | kSetattrKillSuidgid};
    const std::uint32_t others =
        kSetattrMode | kSetattrUid | kSetattrGid | kSetattrAtime | kSetattrMtime;
    session.submit(request, (in.valid & others) != 0 ? set_other_attributes : answer_changed);
}

void handle_readlink(Session& session, Request& request) noexcept {
    const Result<ByteBuffer> target = session.volume().read_link(request.node());
    if (answered_failure(session, request, target.status())) return;
    session.answer_bytes(request, target.value());
}

void handle_setxattr(Session& session, Request& request) noexcept {
    SetxattrIn in{};
    // InitOut took kInitSetxattrExt exactly when the kernel offered it: from 7.33 on (Linux 5.13).
    request.body.take_into(in, session.minor_version() >= 33 ? sizeof in : kSetxattrInCompatSize);
    const std::string_view name = request.body.string();
    const Bytes value = request.body.bytes(in.size);
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    if (const int error = xattr_name_error(name); error != 0) {
        session.answer_error(request, error);
        return;
    }
    Op& op = request.op;
    op.kind = OpKind::set_xattr;
    op.object = request.node();
    op.name = name;
    op.data = value;
    op.flags = in.flags;
    // An access ACL set by somebody outside the file's group: the volume drops set-group-id.
    op.clear_set_id = (in.setxattr_flags & kSetxattrAclKillSgid) != 0;
    session.submit(request, answer_done);
}

void handle_removexattr(Session& session, Request& request) noexcept {
    const std::string_view name = request.body.string();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    if (const int error = xattr_name_error(name); error != 0) {
        session.answer_error(request, error);
        return;
    }
    request.op.kind = OpKind::remove_xattr;
    request.op.object = request.node();
    request.op.name = name;
    session.submit(request, answer_done);
}

void handle_getxattr(Session& session, Request& request) noexcept {
    Body body = request.body;  // taken again after a lack of memory
    const auto in = body.take<GetxattrIn>();
    const std::string_view name = body.string();
    if (!body.ok()) {
        session.answer_malformed(request);
        return;
    }
    if (const int error = xattr_name_error(name); error != 0) {
        session.answer_error(request, error);
        return;
    }
    if (in.size == 0) {
        const Result<std::size_t> size = session.volume().get_xattr(request.node(), name, {});
        if (answered_failure(session, request, size.status())) return;
        answer_size(session, request, size.value());
        return;
    }
    // The answer's memory may lie over the request's: the name is kept apart.
    char kept[kXattrNameMax];
    std::memcpy(kept, name.data(), name.size());
    const std::string_view kept_name(kept, name.size());
    const std::size_t room = std::min<std::size_t>(in.size, kXattrValueMax);
    if (!session.take_space(request, room, handle_getxattr)) return;
    const Result<std::size_t> size =
        session.volume().get_xattr(request.node(), kept_name, request.space);
    if (answered_failure(session, request, size.status())) return;
    session.answer_bytes(request, request.space.first(size.value()));
}

void handle_listxattr(Session& session, Request& request) noexcept {
    Body body = request.body;
    const auto in = body.take<GetxattrIn>();
    if (!body.ok()) {
        session.answer_malformed(request);
        return;
    }
    const Result<std::vector<std::string>> names = session.volume().list_xattrs(request.node());
    if (answered_failure(session, request, names.status())) return;
    // As file systems do, trusted attributes are shown to root alone (reading them is refused by
    // the kernel before it asks us).
    const auto shown = [&request](const std::string& name) {
        return request.header.uid == 0 || !name.starts_with(kTrustedPrefix);
    };
    std::size_t size = 0;
    for (const std::string& name : names.value()) size += shown(name) ? name.size() + 1 : 0;
    if (in.size == 0) {
        answer_size(session, request, size);
        return;
    }
    if (size > in.size || size > kXattrValueMax) {
        session.answer_error(request, size > kXattrValueMax ? E2BIG : ERANGE);
        return;
    }
    if (!session.take_space(request, size, handle_listxattr)) return;
    std::size_t at = 0;
    for (const std::string& name : names.value()) {
        if (!shown(name)) continue;
        std::memcpy(request.space.data() + at, name.c_str(), name.size() + 1);
        at += name.size() + 1;
    }
    session.answer_bytes(request, request.space.first(at));
}

}  // namespace gemel::fuse
