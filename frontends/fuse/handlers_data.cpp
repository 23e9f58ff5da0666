// SPDX-License-Identifier: Apache-2.0
// Requests about the content of regular files.
#include "frontends/fuse/dev_fuse_transport.hpp"
#include "frontends/fuse/handlers.hpp"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

namespace gemel::fuse {

namespace {

// A copy is carried out on the loop: in pieces, so that nobody waits long behind it. The caller of
// copy_file_range(2) goes on with the rest, as it must after any short copy.
constexpr std::uint64_t kCopySizeMax = 8 * kMiB;
// From here on (Linux 6.6) the kernel itself sends FSYNC after a cached write that asked for
// O_SYNC or O_DSYNC, and invalidates the cache after one that went around it.
constexpr std::uint32_t kMinorOfOwnSync = 39;
constexpr std::uint32_t kMinorOfCoherentDirectIo = 40;  // Linux 6.9: per-inode mode of I/O

void answer_written(Session& session, Request& request, Status status) noexcept {
    if (answered_failure(session, request, status)) return;
    WriteOut out{};
    out.size = static_cast<std::uint32_t>(request.op.size);
    session.answer_struct(request, out);
}

void sync_written(Session& session, Request& request, Status status) noexcept {
    if (answered_failure(session, request, status)) return;
    const bool data_only = (request.open_flags & O_SYNC) != O_SYNC;  // O_SYNC includes O_DSYNC
    session.sync(request, request.node(), data_only, answer_written);
}

void read_on(Session& session, Request& request) noexcept;

void read_more(Session& session, Request& request, Status status) noexcept {
    if (!status.ok()) session.note_read_failure(status);
    if (!status.ok() && request.filled == 0) {
        session.volume().unpin(request.node());
        session.answer_error(request, status.as_errno());
        return;
    }
    request.filled += request.read.count;
    if (request.read.count > 0 && request.filled < request.space.size()) {
        // The kernel takes a short answer for the end of the file, so it must be that.
        const Result<Attributes> now = session.volume().attributes(request.node());
        if (now.ok() && request.range.offset + request.filled < now.value().stat.size) {
            read_on(session, request);
            return;
        }
    }
    session.volume().unpin(request.node());
    session.answer_bytes(request, request.space.first(request.filled));
}

void read_on(Session& session, Request& request) noexcept {
    const Result<Fd> file = session.volume().data_fd(request.node());
    if (!file.ok()) {
        session.volume().unpin(request.node());
        session.answer_error(request, file.status().as_errno());
        return;
    }
    session.read(request, file.value(), request.space.subspan(request.filled),
                 request.range.offset + request.filled, read_more);
}

// Begins to read request.range; comes again when memory for a large answer was lacking.
void begin_read(Session& session, Request& request) noexcept {
    if (!session.take_space(request, request.range.size, begin_read)) return;
    const Result<Fd> file = session.volume().pin(request.node());
    if (answered_failure(session, request, file.status())) return;
    session.read(request, file.value(), request.space, request.range.offset, read_more);
}

}  // namespace

std::uint32_t open_reply_flags(const Session& session, std::uint32_t flags) noexcept {
    if (session.read_only()) return kOpenDirectIo | kOpenNoFlush;
    // O_DIRECT needs no cache here; alone on an inode, such writes may overlap each other.
    if ((flags & O_DIRECT) != 0 && session.minor_version() >= kMinorOfCoherentDirectIo) {
        return kOpenDirectIo | kOpenNoFlush | kOpenParallelDirectWrites;
    }
    return kOpenKeepCache | kOpenNoFlush;
}

void handle_open(Session& session, Request& request) noexcept {
    const auto in = request.body.take<OpenIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    // Counted first: from here on its removal makes an orphan of it.
    session.opened().open(request.node());
    const Result<Attributes> found = session.volume().attributes(request.node());
    if (!found.ok()) {
        if (session.opened().close(request.node())) {
            remove_orphan(session, request, request.node());
            return;
        }
        session.answer_error(request, found.status().as_errno());
        return;
    }
    OpenOut out{};
    out.open_flags = open_reply_flags(session, in.flags);
    session.answer_struct(request, out);
}

void handle_release(Session& session, Request& request) noexcept {
    if (session.opened().close(request.node()) && !session.read_only()) {
        remove_orphan(session, request, request.node());
        return;
    }
    session.answer_empty(request);
}

void handle_read(Session& session, Request& request) noexcept {
    request.range = request.body.take<ReadIn>();
    if (!request.body.ok() || request.range.size > DevFuseTransport::kDataSizeMax) {
        session.answer_malformed(request);
        return;
    }
    if (request.range.size == 0) {
        session.answer_empty(request);
        return;
    }
    begin_read(session, request);
}

void handle_write(Session& session, Request& request) noexcept {
    const auto in = request.body.take<WriteIn>();
    const Bytes data = request.body.bytes(in.size);
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    Op& op = request.op;
    op.kind = OpKind::write;
    op.object = request.node();
    op.offset = in.offset;
    op.size = data.size();
    op.data = data;
    request.open_flags = in.flags;
    op.clear_set_id = (in.write_flags & kWriteKillSuidgid) != 0;
    op.accessed = op.modified = session.loop().wall_time();
    const bool cached = (open_reply_flags(session, in.flags) & kOpenDirectIo) == 0;
    const bool kernel_syncs = cached && session.minor_version() >= kMinorOfOwnSync;
    const bool durable = (in.flags & O_DSYNC) != 0 && (in.write_flags & kWriteCache) == 0;
    session.submit(request, durable && !kernel_syncs ? sync_written : answer_written);
}

void handle_fallocate(Session& session, Request& request) noexcept {
    const auto in = request.body.take<FallocateIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    Op& op = request.op;
    op.kind = OpKind::allocate;
    op.object = request.node();
    op.offset = in.offset;
    op.size = in.length;
    op.flags = in.mode;
    // The protocol does not say whether the caller has CAP_FSETID.
    op.clear_set_id = request.header.uid != 0;
    op.accessed = op.modified = session.loop().wall_time();
    session.submit(request, answer_done);
}

void handle_lseek(Session& session, Request& request) noexcept {
    const auto in = request.body.take<LseekIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE) {
        session.answer_error(request, EINVAL);
        return;
    }
    const Result<std::uint64_t> found =
        session.volume().seek(request.node(), in.offset, static_cast<int>(in.whence));
    if (answered_failure(session, request, found.status())) return;
    session.answer_struct(request, LseekOut{found.value()});
}

void handle_copy_file_range(Session& session, Request& request) noexcept {
    const auto in = request.body.take<CopyFileRangeIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    Op& op = request.op;
    op.kind = OpKind::copy_range;
    op.source = request.node();
    op.source_offset = in.off_in;
    op.object = ObjectId{in.nodeid_out};
    op.offset = in.off_out;
    op.size = std::min(in.len, kCopySizeMax);
    op.clear_set_id = request.header.uid != 0;
    op.accessed = op.modified = session.loop().wall_time();
    session.submit(request, [](Session& self, Request& done, Status status) noexcept {
        if (answered_failure(self, done, status)) return;
        if (done.header.opcode == static_cast<std::uint32_t>(Opcode::copy_file_range_64)) {
            self.answer_struct(done, CopyFileRangeOut{done.op.size});
            return;
        }
        answer_written(self, done, status);
    });
}

}  // namespace gemel::fuse
