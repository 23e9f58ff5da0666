// SPDX-License-Identifier: Apache-2.0
// fsync on the serving side: durable here and, while the peer is in the in-sync set, there.
#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/serving.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace gemel {

// A directory may be open and removed. Of the others an open one is an orphan at least.
bool Serving::is_removed(std::uint16_t volume, ObjectId object) noexcept {
    if (object.is_none() || object == kRootObject) return false;
    const Result<Attributes> now = context_.volumes[volume]->attributes(object);
    if (!now.ok()) return now.status().is_errno(ESTALE);
    return S_ISDIR(now->stat.mode) && now->stat.link_count == 0;
}

void Serving::sync(ClientSync& client) noexcept {
    client.submitted = context_.loop.now();
    ++context_.counters.load.arrived;
    const ReplicaRole role = context_.role;
    const bool held = role == ReplicaRole::held;
    if ((role != ReplicaRole::alone && !waits_for_peer() && !held) ||
        !context_.volume_exists(client.volume)) {
        answer(client, Status(Code::refused));
        return;
    }
    const bool expected = take_expected_sync(client);
    forecast_.note_sync(client.volume, client.object, client.data_only);
    if (expected) return;
    // There is nothing left to make durable, and the peer has nothing to look for.
    if (is_removed(client.volume, client.object)) {
        answer(client, Status());
        return;
    }
    const SyncRequest request{next_token_++, client.volume, client.object, client.data_only};
    if (add_sync(&client, request)) {
        send_sync(request);
        context_.link->flush();
    }
    begin_local_sync(request);
}

// True: the peer counts, and is to be told.
bool Serving::add_sync(ClientSync* client, const SyncRequest& request) noexcept {
    const bool local_object = context_.volumes[request.volume]->is_local(request.object);
    const bool alone = !waits_for_peer() && context_.role != ReplicaRole::held;
    pending_syncs_.push_back(
        {client, request, false, local_object || alone, context_.loop.now(), local_object});
    return waits_for_peer() && !local_object;
}

void Serving::send_sync(const SyncRequest& request) noexcept {
    context_.scratch.clear();
    encode_sync(request, context_.scratch);
    context_.link->send(FrameType::sync, context_.scratch);
}

void Serving::begin_local_sync(const SyncRequest& request) noexcept {
    auto done = [this, token = request.token](Status status) { local_sync_done(token, status); };
    if (request.is_of_everything()) {
        syncs_.sync_everything(std::move(done));
        disk_check_.begin();
    } else {
        syncs_.sync_object(request.volume, request.object, request.data_only, std::move(done));
    }
}

// ---- a sync that is begun with the write before it ------------------------------------------

// The write has been put into the stream, if it is shipped at all, and is carried out next. What
// is sent to the peer here leaves together with it.
void Serving::expect_sync(const Op& op) noexcept {
    if (!forecast_.expects_sync()) return;
    GEMEL_PROBE("serving: a sync is begun before it is asked for");
    GEMEL_ASSERT(!expected_);
    const SyncRequest request{next_token_++, op.volume, op.object, forecast_.data_only()};
    expected_ = ExpectedSync{request.token, false};
    if (add_sync(nullptr, request)) send_sync(request);
}

// Behind the write, which went well or did not.
void Serving::begin_expected_sync(bool written) noexcept {
    if (!expected_) return;
    const PendingSync& sync = pending_syncs_.back();
    GEMEL_ASSERT(sync.client == nullptr && sync.request.token == expected_->token);
    if (written) {
        begin_local_sync(SyncRequest(sync.request));
        return;
    }
    pending_syncs_.pop_back();
    forget_expected_sync();
}

// It runs to its end, and is nobody's answer.
void Serving::forget_expected_sync() noexcept {
    if (!expected_) return;
    expected_.reset();
    forecast_.was_wrong();
}

// True: the client's answer is that of the sync which was begun for it, now or when it is done.
bool Serving::take_expected_sync(ClientSync& client) noexcept {
    if (!expected_) return false;
    const ExpectedSync expected = *expected_;
    if (!forecast_.is_last_change(client.volume, client.object) ||
        forecast_.data_only() != client.data_only) {
        forget_expected_sync();
        return false;
    }
    expected_.reset();
    if (expected.done) {
        answer(client, Status());
        return true;
    }
    const auto sync = find_sync(expected.token);
    GEMEL_ASSERT(sync != pending_syncs_.end() && sync->client == nullptr);
    sync->client = &client;
    return true;
}

// ---- outcomes -------------------------------------------------------------------------------

std::deque<Serving::PendingSync>::iterator Serving::find_sync(std::uint64_t token) noexcept {
    return std::find_if(pending_syncs_.begin(), pending_syncs_.end(),
                        [&](const PendingSync& one) { return one.request.token == token; });
}

bool Serving::is_syncing_everything() const noexcept {
    return std::any_of(pending_syncs_.begin(), pending_syncs_.end(), [](const PendingSync& one) {
        return one.request.is_of_everything() && !one.local_done;
    });
}

void Serving::local_sync_done(std::uint64_t token, Status status) noexcept {
    const auto sync = find_sync(token);
    if (sync == pending_syncs_.end()) {  // answered by stop()
        if (!status.ok()) context_.disk_failed(status);
        return;
    }
    if (status.ok()) {
        sync->local_done = true;
        finish_syncs(Status());
        return;
    }
    // Whatever the reason, the kernel reports lost pages once: this copy is not to be trusted.
    GEMEL_PROBE("serving: a local fsync failed");
    forget_expected_sync();
    if (waits_for_peer()) {
        stalled_ = true;
    } else {
        ClientSync* client = sync->client;
        pending_syncs_.erase(sync);
        if (client != nullptr) {
            context_.counters.load.syncs.add(context_.loop.now() - client->submitted);
            client->on_complete(status);
        }
    }
    context_.local_failure(status, "a sync failed on this node's disk");
}

Status Serving::on_sync_done(Bytes payload) noexcept {
    const Result<std::uint64_t> token = decode_number(payload);
    if (!token.ok()) return token.status();
    for (PendingSync& sync : pending_syncs_) {
        if (sync.request.token == token.value()) sync.peer_done = true;
    }
    for (const auto& publication : publications_) {
        if (publication->sync_token == token.value()) publication->durable_there = true;
    }
    schedule_publications();
    finish_syncs(Status());
    return Status();
}

void Serving::answer(ClientSync& client, Status status) noexcept {
    context_.counters.load.syncs.add(context_.loop.now() - client.submitted);
    context_.loop.post([&client, status] { client.on_complete(status); });
}

// Answers those that are done on all nodes that count; with an error, all of them.
void Serving::finish_syncs(Status status) noexcept {
    for (auto sync = pending_syncs_.begin(); sync != pending_syncs_.end();) {
        if (status.ok() && !(sync->local_done && sync->peer_done)) {
            ++sync;
            continue;
        }
        ClientSync* client = sync->client;
        if (expected_ && expected_->token == sync->request.token) expected_->done = true;
        sync = pending_syncs_.erase(sync);
        if (client != nullptr) answer(*client, status);
    }
    schedule_publications();
    settle();
}

}  // namespace gemel
