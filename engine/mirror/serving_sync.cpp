// SPDX-License-Identifier: Apache-2.0
// fsync on the serving side: durable here and, while the peer is in the in-sync set, there.
#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/serving.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace gemel {

// A directory may be open and removed. Of the others an open one is an orphan at least.
bool Serving::is_removed(const ClientSync& client) noexcept {
    if (client.object.is_none() || client.object == kRootObject) return false;
    const Result<Attributes> now = context_.volumes[client.volume]->attributes(client.object);
    if (!now.ok()) return now.status().is_errno(ESTALE);
    return S_ISDIR(now->stat.mode) && now->stat.link_count == 0;
}

void Serving::sync(ClientSync& client) noexcept {
    const ReplicaRole role = context_.role;
    const bool held = role == ReplicaRole::held;
    if ((role != ReplicaRole::alone && !waits_for_peer() && !held) ||
        !context_.volume_exists(client.volume)) {
        context_.loop.post([&client] { client.on_complete(Status(Code::refused)); });
        return;
    }
    // There is nothing left to make durable, and the peer has nothing to look for.
    if (is_removed(client)) {
        context_.loop.post([&client] { client.on_complete(Status()); });
        return;
    }
    const std::uint64_t token = next_token_++;
    const bool local_object = context_.volumes[client.volume]->is_local(client.object);
    pending_syncs_.push_back({&client, token, false, local_object || (!waits_for_peer() && !held),
                              context_.loop.now(), local_object});
    if (waits_for_peer() && !local_object) send_sync(pending_syncs_.back());
    auto done = [this, token](Status status) { local_sync_done(token, status); };
    if (client.object.is_none() || client.object == kRootObject) {
        syncs_.sync_everything(std::move(done));
    } else {
        syncs_.sync_object(client.volume, client.object, client.data_only, std::move(done));
    }
}

void Serving::send_sync(const PendingSync& sync) noexcept {
    context_.scratch.clear();
    const ClientSync& client = *sync.client;
    encode_sync({sync.token, client.volume, client.object, client.data_only}, context_.scratch);
    context_.link->send(FrameType::sync, context_.scratch);
    context_.link->flush();
}

void Serving::local_sync_done(std::uint64_t token, Status status) noexcept {
    const auto sync = std::find_if(pending_syncs_.begin(), pending_syncs_.end(),
                                   [&](const PendingSync& one) { return one.token == token; });
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
    if (waits_for_peer()) {
        stalled_ = true;
    } else {
        ClientSync* client = sync->client;
        pending_syncs_.erase(sync);
        client->on_complete(status);
    }
    context_.local_failure(status, "a sync failed on this node's disk");
}

Status Serving::on_sync_done(Bytes payload) noexcept {
    const Result<std::uint64_t> token = decode_number(payload);
    if (!token.ok()) return token.status();
    for (PendingSync& sync : pending_syncs_) {
        if (sync.token == token.value()) sync.peer_done = true;
    }
    for (const auto& publication : publications_) {
        if (publication->sync_token == token.value()) publication->durable_there = true;
    }
    schedule_publications();
    finish_syncs(Status());
    return Status();
}

// Answers those that are done on all nodes that count; with an error, all of them.
void Serving::finish_syncs(Status status) noexcept {
    for (auto sync = pending_syncs_.begin(); sync != pending_syncs_.end();) {
        if (status.ok() && !(sync->local_done && sync->peer_done)) {
            ++sync;
            continue;
        }
        ClientSync* client = sync->client;
        sync = pending_syncs_.erase(sync);
        context_.loop.post([client, status] { client->on_complete(status); });
    }
    schedule_publications();
    settle();
}

}  // namespace gemel
