// SPDX-License-Identifier: Apache-2.0
// Requests that find, make, move and remove names.
//
// The kernel holds the directories' locks from the request to its answer, so what a name stands for
// cannot change between looking it up here and carrying the op out.
#include "frontends/fuse/handlers.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

namespace gemel::fuse {

namespace {

// Answers and returns true when the body is short or the name is no name.
bool answered_bad_name(Session& session, Request& request, std::string_view name) noexcept {
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return true;
    }
    const int error = name_error(name);
    if (error == 0) return false;
    session.answer_error(request, error);
    return true;
}

void answer_entry(Session& session, Request& request, ObjectId object) noexcept {
    const Result<Attributes> found = session.volume().attributes(object);
    if (answered_failure(session, request, found.status())) return;
    EntryOut out{};
    fill_entry(session, found.value(), out);
    session.answer_struct(request, out);
}

// EntryOut and OpenOut of an object that has just been opened.
void answer_opened(Session& session, Request& request, ObjectId object) noexcept {
    const Result<Attributes> found = session.volume().attributes(object);
    if (!found.ok()) {
        if (session.opened().close(object)) {
            remove_orphan(session, request, object);
            return;
        }
        session.answer_error(request, found.status().as_errno());
        return;
    }
    EntryOut entry{};
    fill_entry(session, found.value(), entry);
    OpenOut open{};
    open.open_flags = open_reply_flags(session, request.open_flags);
    session.answer_two(request, std::as_bytes(std::span(&entry, 1)),
                       std::as_bytes(std::span(&open, 1)));
}

// The common fields of a create; the caller adds mode, umask and what the type needs.
Op& begin_create(Session& session, Request& request, std::string_view name) noexcept {
    Op& op = request.op;
    op.kind = OpKind::create;
    op.parent = request.node();
    op.name = name;
    op.uid = request.header.uid;
    op.gid = request.header.gid;
    op.accessed = op.modified = session.loop().wall_time();
    return op;
}

void created(Session& session, Request& request, Status status) noexcept {
    if (answered_failure(session, request, status)) return;
    answer_entry(session, request, request.op.object);
}

void opened_new(Session& session, Request& request, Status status) noexcept {
    if (status.is_errno(EEXIST) && !request.op.name.empty() && (request.open_flags & O_EXCL) == 0) {
        const Result<Attributes> found =
            session.volume().lookup(request.op.parent, request.op.name);
        if (answered_failure(session, request, found.status())) return;
        session.opened().open(found.value().id);
        answer_opened(session, request, found.value().id);
        return;
    }
    if (answered_failure(session, request, status)) return;
    session.opened().open(request.op.object);
    if (request.op.name.empty()) session.opened().mark_orphan(request.op.object);
    answer_opened(session, request, request.op.object);
}

// Puts into request.victim what the name stands for, or none when it is not there.
Status find_victim(Session& session, Request& request, ObjectId parent,
                   std::string_view name) noexcept {
    const Result<Attributes> found = session.volume().lookup(parent, name);
    request.victim = found.ok() ? found.value() : Attributes();
    return found.status().is_errno(ENOENT) ? Status() : found.status();
}

void removed(Session& session, Request& request, Status status) noexcept {
    const Op::Resolved& resolved = request.op.resolved;
    const bool orphaned = status.ok() && (resolved.object_orphaned || resolved.replaced_orphaned);
    const bool unused = session.opened().end_removal(request.removal, orphaned);
    if (answered_failure(session, request, status)) return;
    if (resolved.object_gone || resolved.replaced_gone) session.removed().remember(request.victim);
    if (unused) {
        remove_orphan(session, request, request.victim.id);
        return;
    }
    session.answer_empty(request);
}

void remove_name(Session& session, Request& request, OpKind kind) noexcept {
    const std::string_view name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    const Status looked = find_victim(session, request, request.node(), name);
    if (answered_failure(session, request, looked)) return;
    if (request.victim.id.is_none()) {
        session.answer_error(request, ENOENT);
        return;
    }
    Op& op = request.op;
    op.kind = kind;
    op.parent = request.node();
    op.name = name;
    op.modified = session.loop().wall_time();
    session.opened().begin_removal(request.removal, request.victim.id, op);
    session.submit(request, removed);
}

void rename_name(Session& session, Request& request, ObjectId new_parent,
                 std::uint32_t flags) noexcept {
    const std::string_view name = request.body.string();
    const std::string_view new_name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    if (answered_bad_name(session, request, new_name)) return;
    // A whiteout would be a second object made by one op. Nobody but overlayfs, with this volume
    // as its upper layer, asks for one; it falls back to mknod.
    if ((flags & ~std::uint32_t{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) {
        session.answer_error(request, EINVAL);
        return;
    }
    const Status looked = find_victim(session, request, new_parent, new_name);
    if (answered_failure(session, request, looked)) return;
    Op& op = request.op;
    op.kind = OpKind::rename;
    op.parent = request.node();
    op.name = name;
    op.new_parent = new_parent;
    op.new_name = new_name;
    op.flags = flags;
    op.modified = session.loop().wall_time();
    session.opened().begin_removal(request.removal, request.victim.id, op);
    session.submit(request, removed);
}

}  // namespace

void handle_lookup(Session& session, Request& request) noexcept {
    const std::string_view name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    const Result<Attributes> found = session.volume().lookup(request.node(), name);
    EntryOut out{};
    if (found.ok()) {
        fill_entry(session, found.value(), out);
    } else if (found.status().is_errno(ENOENT) && session.valid_seconds() > 0) {
        out.entry_valid = session.valid_seconds();  // nodeid 0: known not to be there
    } else {
        session.answer_error(request, found.status().as_errno());
        return;
    }
    session.answer_struct(request, out);
}

void handle_mknod(Session& session, Request& request) noexcept {
    const auto in = request.body.take<MknodIn>();
    const std::string_view name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    Op& op = begin_create(session, request, name);
    op.mode = in.mode;
    op.umask = in.umask;
    const std::uint32_t type = in.mode & S_IFMT;
    if (type == S_IFCHR || type == S_IFBLK) op.special_device = decode_device(in.rdev);
    session.submit(request, created);
}

void handle_mkdir(Session& session, Request& request) noexcept {
    const auto in = request.body.take<MkdirIn>();
    const std::string_view name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    Op& op = begin_create(session, request, name);
    op.mode = S_IFDIR | (in.mode & 07777U);
    op.umask = in.umask;
    session.submit(request, created);
}

void handle_symlink(Session& session, Request& request) noexcept {
    const std::string_view name = request.body.string();
    const std::string_view target = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    Op& op = begin_create(session, request, name);
    op.mode = S_IFLNK | 0777U;
    op.data = as_bytes(target);
    session.submit(request, created);
}

void handle_create(Session& session, Request& request) noexcept {
    const auto in = request.body.take<CreateIn>();
    const std::string_view name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    Op& op = begin_create(session, request, name);
    op.mode = S_IFREG | (in.mode & 07777U);
    op.umask = in.umask;
    request.open_flags = in.flags;
    session.submit(request, opened_new);
}

void handle_tmpfile(Session& session, Request& request) noexcept {
    const auto in = request.body.take<CreateIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    Op& op = begin_create(session, request, {});
    op.mode = S_IFREG | (in.mode & 07777U);
    op.umask = in.umask;
    request.open_flags = in.flags;
    session.submit(request, opened_new);
}

void handle_link(Session& session, Request& request) noexcept {
    const auto in = request.body.take<LinkIn>();
    const std::string_view name = request.body.string();
    if (answered_bad_name(session, request, name)) return;
    Op& op = request.op;
    op.kind = OpKind::link;
    op.object = ObjectId{in.oldnodeid};
    op.parent = request.node();
    op.name = name;
    op.modified = session.loop().wall_time();
    session.submit(request, [](Session& self, Request& done, Status status) noexcept {
        if (answered_failure(self, done, status)) return;
        self.opened().clear_orphan(done.op.object);
        answer_entry(self, done, done.op.object);
    });
}

void handle_unlink(Session& session, Request& request) noexcept {
    remove_name(session, request, OpKind::unlink);
}

void handle_rmdir(Session& session, Request& request) noexcept {
    remove_name(session, request, OpKind::remove_directory);
}

void handle_rename(Session& session, Request& request) noexcept {
    const auto in = request.body.take<RenameIn>();
    rename_name(session, request, ObjectId{in.newdir}, 0);
}

void handle_rename2(Session& session, Request& request) noexcept {
    const auto in = request.body.take<Rename2In>();
    rename_name(session, request, ObjectId{in.newdir}, in.flags);
}

}  // namespace gemel::fuse
