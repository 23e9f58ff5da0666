// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/serving.hpp"

#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"
#include "engine/mirror/peer_part.hpp"
#include "engine/mirror/ship_rules.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

namespace {

// Above these a client waits for the peer even where it need not, so that a slow target slows the
// application instead of filling memory.
constexpr std::size_t kUnsentMax = 16 * kMiB;
constexpr std::size_t kUnacknowledgedMax = 16384;
constexpr std::size_t kUnacknowledgedBytesMax = 64 * kMiB;
// A large write goes in pieces: the peer checks and writes one while the next is on its way.
constexpr std::size_t kPieceMax = 128 * kKiB;

bool sets_time_itself(OpKind kind) noexcept {
    return kind == OpKind::write || kind == OpKind::truncate || kind == OpKind::allocate ||
           kind == OpKind::copy_range;
}

}  // namespace

Op Serving::without_views(const Op& op) noexcept {
    Op copy;
    copy.kind = op.kind;
    copy.scope = op.scope;
    copy.volume = op.volume;
    copy.object = op.object;
    copy.parent = op.parent;
    copy.new_parent = op.new_parent;
    copy.name = op.name.empty() ? std::string_view() : std::string_view("-");
    copy.offset = op.offset;
    copy.size = op.size;
    copy.resolved.replaced = op.resolved.replaced;
    copy.resolved.object_orphaned = op.resolved.object_orphaned;
    copy.resolved.replaced_orphaned = op.resolved.replaced_orphaned;
    copy.resolved.object_gone = op.resolved.object_gone;
    copy.resolved.replaced_gone = op.resolved.replaced_gone;
    return copy;
}

bool Serving::may_execute() const noexcept {
    if (quiesced_ || stalled_ || history_ == History::asked) return false;
    return context_.role == ReplicaRole::alone || context_.role == ReplicaRole::attaching ||
           context_.role == ReplicaRole::primary;
}

bool Serving::waits_for_peer() const noexcept {
    return context_.role == ReplicaRole::primary || context_.role == ReplicaRole::attaching;
}

bool Serving::congested() const noexcept {
    return context_.shipping &&
           (shipped_.size() > kUnacknowledgedMax || context_.link->unsent() > kUnsentMax ||
            unacknowledged_bytes_ > kUnacknowledgedBytesMax);
}

void Serving::submit(ClientOp& client) noexcept {
    client.submitted = context_.loop.now();
    ++context_.counters.load.arrived;
    const bool serving = may_execute() || quiesced_ || stalled_ || history_ == History::asked ||
                         context_.role == ReplicaRole::held;
    if (!serving || !context_.volume_exists(client.op.volume)) {
        complete(client, Status(Code::refused));
        return;
    }
    const BlockVolume* block = context_.block(client.op.volume);
    GEMEL_ASSERT(block == nullptr || block->is_valid(client.op));
    waiting_.push_back(client);
    if (commit_pending_ && may_execute()) {
        if (judge(client.op).ok()) touch_intents(client);  // joins the group commit that comes next
    } else {
        schedule_pump();
    }
}

// What arrives in one turn of the loop is carried out together.
void Serving::schedule_pump() noexcept {
    if (std::exchange(pump_scheduled_, true)) return;
    context_.loop.post([this, alive = alive_] {
        if (!*alive) return;
        pump_scheduled_ = false;
        pump();
    });
}

void Serving::pump() noexcept {
    while (may_execute() && !waiting_.empty()) {
        ClientOp& client = *waiting_.front();
        if (const Status judged = judge(client.op); !judged.ok()) {
            waiting_.remove(client);
            execution_failed(client, judged);
            continue;
        }
        BlockVolume* block = context_.block(client.op.volume);
        if (block != nullptr ? is_held(client.op) : hold_back(client)) {
            if (block != nullptr) return;  // until what holds it is through
            continue;
        }
        if (client.op.scope != Scope::local && need_history()) return;
        if (!touch_intents(client)) {
            // One commit for all that wait.
            for (ClientOp* next = waiting_.next(client); next != nullptr;) {
                if (judge(next->op).ok()) touch_intents(*next);
                next = waiting_.next(*next);
            }
            request_commit();
            return;
        }
        if (block != nullptr) {
            begin_block(client, *block);
        } else if (client.op.kind == OpKind::write && client.op.scope == Scope::mirrored) {
            execute_writes();
        } else {
            waiting_.remove(client);
            note_activity(client);
            execute(client);
        }
    }
}

// Without a scope an op is not carried out: as a mirrored one it might concern what only one node
// has. Where no names are excluded, there is nothing to judge.
Status Serving::judge(Op& op) noexcept {
    op.scope = Scope::mirrored;
    return context_.volumes[op.volume]->keeps_names() ? volume_of(op).prepare(op) : Status();
}

bool Serving::need_history() noexcept {
    if (history_ == History::stored || context_.role != ReplicaRole::alone) return false;
    history_ = History::asked;
    context_.events.on_first_write_alone();
    return true;
}

void Serving::history_stored(Status status) noexcept {
    if (history_ != History::asked) return;
    if (!status.ok()) {
        stalled_ = true;
        context_.local_failure(status, "the new history could not be stored");
        return;
    }
    history_ = History::stored;
    pump();
    schedule_publications();
}

// The time of a mirrored directory is put back after the change of an excluded name in it; a crash
// in between would leave it different.
void Serving::add_kept_times(const Op& op, IntentSet& set) noexcept {
    for (const ObjectId directory : {op.parent, op.new_parent}) {
        if (directory.is_none() || volume_of(op).is_local(directory)) continue;
        set.add({directory, IntentKey::kAttributes, op.volume});
    }
}

// True: all intents of the op are durable. Else they are noted for the next commit.
bool Serving::touch_intents(ClientOp& client) noexcept {
    Op& op = client.op;
    IntentSet set;
    if (op.scope != Scope::mirrored) add_kept_times(op, set);
    if (op.scope != Scope::local) {
        std::uint64_t size_now = 0;
        if (op.kind == OpKind::truncate) {
            const Result<Attributes> now = volume_of(op).attributes(op.object);
            if (now.ok()) size_now = now->stat.size;
        }
        if (op.kind == OpKind::create) op.object = volume_of(op).next_id();
        const PeerPart part(op);
        add_intents(part.op(), size_now, context_.intents, set);
    }
    if (set.keys().empty() || context_.intents.touch(set.keys())) return true;
    if (context_.shipping && op.scope != Scope::local) {
        // Sent ahead, so that the peer's log is written while ours is.
        context_.scratch.clear();
        encode_intents(set.keys(), context_.scratch);
        context_.link->send(FrameType::intend, context_.scratch);
    }
    return false;
}

void Serving::request_commit() noexcept {
    if (commit_pending_) return;
    commit_pending_ = true;
    commit_begun_ = context_.loop.now();
    if (context_.link != nullptr) context_.link->flush();
    context_.intents.commit([this](Status status) {
        commit_pending_ = false;
        if (!status.ok()) {
            stalled_ = true;
            context_.local_failure(status, "the intent log could not be written");
            return;
        }
        pump();
        schedule_publications();
        // Ops that queued behind while the log was being written share the next commit.
    });
}

void Serving::note_activity(ClientOp& client) noexcept {
    if (sets_time_itself(client.op.kind)) client.op.modified = context_.loop.wall_time();
    activity_ = true;
    forget_expected_sync();
    forecast_.note_change(client.op);
    ++context_.counters.ops_executed;
    syncs_.relieve();
}

void Serving::execute(ClientOp& client) noexcept {
    if (client.op.scope == Scope::local) {
        execute_local(client);
    } else if (must_be_sent_first(client.op)) {
        begin_publication(client);
    } else {
        execute_then_ship(client);
    }
}

// Nobody but this node knows of the object.
void Serving::execute_local(ClientOp& client) noexcept {
    const Status status = volume_of(client.op).execute(client.op);
    if (status.ok()) {
        complete(client, Status());
    } else {
        execution_failed(client, status);
    }
}

void Serving::execute_then_ship(ClientOp& client) noexcept {
    Op& op = client.op;
    Status status = volume_of(op).prepare(op);
    if (status.ok()) {
        const std::uint64_t offset = op.offset;
        const std::uint64_t size = op.size;
        status = volume_of(op).execute(op);
        // These may have failed in the middle.
        const bool changes_content = op.kind == OpKind::truncate || op.kind == OpKind::allocate ||
                                     op.kind == OpKind::copy_range;
        if (!status.ok() && changes_content && !is_disk_failure(status)) {
            Op attempted = without_views(op);
            attempted.flags = op.flags;
            attempted.offset = offset;
            attempted.size = size;
            const Status failure = mend(client, status, attempted, false);
            if (!failure.ok()) report_disk_failure(failure);
            return;
        }
    }
    if (!status.ok()) {
        execution_failed(client, status);
        return;
    }
    if (op.resolved.nothing_changed) {
        answer_after_shipped(client);
        return;
    }
    const PeerPart part(op);
    // An object that is published here was not sent before, because it can't be.
    // What the peer copies from has to be there.
    const bool is_source_there = op.kind != OpKind::copy_range || context_.resync == nullptr ||
                                 context_.resync->is_settled(op.volume, op.source);
    if (op.scope != Scope::publishes && context_.shipping && is_source_there &&
        can_ship(map_of(op), part.op())) {
        const std::uint64_t number = ship(part.op());
        note_shipped(map_of(op), part.op());
        if (waiting_.empty()) context_.link->flush();
        record(number, &client, Status(), part.op());
        return;
    }
    GEMEL_ASSERT(!waits_for_peer());
    mark(map_of(op), part.op());
    ++context_.counters.ops_marked;
    complete(client, Status());
}

// For an op that leaves nothing to ship: it may only stand on changes that both nodes hold.
void Serving::answer_after_shipped(ClientOp& client) noexcept {
    if (shipped_.empty()) {
        complete(client, Status());
    } else {
        record(next_number_ - 1, &client, Status(), client.op);
    }
}

void Serving::execution_failed(ClientOp& client, Status status) noexcept {
    const bool is_disk = is_disk_failure(status);
    answer_failed(client, status);
    if (is_disk) report_disk_failure(status);
}

void Serving::answer_failed(ClientOp& client, Status status) noexcept {
    if (!is_disk_failure(status) || !waits_for_peer()) {
        complete(client, status);
        return;
    }
    // The peer's copy is the good one now: nothing is answered until the roles have changed.
    stalled_ = true;
    stranded_.push_back(client);
}

// The controller may change this object's role before the call returns.
void Serving::report_disk_failure(Status status) noexcept {
    GEMEL_PROBE("serving: an op failed with a disk error");
    context_.local_failure(status, "an operation failed on this node's disk");
}

// Returns the number whose acknowledgement covers the op.
std::uint64_t Serving::ship(const Op& op) noexcept {
    if (op.kind != OpKind::write || op.data.size() <= kPieceMax) return ship_one(op);
    Op piece = op;
    std::uint64_t number = 0;
    for (std::size_t done = 0; done < op.data.size(); done += piece.data.size()) {
        piece.data = op.data.subspan(done, std::min(kPieceMax, op.data.size() - done));
        piece.offset = op.offset + done;
        piece.size = piece.data.size();
        number = ship_one(piece);
    }
    return number;
}

std::uint64_t Serving::ship_one(const Op& op) noexcept {
    const std::uint64_t number = next_number_++;
    context_.scratch.clear();
    encode_op(op, number, context_.scratch);
    context_.link->send(FrameType::op, context_.scratch, op.data);
    ++context_.counters.ops_shipped;
    context_.counters.bytes_shipped += op.data.size();
    if (context_.verifier != nullptr) context_.verifier->on_shipped(op);
    return number;
}

void Serving::record(std::uint64_t number, ClientOp* client, Status status, const Op& op) noexcept {
    ClientOp* waiting_client = client;
    if (client != nullptr && !answer_waits() && !congested()) {
        complete(*client, status);
        waiting_client = nullptr;
    }
    shipped_.push_back({number, waiting_client, status, context_.loop.now(), without_views(op)});
}

void Serving::complete(ClientOp& client, Status status) noexcept {
    completed_.push_back({&client, status});
    if (completed_.size() == 1) context_.loop.post([this] { drain_completed(); });
}

void Serving::drain_completed() noexcept {
    // A callback may submit again, which may complete again: those are the next turn's.
    std::swap(completed_, completing_);
    for (const Completed& one : completing_) {
        context_.counters.load.ops.add(context_.loop.now() - one.client->submitted);
        one.client->on_complete(one.status);
    }
    completing_.clear();
}

Status Serving::on_ack(Bytes payload) noexcept {
    const Result<std::uint64_t> number = decode_number(payload);
    if (!number.ok()) return number.status();
    if (number.value() >= next_number_) return Status(Code::corrupt);
    while (!shipped_.empty() && shipped_.front().number <= number.value()) {
        const Shipped& front = shipped_.front();
        if (front.client != nullptr) {
            // Where nobody waits, it may take as long as the window is large.
            if (waits_for_peer()) {
                context_.counters.peer_answers.add(context_.loop.now() - front.since);
            }
            complete(*front.client, front.status);
        }
        published_unacknowledged_ -= front.published;
        unacknowledged_bytes_ -= front.bytes;
        shipped_.pop_front();
    }
    schedule_publications();
    settle();
    return Status();
}

// Answers every client whose op is in flight. Without keep_records the ops are marked: the peer is
// not going to acknowledge them.
void Serving::complete_shipped(bool keep_records) noexcept {
    for (Shipped& shipped : shipped_) {
        if (shipped.client != nullptr) {
            complete(*std::exchange(shipped.client, nullptr), shipped.status);
        }
    }
    if (!keep_records) forget_records();
    settle();
}

void Serving::on_session_lost() noexcept {
    holds_answers_ = false;
    forget_expected_sync();
    for (const Shipped& shipped : shipped_) mark(map_of(shipped.op), shipped.op);
    give_up_mendings();
    claimed_.reset();
    put_back_publications(false);
    if (!waiting_.empty()) schedule_pump();
    if (waits_for_peer()) {
        GEMEL_PROBE("serving: the session is lost while the peer is in the in-sync set");
        context_.role = ReplicaRole::held;
    } else if (context_.role == ReplicaRole::alone) {
        complete_shipped(false);
    }
    next_number_ = 1;
}

void Serving::begin_alone(bool history_is_new) noexcept {
    holds_answers_ = false;
    history_ = history_is_new ? History::stored : History::needed;
    stalled_ = false;
    quiesced_ = false;
    forget_expected_sync();
    complete_shipped(false);
    for (PendingSync& sync : pending_syncs_) sync.peer_done = true;
    finish_syncs(Status());
    pump();
}

void Serving::hold_answers() noexcept {
    GEMEL_ASSERT(context_.shipping);
    if (holds_answers_) return;
    holds_answers_ = true;
    held_after_ = next_number_ - 1;
}

void Serving::begin_attaching() noexcept {
    GEMEL_ASSERT(context_.role == ReplicaRole::alone && context_.shipping);
    context_.role = ReplicaRole::attaching;
    // From here on nothing is answered that only one node holds.
    forget_expected_sync();
    for (PendingSync& sync : pending_syncs_) {
        const SyncRequest& request = sync.request;
        if (sync.local_object || is_removed(request.volume, request.object)) continue;
        sync.peer_done = false;
        send_sync(request);
    }
    context_.link->flush();
}

void Serving::finish_attaching(bool peer_in_set) noexcept {
    holds_answers_ = false;
    forget_expected_sync();
    // Held: the session was lost meanwhile, and nothing of it will be acknowledged.
    const bool held = context_.role == ReplicaRole::held;
    GEMEL_ASSERT(held || context_.role == ReplicaRole::attaching);
    if (peer_in_set) {
        if (!held) context_.role = ReplicaRole::primary;
        history_ = History::stored;
    } else {
        context_.role = ReplicaRole::alone;
        complete_shipped(!held);
        for (PendingSync& sync : pending_syncs_) sync.peer_done = true;
        finish_syncs(Status());
    }
    pump();
}

void Serving::stop() noexcept {
    holds_answers_ = false;
    forget_expected_sync();
    const Status lost = Status::from_errno(EIO);
    for (Shipped& shipped : shipped_) {
        if (shipped.client != nullptr) complete(*shipped.client, lost);
    }
    forget_records();
    end_block_service();
    put_back_publications(false);
    while (ClientOp* client = stranded_.pop_front()) complete(*client, lost);
    while (ClientOp* client = waiting_.pop_front()) complete(*client, lost);
    finish_syncs(lost);
    next_number_ = 1;
    history_ = History::stored;
    quiesced_ = stalled_ = false;
    when_settled_ = nullptr;
}

void Serving::quiesce(std::function<void()> done) noexcept {
    put_back_publications(context_.shipping);
    quiesced_ = true;
    when_settled_ = std::move(done);
    settle();
}

void Serving::resume() noexcept {
    quiesced_ = false;
    when_settled_ = nullptr;
    pump();
}

void Serving::settle() noexcept {
    if (!quiesced_ || when_settled_ == nullptr) return;
    if (!shipped_.empty() || !pending_syncs_.empty()) return;
    if (idle_runs_.size() != runs_.size() || !mendings_.empty()) return;
    context_.loop.post([this, done = std::exchange(when_settled_, nullptr)] {
        if (quiesced_) done();
    });
}

Duration Serving::oldest_unfinished() const noexcept {
    Instant oldest = context_.loop.now();
    if (!shipped_.empty()) oldest = std::min(oldest, shipped_.front().since);
    if (!pending_syncs_.empty()) oldest = std::min(oldest, pending_syncs_.front().since);
    return context_.loop.now() - oldest;
}

Duration Serving::waiting_for_peer() const noexcept {
    Instant oldest = context_.loop.now();
    for (const Shipped& shipped : shipped_) {
        // Alone, for many of them nobody waits any more.
        if (!waits_for_peer() && shipped.client == nullptr) continue;
        oldest = std::min(oldest, shipped.since);
        break;
    }
    for (const PendingSync& sync : pending_syncs_) {
        if (sync.local_done && !sync.peer_done) oldest = std::min(oldest, sync.since);
    }
    for (const auto& publication : publications_) {
        const bool syncs = publication->sync_token != 0 && !publication->durable_there;
        const bool sends = !waits_for_peer() && published_unacknowledged_ > 0;
        if (syncs || sends) oldest = std::min(oldest, publication->since);
    }
    // A target is expected to be slow, behind all that it is being sent, but not to be silent.
    if (!waits_for_peer()) oldest = std::max(oldest, context_.last_heard);
    return context_.loop.now() - oldest;
}

Duration Serving::waiting_for_disk() const noexcept {
    Instant oldest = oldest_block_run();
    if (commit_pending_) oldest = std::min(oldest, commit_begun_);
    for (const PendingSync& sync : pending_syncs_) {
        // One of everything may take long on a disk that works; disk_check_ tells it apart.
        if (sync.local_done || sync.request.is_of_everything()) continue;
        oldest = std::min(oldest, sync.since);
    }
    if (const std::optional<Instant> asked = disk_check_.asked()) oldest = std::min(oldest, *asked);
    return context_.loop.now() - oldest;
}

}  // namespace gemel
