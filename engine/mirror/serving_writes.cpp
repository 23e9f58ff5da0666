// SPDX-License-Identifier: Apache-2.0
// Data writes. Those that the peer is fit for are sent to it first, all that have queued up in this
// turn together, and carried out here while it works. So the peer may have carried out what failed
// or fell short here: then its copy is mended from this node's content (protocol.md 6), after the
// whole batch, because a later write of the batch may overlap and has reached the peer before.
#include "engine/base/probe.hpp"
#include "engine/mirror/serving.hpp"
#include "engine/mirror/ship_rules.hpp"

#include <algorithm>
#include <linux/falloc.h>
#include <unistd.h>

namespace gemel {

namespace {

// The first write of a batch reaches the peer when the last has been copied for sending.
constexpr std::size_t kBatchMax = 32;
constexpr std::uint64_t kBlockSize = 4096;  // of most file systems

}  // namespace

// A write that falls short shrinks; this is what was asked for.
Op Serving::as_attempted(const Op& op, std::uint64_t size) noexcept {
    Op attempted = without_views(op);
    attempted.size = size;
    return attempted;
}

// Requires: the queue's head is a write with durable intents.
void Serving::execute_writes() noexcept {
    ship_batch();
    if (batch_.empty()) {
        write_unshipped(*waiting_.pop_front());
        return;
    }
    if (batch_.size() == 1) expect_sync(batch_.front().client->op);
    context_.link->flush();
    Status disk_failure;
    for (BatchedWrite& one : batch_) {
        write_shipped(one);
        if (is_disk_failure(one.status)) disk_failure = one.status;
    }
    begin_expected_sync(batch_.front().is_whole);
    for (const BatchedWrite& one : batch_) {
        if (one.is_whole) continue;
        const Op attempted = as_attempted(one.client->op, one.size);
        const Status failure = mend(*one.client, one.status, attempted, true);
        if (!failure.ok()) disk_failure = failure;
    }
    batch_.clear();
    if (!disk_failure.ok()) report_disk_failure(disk_failure);
}

// Takes writes from the head of the queue, as long as they may go to the peer, and sends them.
void Serving::ship_batch() noexcept {
    GEMEL_ASSERT(batch_.empty());
    while (!waiting_.empty() && batch_.size() < kBatchMax) {
        ClientOp& client = *waiting_.front();
        Op& op = client.op;
        if (op.kind != OpKind::write || !context_.shipping) return;
        if (context_.block(op.volume) != nullptr) return;
        if (!judge(op).ok()) return;
        if (op.scope != Scope::mirrored || publication_of(op) != nullptr) return;
        if (!can_ship(map_of(op), op)) return;
        if (!touch_intents(client)) return;
        waiting_.remove(client);
        note_activity(client);
        const std::uint64_t number = ship(op);
        batch_.push_back({&client, number, op.size, Status(), false});
    }
}

void Serving::write_shipped(BatchedWrite& one) noexcept {
    Op& op = one.client->op;
    // Behind a failed disk nothing is carried out any more: the peer alone goes on from here.
    one.status = stalled_ ? Status::from_errno(EIO) : volume_of(op).execute(op);
    one.is_whole = one.status.ok() && op.size == one.size;
    if (one.is_whole) {
        record(one.number, one.client, Status(), op);
        return;
    }
    record(one.number, nullptr, Status(), as_attempted(op, one.size));
    if (is_disk_failure(one.status) && waits_for_peer()) stalled_ = true;
}

void Serving::write_unshipped(ClientOp& client) noexcept {
    GEMEL_ASSERT(!waits_for_peer());
    Op& op = client.op;
    note_activity(client);
    expect_sync(op);
    const std::uint64_t size = op.size;
    const Status status = volume_of(op).execute(op);
    begin_expected_sync(status.ok());
    mark(map_of(op), as_attempted(op, size));
    ++context_.counters.ops_marked;
    if (status.ok()) {
        complete(client, Status());
    } else {
        execution_failed(client, status);
    }
}

// The peer may hold more or other bytes of the range than this node: makes them equal to what is
// here, then answers the client with what happened here. Returns the failure of this node's disk
// that the caller has to report, last.
Status Serving::mend(ClientOp& client, Status status, const Op& attempted, bool shipped) noexcept {
    GEMEL_PROBE("serving: a short or failed change is mended on the peer");
    if (stalled_ || is_disk_failure(status)) {
        // Behind a failed disk a refusal (no space) is not answered either: the peer, which serves
        // next, may have carried the write out.
        const Status failure = as_disk_failure(status);
        answer_failed(client, failure);
        return failure;
    }
    DirtyMap& map = map_of(attempted);
    if (!shipped && !(context_.shipping && can_ship(map, attempted))) {
        mark(map, attempted);
        complete(client, status);
        return Status();
    }
    if (!ship_content(attempted)) {
        const Status failure = Status::from_errno(EIO);
        answer_failed(client, failure);
        return failure;
    }
    if (answer_waits()) {
        GEMEL_ASSERT(!shipped_.empty() && shipped_.back().client == nullptr);
        shipped_.back().client = &client;
        shipped_.back().status = status;
    } else {
        complete(client, status);
    }
    return Status();
}

void Serving::ship_mending(const Op& op) noexcept {
    const std::uint64_t number = ship(op);
    shipped_.push_back({number, nullptr, Status(), context_.loop.now(), without_views(op)});
}

// Ships this node's content of what was attempted, and its size. False: it can't be read here.
bool Serving::ship_content(const Op& origin) noexcept {
    const Result<Attributes> now = volume_of(origin).attributes(origin.object);
    if (!now.ok()) return false;
    // These two change no bytes up to the size that they leave; what they concern may be large.
    constexpr std::uint32_t kKeepSize = FALLOC_FL_KEEP_SIZE;
    const bool size_alone = origin.kind == OpKind::truncate ||
                            (origin.kind == OpKind::allocate && (origin.flags & ~kKeepSize) == 0);
    if (!size_alone && !ship_data(origin, now->stat)) return false;
    Op op;
    op.kind = OpKind::truncate;
    op.volume = origin.volume;
    op.object = origin.object;
    op.modified = now->stat.modified;
    op.size = now->stat.size;
    ship_mending(op);
    return true;
}

bool Serving::ship_data(const Op& origin, const FileStat& now) noexcept {
    Op op;
    op.volume = origin.volume;
    op.object = origin.object;
    op.modified = now.modified;
    // What stayed a hole here may have been written there; blocks are holes as a whole.
    const std::uint64_t begin = origin.offset / kBlockSize * kBlockSize;
    const std::uint64_t limit =
        (origin.offset + origin.size + kBlockSize - 1) / kBlockSize * kBlockSize;
    op.kind = OpKind::allocate;
    op.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    op.offset = begin;
    op.size = limit - begin;
    ship_mending(op);
    op.flags = 0;
    op.kind = OpKind::write;
    Vfs& vfs = context_.loop.vfs();
    const Result<Fd> fd = volume_of(origin).data_fd(origin.object);
    if (!fd.ok()) return false;
    ByteBuffer buffer(kMiB);
    const std::uint64_t end = std::min(limit, now.size);
    for (std::uint64_t offset = begin; offset < end;) {
        const Result<std::uint64_t> data = vfs.seek(fd.value(), offset, SEEK_DATA);
        if (!data.ok() && !data.status().is_errno(ENXIO)) return false;
        offset = data.ok() ? std::max(data.value(), offset) : end;
        if (offset >= end) break;
        const Result<std::uint64_t> hole = vfs.seek(fd.value(), offset, SEEK_HOLE);
        if (!hole.ok() || hole.value() <= offset) return false;
        const std::size_t wanted = static_cast<std::size_t>(
            std::min<std::uint64_t>(buffer.size(), std::min(end, hole.value()) - offset));
        const Result<std::size_t> got =
            vfs.pread(fd.value(), MutableBytes(buffer).first(wanted), offset);
        if (!got.ok() || got.value() == 0) return false;
        op.offset = offset;
        op.size = got.value();
        op.data = Bytes(buffer).first(got.value());
        ship_mending(op);
        offset += got.value();
    }
    return true;
}

}  // namespace gemel
