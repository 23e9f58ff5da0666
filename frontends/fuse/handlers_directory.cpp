// SPDX-License-Identifier: Apache-2.0
// Requests that list directories. Positions are those of the file system below, which stay valid
// while names come and go, except 1 (behind ".") and 2 (behind ".."), made here: ext4 positions are
// hashes, XFS counts from 12, btrfs from 3, so these two never mean anything else.
#include "frontends/fuse/handlers.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace gemel::fuse {

namespace {

constexpr std::uint64_t kBehindSelf = 1, kBehindParent = 2;
constexpr std::size_t kListMax = 256;           // entries asked for at once
constexpr std::size_t kAnswerMax = 128 * kKiB;  // of what the kernel may offer

// False: the answer is full.
bool add_dots(DirentWriter& writer, ObjectId directory, std::uint64_t& position) noexcept {
    if (position == 0) {
        if (!writer.add(".", directory.value, S_IFDIR, kBehindSelf, {})) return false;
        position = kBehindSelf;
    }
    if (position == kBehindSelf) {
        // The parent's number is asked for by nobody: getcwd and find use stat.
        const std::uint64_t parent = directory == kRootObject ? kRootObject.value : kUnknownInode;
        if (!writer.add("..", parent, S_IFDIR, kBehindParent, {})) return false;
        position = kBehindParent;
    }
    return true;
}

// Adds entries from `position` on until the answer is full or the directory ends.
Status add_entries(Session& session, Request& request, DirentWriter& writer, bool plus,
                   std::uint64_t position) noexcept {
    if (position == kBehindParent) position = 0;
    for (;;) {
        const std::size_t wanted = std::min(writer.capacity_estimate(), kListMax);
        std::vector<ListedEntry>& entries = session.listing();
        entries.clear();
        const std::size_t count = std::max<std::size_t>(wanted, 1);
        GEMEL_TRY(session.volume().list(request.node(), position, count, entries));
        if (entries.empty()) return {};
        for (const ListedEntry& entry : entries) {
            EntryOut out{};
            if (plus) fill_entry(session, {entry.id, entry.stat}, out);
            // A secondary lists names that have no id yet; number 0 would hide them.
            const std::uint64_t inode = entry.id.is_none() ? kUnknownInode : entry.id.value;
            if (!writer.add(entry.name, inode, entry.mode, entry.next, out)) return {};
            position = entry.next;
        }
        if (wanted <= 1) return {};
    }
}

void begin_list(Session& session, Request& request) noexcept {
    const std::size_t size = std::min<std::size_t>(request.range.size, kAnswerMax);
    if (!session.take_space(request, size, begin_list)) return;
    const bool plus = request.header.opcode == static_cast<std::uint32_t>(Opcode::readdirplus);
    DirentWriter writer(request.space, plus);
    std::uint64_t position = request.range.offset;
    if (position > kBehindSelf || add_dots(writer, request.node(), position)) {
        const Status status = add_entries(session, request, writer, plus, position);
        // What has been packed before an error is answered; the kernel comes back for the rest.
        if (!status.ok() && writer.filled().empty()) {
            session.answer_error(request, status.as_errno());
            return;
        }
    }
    session.answer_bytes(request, writer.filled());
}

}  // namespace

void handle_opendir(Session& session, Request& request) noexcept {
    session.opened().open(request.node());
    OpenOut out{};
    // The kernel forgets a cached listing with every change it sends us, and it sends them all.
    if (!session.read_only()) out.open_flags = kOpenCacheDir | kOpenKeepCache;
    session.answer_struct(request, out);
}

void handle_readdir(Session& session, Request& request) noexcept {
    request.range = request.body.take<ReadIn>();
    if (!request.body.ok()) {
        session.answer_malformed(request);
        return;
    }
    begin_list(session, request);
}

void handle_readdirplus(Session& session, Request& request) noexcept {
    handle_readdir(session, request);
}

}  // namespace gemel::fuse
