// SPDX-License-Identifier: Apache-2.0
// Publishing: an object of this node's own gets a mirrored name (docs/exclude.md). The peer is sent
// the object into its incoming/ in bounded pieces, by ordinary ops in the stream, while other ops
// go on; ops about this object are held meanwhile, so what was sent stays true. Then, in one turn,
// the op is executed and shipped as a rename out of incoming/. Until then nothing has happened to
// either copy, so it may be broken off at any point and begun anew.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"
#include "engine/mirror/peer_part.hpp"
#include "engine/mirror/serving.hpp"
#include "engine/mirror/ship_rules.hpp"
#include "engine/store/object_index.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kChunkSize = kMiB;
constexpr std::size_t kTurnBytes = kMiB;
// Content on its way: more waits, so that other ops find a short queue.
constexpr std::size_t kUnacknowledgedBytesMax = 4 * kMiB;

// What marks nothing when the session is lost: incoming/ is no part of the peer's copy.
Op unmarked() noexcept {
    Op op;
    op.kind = OpKind::unlink;
    op.parent = kIncomingDirectory;
    return op;
}

}  // namespace

Serving::Publication* Serving::publication_of(const Op& op) noexcept {
    for (const auto& publication : publications_) {
        if (publication->client->op.volume != op.volume) continue;
        if (publication->object == op.object || publication->object == op.resolved.replaced) {
            return publication.get();
        }
    }
    return nullptr;
}

bool Serving::hold_back(ClientOp& client) noexcept {
    Publication* publication = publication_of(client.op);
    if (publication == nullptr) return false;
    waiting_.remove(client);
    publication->held.push_back(client);
    return true;
}

// Where the op can't be shipped, the resync sends the object.
bool Serving::must_be_sent_first(const Op& op) noexcept {
    return op.scope == Scope::publishes && context_.shipping &&
           can_ship(map_of(op), PeerPart(op).op());
}

void Serving::ship_part(const Op& part, std::size_t published) noexcept {
    const std::uint64_t number = ship(part);
    shipped_.push_back({number, nullptr, Status(), context_.loop.now(), unmarked(), published});
    published_unacknowledged_ += published;
}

void Serving::begin_publication(ClientOp& client) noexcept {
    auto publication = std::make_unique<Publication>();
    publication->client = &client;
    publication->object = client.op.object;
    publication->since = context_.loop.now();
    Publication& begun = *publication;
    publications_.push_back(std::move(publication));
    if (!send_skeleton(begun)) {
        const Op& op = client.op;
        const Result<Attributes> now = volume_of(op).attributes(op.object);
        // As the op itself would fail.
        break_off(begun, now.ok() ? Status::from_errno(EIO) : now.status());
        return;
    }
    std::size_t budget = kTurnBytes;
    if (advance(begun, budget) == Advance::again) schedule_publications();
}

// The object as it is made there: private, so that nothing is granted before all of it is there.
bool Serving::send_skeleton(Publication& publication) noexcept {
    const Op& origin = publication.client->op;
    DirectoryVolume& volume = volume_of(origin);
    const Result<Attributes> now = volume.attributes(publication.object);
    if (!now.ok()) return false;
    const std::string name = hex_name(publication.object);
    ByteBuffer target;
    if (S_ISLNK(now->stat.mode)) {
        Result<ByteBuffer> link = volume.read_link(publication.object);
        if (!link.ok()) return false;
        target = std::move(link).value();
    }
    Op op;
    op.kind = OpKind::create;
    op.volume = origin.volume;
    op.object = publication.object;
    op.parent = kIncomingDirectory;
    op.name = name;
    op.data = target;
    op.special_device = now->stat.special_device;
    op.resolved.mode = (now->stat.mode & S_IFMT) | 0600U;
    op.resolved.accessed = now->stat.accessed;
    op.resolved.modified = op.resolved.parent_modified = now->stat.modified;
    ship_part(op);
    publication.begun = true;
    return true;
}

// As far as it goes in this turn.
Serving::Advance Serving::advance(Publication& publication, std::size_t& budget) noexcept {
    if (!may_execute() || !context_.shipping) return Advance::waits;
    while (!publication.attributes_sent) {
        if (published_unacknowledged_ >= kUnacknowledgedBytesMax) return Advance::waits;
        if (budget == 0) return Advance::again;
        const Result<std::size_t> chunk = send_chunk(publication);
        Status status = chunk.status();
        if (status.ok() && chunk.value() == 0) status = send_attributes(publication);
        if (!status.ok()) {
            break_off(publication, status);
            return Advance::done;
        }
        budget -= std::min(budget, chunk.value());
    }
    return finish_publication(publication);
}

// The next piece of content; 0: there is no more. Holes are not sent.
Result<std::size_t> Serving::send_chunk(Publication& publication) noexcept {
    const Op& origin = publication.client->op;
    DirectoryVolume& volume = volume_of(origin);
    const Result<Attributes> now = volume.attributes(publication.object);
    if (!now.ok()) return now.status();
    publication.size = S_ISREG(now->stat.mode) ? now->stat.size : 0;
    if (publication.sent >= publication.size) return std::size_t{0};
    const Result<Fd> file = volume.data_fd(publication.object);
    if (!file.ok()) return file.status();
    Vfs& vfs = context_.loop.vfs();
    const Result<std::uint64_t> data = vfs.seek(file.value(), publication.sent, SEEK_DATA);
    if (data.status().is_errno(ENXIO)) {
        publication.sent = publication.size;
        return std::size_t{0};
    }
    if (!data.ok()) return data.status();
    const Result<std::uint64_t> hole = vfs.seek(file.value(), data.value(), SEEK_HOLE);
    if (!hole.ok()) return hole.status();
    const std::uint64_t wanted = std::min<std::uint64_t>(hole.value() - data.value(), kChunkSize);
    chunk_.resize(static_cast<std::size_t>(wanted));
    const Result<std::size_t> got = vfs.pread(file.value(), chunk_, data.value());
    if (!got.ok()) return got.status();
    if (got.value() == 0) return Status::from_errno(EIO);
    Op op;
    op.kind = OpKind::write;
    op.volume = origin.volume;
    op.object = publication.object;
    op.offset = data.value();
    op.size = got.value();
    op.data = Bytes(chunk_).first(got.value());
    op.modified = now->stat.modified;
    ship_part(op, got.value());
    publication.sent = data.value() + got.value();
    return got.value();
}

// Everything but the content. The owner first, because chown(2) clears set-id bits and
// capabilities; the times last, because the rest changes them.
Status Serving::send_attributes(Publication& publication) noexcept {
    const Op& origin = publication.client->op;
    const Result<DirectoryVolume::FullAttributes> all =
        volume_of(origin).full_attributes(publication.object);
    if (!all.ok()) return all.status();
    const FileStat& stat = all->stat;
    Op op;
    op.volume = origin.volume;
    op.object = publication.object;
    op.modified = stat.modified;
    op.resolved.mode = stat.mode;
    op.resolved.uid = stat.uid;
    op.resolved.gid = stat.gid;
    op.resolved.accessed = stat.accessed;
    op.resolved.modified = stat.modified;
    if (S_ISREG(stat.mode)) {
        op.kind = OpKind::truncate;
        op.size = stat.size;
        ship_part(op);
        op.size = 0;
    }
    op.kind = OpKind::set_attributes;
    op.mask = S_ISLNK(stat.mode) ? kSetOwner : kSetOwner | kSetMode;
    ship_part(op);
    op.mask = 0;
    op.kind = OpKind::set_xattr;
    for (const auto& [name, value] : all->xattrs) {
        op.name = name;
        op.data = value;
        ship_part(op);
    }
    op.name = {};
    op.data = {};
    op.kind = OpKind::set_attributes;
    op.mask = kSetAccessed | kSetModified;
    ship_part(op);
    publication.attributes_sent = true;
    return Status();
}

// What an application has made durable under the old name is durable on both nodes before it has
// the new one: else a file could be found damaged after a power cut that fsync had saved from it.
bool Serving::is_durable_enough(Publication& publication) noexcept {
    const Op& op = publication.client->op;
    for (const PendingSync& sync : pending_syncs_) {
        if (sync.request.volume == op.volume && sync.request.object == publication.object) {
            return false;  // goes on when it is done
        }
    }
    if (publication.durable_there) return true;
    if (publication.sync_token != 0) return false;
    if (publication.size == 0 || volume_of(op).is_unsynced(publication.object)) return true;
    publication.sync_token = next_token_++;
    publication.since = context_.loop.now();
    send_sync({publication.sync_token, op.volume, publication.object});
    context_.link->flush();
    return false;
}

Serving::Advance Serving::finish_publication(Publication& publication) noexcept {
    if (!is_durable_enough(publication)) return Advance::waits;
    ClientOp& client = *publication.client;
    Op& op = client.op;
    if (!judge(op).ok() || op.scope != Scope::publishes || op.object != publication.object ||
        !can_ship(map_of(op), PeerPart(op).op())) {
        GEMEL_PROBE("serving: a publication begins anew, the world has changed");
        drop_at_peer(publication);
        put_back(publication);
        schedule_pump();
        return Advance::done;
    }
    if (need_history()) return Advance::waits;
    if (!touch_intents(client)) {
        request_commit();
        return Advance::waits;
    }
    const Status status = volume_of(op).execute(op);
    if (!status.ok()) {
        break_off(publication, status);
        return Advance::done;
    }
    const PeerPart part(op);
    const std::uint64_t number = ship(part.op());
    note_shipped(map_of(op), part.op());
    context_.link->flush();
    record(number, &client, Status(), part.op());
    release_held(publication);
    remove_publication(publication);
    schedule_pump();
    return Advance::done;
}

void Serving::break_off(Publication& publication, Status status) noexcept {
    GEMEL_PROBE("serving: a publication fails");
    ClientOp& client = *publication.client;
    drop_at_peer(publication);
    release_held(publication);
    remove_publication(publication);
    schedule_pump();
    execution_failed(client, status);
}

void Serving::drop_at_peer(const Publication& publication) noexcept {
    if (!context_.shipping || !publication.begun) return;
    const std::string name = hex_name(publication.object);
    Op op;
    op.kind = OpKind::unlink;
    op.volume = publication.client->op.volume;
    op.object = publication.object;
    op.parent = kIncomingDirectory;
    op.name = name;
    op.resolved.object_gone = true;
    op.resolved.parent_modified = context_.loop.wall_time();
    ship_part(op);
}

// Ahead of everything that waits, in their order.
void Serving::release_held(Publication& publication) noexcept {
    std::vector<ClientOp*> held;
    while (ClientOp* client = publication.held.pop_front()) held.push_back(client);
    for (auto client = held.rbegin(); client != held.rend(); ++client) {
        waiting_.push_front(**client);
    }
}

void Serving::put_back(Publication& publication) noexcept {
    release_held(publication);
    waiting_.push_front(*publication.client);
    remove_publication(publication);
}

void Serving::put_back_publications(bool drop) noexcept {
    if (publications_.empty()) return;
    GEMEL_PROBE("serving: publications are interrupted");
    while (!publications_.empty()) {
        if (drop) drop_at_peer(*publications_.back());
        put_back(*publications_.back());
    }
}

void Serving::remove_publication(const Publication& publication) noexcept {
    std::erase_if(publications_, [&](const auto& one) { return one.get() == &publication; });
}

void Serving::schedule_publications() noexcept {
    if (publications_scheduled_ || publications_.empty()) return;
    publications_scheduled_ = true;
    context_.loop.post([this, alive = alive_] {
        if (!*alive) return;
        publications_scheduled_ = false;
        advance_publications();
    });
}

// Each in turn, so that a large object does not keep a small one waiting.
void Serving::advance_publications() noexcept {
    std::size_t budget = kTurnBytes;
    bool again = false;
    for (std::size_t left = publications_.size(); left > 0 && !publications_.empty(); --left) {
        Publication& first = *publications_.front();
        const Advance result = advance(first, budget);
        if (result == Advance::done) continue;
        again = again || result == Advance::again;
        if (publications_.size() > 1) {
            publications_.push_back(std::move(publications_.front()));
            publications_.pop_front();
        }
    }
    if (again) schedule_publications();
}

}  // namespace gemel
