// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/handlers.hpp"

#include <array>

namespace gemel::fuse {

namespace {

struct Row {
    Handler handler = nullptr;
    bool changes = false;  // EROFS on a read-only mount
    const char* refusal = "no such opcode when this was written";
};

constexpr Row reads(Handler handler) { return {handler, false, nullptr}; }
constexpr Row changes(Handler handler) { return {handler, true, nullptr}; }
constexpr Row refused(const char* reason) { return {nullptr, false, reason}; }

constexpr std::array<Row, kOpcodeCount> make_table() {
    std::array<Row, kOpcodeCount> rows{};
    const auto at = [&rows](Opcode opcode) -> Row& {
        return rows[static_cast<std::uint32_t>(opcode)];
    };
    at(Opcode::init) = reads(handle_init);
    at(Opcode::destroy) = reads(handle_destroy);
    at(Opcode::forget) = reads(handle_without_answer);
    at(Opcode::batch_forget) = reads(handle_without_answer);
    // Every request is short or waits for the peer, which ends by itself within `detect`.
    at(Opcode::interrupt) = reads(handle_without_answer);
    at(Opcode::statfs) = reads(handle_statfs);
    at(Opcode::fsync) = reads(handle_fsync);
    at(Opcode::fsyncdir) = reads(handle_fsync);
    at(Opcode::syncfs) = reads(handle_syncfs);

    at(Opcode::lookup) = reads(handle_lookup);
    at(Opcode::getattr) = reads(handle_getattr);
    at(Opcode::statx) = reads(handle_statx);
    at(Opcode::readlink) = reads(handle_readlink);
    at(Opcode::getxattr) = reads(handle_getxattr);
    at(Opcode::listxattr) = reads(handle_listxattr);
    at(Opcode::open) = reads(handle_open);
    at(Opcode::release) = reads(handle_release);
    at(Opcode::read) = reads(handle_read);
    at(Opcode::lseek) = reads(handle_lseek);
    at(Opcode::opendir) = reads(handle_opendir);
    at(Opcode::releasedir) = reads(handle_release);
    at(Opcode::readdir) = reads(handle_readdir);
    at(Opcode::readdirplus) = reads(handle_readdirplus);

    at(Opcode::setattr) = changes(handle_setattr);
    at(Opcode::symlink) = changes(handle_symlink);
    at(Opcode::mknod) = changes(handle_mknod);
    at(Opcode::mkdir) = changes(handle_mkdir);
    at(Opcode::unlink) = changes(handle_unlink);
    at(Opcode::rmdir) = changes(handle_rmdir);
    at(Opcode::rename) = changes(handle_rename);
    at(Opcode::rename2) = changes(handle_rename2);
    at(Opcode::link) = changes(handle_link);
    at(Opcode::create) = changes(handle_create);
    at(Opcode::tmpfile) = changes(handle_tmpfile);
    at(Opcode::write) = changes(handle_write);
    at(Opcode::setxattr) = changes(handle_setxattr);
    at(Opcode::removexattr) = changes(handle_removexattr);
    at(Opcode::fallocate) = changes(handle_fallocate);
    at(Opcode::copy_file_range) = changes(handle_copy_file_range);
    at(Opcode::copy_file_range_64) = changes(handle_copy_file_range);

    at(Opcode::access) = refused("default_permissions: the kernel decides from mode and ACL");
    at(Opcode::flush) = refused("nothing is kept back for close(2): data are written through");
    at(Opcode::getlk) = refused("one mount has all openers, so the kernel keeps the locks");
    at(Opcode::setlk) = refused("one mount has all openers, so the kernel keeps the locks");
    at(Opcode::setlkw) = refused("one mount has all openers, so the kernel keeps the locks");
    at(Opcode::bmap) = refused("for swap files and lilo on block-device mounts only");
    at(Opcode::ioctl) = refused("an ioctl's effect could not be replicated; callers get ENOTTY");
    at(Opcode::poll) = refused("files are always ready, which the kernel then answers itself");
    at(Opcode::notify_reply) = refused("answers FUSE_NOTIFY_RETRIEVE, which is never sent");
    at(Opcode::setupmapping) = refused("DAX windows exist with virtiofs only");
    at(Opcode::removemapping) = refused("DAX windows exist with virtiofs only");
    return rows;
}

constexpr std::array<Row, kOpcodeCount> kTable = make_table();

}  // namespace

const char* refusal_reason(std::uint32_t opcode) noexcept {
    return opcode < kOpcodeCount ? kTable[opcode].refusal : Row{}.refusal;
}

bool changes_volume(std::uint32_t opcode) noexcept {
    return opcode < kOpcodeCount && kTable[opcode].changes;
}

void dispatch(Session& session, Request& request) noexcept {
    const std::uint32_t opcode = request.header.opcode;
    const Row row = opcode < kOpcodeCount ? kTable[opcode] : Row{};
    if (row.handler == nullptr) {
        session.answer_error(request, ENOSYS);
        return;
    }
    const bool is_init = opcode == static_cast<std::uint32_t>(Opcode::init);
    if (session.minor_version() == 0 && !is_init) {
        session.answer_malformed(request);
        return;
    }
    if (row.changes && session.read_only()) {
        session.answer_error(request, EROFS);
        return;
    }
    row.handler(session, request);
}

void fill_entry(Session& session, const Attributes& from, EntryOut& to) noexcept {
    to = {};
    to.nodeid = from.id.value;
    to.entry_valid = session.valid_seconds();
    to.attr_valid = session.valid_seconds();
    fill_attr(from, to.attr);
}

void answer_attributes(Session& session, Request& request, ObjectId object) noexcept {
    const Result<Attributes> found = session.attributes(object);
    if (!found.ok()) {
        session.answer_error(request, found.status().as_errno());
        return;
    }
    AttrOut out{};
    out.attr_valid = session.valid_seconds();
    fill_attr(found.value(), out.attr);
    session.answer_struct(request, out);
}

bool answered_failure(Session& session, Request& request, Status status) noexcept {
    if (status.ok()) return false;
    session.answer_error(request, status.as_errno());
    return true;
}

void answer_done(Session& session, Request& request, Status status) noexcept {
    session.answer_error(request, status.as_errno());
}

void remove_orphan(Session& session, Request& request, ObjectId orphan) noexcept {
    request.op = Op{};
    request.op.kind = OpKind::release_orphan;
    request.op.object = orphan;
    session.submit(request, [](Session& self, Request& done, Status status) noexcept {
        if (!status.ok()) {
            self.log().log(LogLevel::warning,
                           "fuse: an unlinked object could not be removed after its last close: " +
                               status.to_string());
        }
        // The caller's own request has succeeded; the orphan goes at the next start.
        self.answer_empty(done);
    });
}

}  // namespace gemel::fuse
