// SPDX-License-Identifier: Apache-2.0
// Requests about the connection and the file system as a whole.
#include "frontends/fuse/dev_fuse_transport.hpp"
#include "frontends/fuse/handlers.hpp"

#include <algorithm>

namespace gemel::fuse {

namespace {

constexpr std::uint32_t kMaxWrite = DevFuseTransport::kDataSizeMax;
constexpr std::uint16_t kMaxPages = kMaxWrite / 4096;  // of 4 KiB; with larger pages fewer are used
constexpr std::uint16_t kMaxBackground = 64;           // read-ahead and writeback requests at once
constexpr std::uint16_t kCongestionThreshold = 48;

constexpr std::uint64_t kBothWanted = kInitAsyncRead | kInitBigWrites | kInitMaxPages |
                                      kInitDontMask | kInitPosixAcl | kInitParallelDirops |
                                      kInitHandleKillprivV2 | kInitSetxattrExt | kInitAsyncDio |
                                      kInitAbortError | kInitExt | kInitDirectIoAllowMmap;
// The kernel may believe what it has, because every change goes through it.
constexpr std::uint64_t kServingWanted = kBothWanted | kInitDoReaddirplus | kInitReaddirplusAuto |
                                         kInitCacheSymlinks | kInitExplicitInvalData;

void sync_object(Session& session, Request& request, ObjectId object, bool data_only) noexcept {
    // Through a read-only mount nothing was changed; the peer's changes are the mirror's matter.
    if (session.read_only()) {
        session.answer_empty(request);
        return;
    }
    session.sync(request, object, data_only, answer_done);
}

}  // namespace

void handle_init(Session& session, Request& request) noexcept {
    const auto in = request.body.take<InitIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    InitOut out{};
    out.major = kMajorVersion;
    out.minor = kMinorVersion;
    if (in.major > kMajorVersion) {  // the kernel asks again with our version
        session.answer_struct(request, out);
        return;
    }
    if (in.major < kMajorVersion || in.minor < kMinorVersionMin) {
        session.log().log(LogLevel::error, "fuse: this kernel speaks protocol " +
                                               std::to_string(in.major) + "." +
                                               std::to_string(in.minor) + ", 7.31 is needed");
        session.answer_error(request, EPROTO);
        return;
    }
    std::uint64_t offered = in.flags;
    if ((offered & kInitExt) != 0) {
        offered |= std::uint64_t{request.body.take<std::uint32_t>()} << 32;
    }
    const std::uint64_t taken = offered & (session.read_only() ? kBothWanted : kServingWanted);
    session.set_minor_version(std::min(in.minor, kMinorVersion));
    out.max_readahead = std::max(in.max_readahead, kMaxWrite);
    out.flags = static_cast<std::uint32_t>(taken);
    out.flags2 = static_cast<std::uint32_t>(taken >> 32);
    out.max_background = kMaxBackground;
    out.congestion_threshold = kCongestionThreshold;
    out.max_write = kMaxWrite;
    out.time_gran = 1;
    out.max_pages = kMaxPages;
    session.answer_struct(request, out);
}

void handle_destroy(Session& session, Request& request) noexcept { session.answer_empty(request); }

void handle_without_answer(Session& session, Request& request) noexcept {
    session.answer_nothing(request);
}

void handle_statfs(Session& session, Request& request) noexcept {
    const Result<FileSystemStat> found = session.volume().stat_file_system();
    if (answered_failure(session, request, found.status())) return;
    StatfsOut out{};
    fill_statfs(found.value(), out);
    session.answer_struct(request, out);
}

void handle_fsync(Session& session, Request& request) noexcept {
    const auto in = request.body.take<FsyncIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    sync_object(session, request, request.node(), (in.fsync_flags & kFsyncDataOnly) != 0);
}

void handle_syncfs(Session& session, Request& request) noexcept {
    sync_object(session, request, kRootObject, false);
}

}  // namespace gemel::fuse
