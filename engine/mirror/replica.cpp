// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/replica.hpp"

#include "engine/base/probe.hpp"
#include "engine/mirror/dirty_from_intents.hpp"
#include "engine/mirror/following.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/replica_context.hpp"
#include "engine/mirror/rounds.hpp"
#include "engine/mirror/serving.hpp"
#include "engine/mirror/sizes.hpp"
#include "engine/mirror/suspect_cache.hpp"
#include "engine/mirror/sync_runner.hpp"

#include <algorithm>
#include <memory>
#include <utility>

namespace gemel {

class Replica::Impl final : public PeerLinkHandler {
   public:
    Impl(Loop& loop, LogSink& log, IntentLog& intents,
         std::span<const std::unique_ptr<Volume>> volumes, ReplicaEvents& events,
         const Options& options) noexcept
        : context(loop, log, intents, volumes, events, options),
          syncs(context),
          serving(context, syncs),
          sizes(context, [this] { following.on_block_progress(); }),
          following(context, syncs, sizes),
          rounds(context, syncs, [this] { return serving.take_activity(); }) {
        context.disk_failed = [this](Status status) { note_disk_failure(as_disk_failure(status)); };
        context.block_progress = [this] {
            if (context.resync != nullptr) context.resync->on_progress();
            if (context.verifier != nullptr) context.verifier->on_progress();
            following.on_block_progress();
        };
        for (const auto& volume : volumes) {
            // In a turn of its own: an op is being looked at or carried out, and the owner may end
            // the service when told.
            volume->set_writeback_failure_handler([this](Status status) {
                context.loop.post([this, alive = std::weak_ptr<bool>(alive), status] {
                    if (!alive.expired()) note_disk_failure(as_disk_failure(status));
                });
            });
        }
        for (std::size_t i = 0; i < volumes.size(); ++i) {
            DirectoryVolume* directory = volumes[i]->as_directory();
            if (directory == nullptr) continue;
            directory->set_found_handler([this, i](ObjectId id) {
                context.object_found(static_cast<std::uint16_t>(i), id);
            });
        }
    }

    void on_frame(FrameType type, Bytes payload) noexcept override;
    void on_lost(Status reason) noexcept override;
    void take_link(std::unique_ptr<PeerLink> link) noexcept;
    void end_session() noexcept;
    void end_verify() noexcept;
    void release_orphans() noexcept;
    void note_disk_failure(Status status) noexcept;
    void tell_kept_failure() noexcept;
    void fail_locally(Status reason, const std::string& what) noexcept;
    [[nodiscard]] bool follows() const noexcept {
        return context.role == ReplicaRole::secondary || context.role == ReplicaRole::target;
    }

    ReplicaContext context;
    SyncRunner syncs;
    Serving serving;
    Sizes sizes;
    Following following;
    Rounds rounds;
    const std::shared_ptr<bool> alive = std::make_shared<bool>(true);  // for what is posted

   private:
    Status serve_frame(FrameType type, Bytes payload) noexcept;

    Status kept_failure_;  // of the disk, while idle
};

void Replica::Impl::take_link(std::unique_ptr<PeerLink> link) noexcept {
    GEMEL_ASSERT(context.link == nullptr);
    context.link = std::move(link);
    context.link->set_handler(*this);
}

void Replica::Impl::on_frame(FrameType type, Bytes payload) noexcept {
    context.last_heard = context.loop.now();
    const Status status =
        follows() ? following.on_frame(type, payload) : serve_frame(type, payload);
    if (!status.ok()) {
        GEMEL_PROBE("replica: a frame that does not belong here ends the session");
        on_lost(status);
    }
}

// Whoever had them open is gone with the mount of an earlier service. Ordinary ops, so that the
// other copy loses them too.
void Replica::Impl::release_orphans() noexcept {
    class Release final : public ClientOp {
       public:
        void on_complete(Status) noexcept override { delete this; }
    };
    for (std::uint16_t i = 0; i < context.volumes.size(); ++i) {
        DirectoryVolume* directory = context.volumes[i]->as_directory();
        if (directory == nullptr) continue;
        std::vector<ListedEntry> orphans;
        for (std::uint64_t position = 0;;) {
            const std::size_t before = orphans.size();
            const Status listed = directory->list(kOrphanDirectory, position, 1000, orphans);
            if (!listed.ok() || orphans.size() == before) break;
            position = orphans.back().next;
        }
        for (const ListedEntry& orphan : orphans) {
            auto* release = new Release;
            release->op.kind = OpKind::release_orphan;
            release->op.volume = i;
            release->op.object = orphan.id;
            serving.submit(*release);
        }
    }
}

void Replica::Impl::fail_locally(Status reason, const std::string& what) noexcept {
    if (follows()) {
        following.fail(reason, what);
    } else {
        context.local_failure(reason, what);
    }
}

void Replica::Impl::note_disk_failure(Status status) noexcept {
    if (context.role == ReplicaRole::idle) {
        kept_failure_ = status;
    } else {
        fail_locally(status, "written data were lost on this node's disk");
    }
}

// Not inside the call that begins the service.
void Replica::Impl::tell_kept_failure() noexcept {
    const Status failure = std::exchange(kept_failure_, Status());
    if (failure.ok()) return;
    context.loop.post([this, still_there = std::weak_ptr<bool>(alive), failure] {
        if (!still_there.expired()) note_disk_failure(failure);
    });
}

Status Replica::Impl::serve_frame(FrameType type, Bytes payload) noexcept {
    switch (type) {
        case FrameType::ack: {
            const Status status = serving.on_ack(payload);
            if (context.resync != nullptr) context.resync->on_progress();
            return status;
        }
        case FrameType::sync_done:
            return serving.on_sync_done(payload);
        case FrameType::round_synced:
            return rounds.on_round_synced(payload);
        case FrameType::resized:
            return sizes.on_resized(payload);
        case FrameType::failed: {
            Result<std::string> text = decode_failure(payload);
            if (!text.ok()) return text.status();
            context.events.on_peer_failure(text.value());
            return Status();
        }
        case FrameType::mirror_state:
        case FrameType::control:
            context.events.on_control_frame(type, payload);
            return Status();
        case FrameType::resync_begin:
        case FrameType::resync_intents:
        case FrameType::resync_answer:
        case FrameType::resync_done:
            return context.resync == nullptr ? Status(Code::corrupt)
                                             : context.resync->on_frame(type, payload);
        case FrameType::verify_answer:
        case FrameType::verify_reply:
            // Without one it is late: nobody waits for it any more.
            return context.verifier == nullptr ? Status()
                                               : context.verifier->on_frame(type, payload);
        default:
            return Status(Code::corrupt);
    }
}

void Replica::Impl::on_lost(Status reason) noexcept {
    if (context.link == nullptr) return;
    end_session();
    context.events.on_session_lost(reason);
}

void Replica::Impl::end_session() noexcept {
    context.drop_link();
    if (context.resync != nullptr) context.resync->on_session_lost();
    if (context.verifier != nullptr) context.verifier->on_session_lost();
    sizes.reset();
    following.stop();
    serving.on_session_lost();
    rounds.on_peer_gone();
}

void Replica::Impl::end_verify() noexcept {
    if (context.verifier == nullptr) return;
    context.verifier->on_session_lost();
    // It may be calling us right now.
    context.loop.post([retired = std::shared_ptr<ResyncParty>(std::move(context.verifier))] {});
}

Replica::Replica(Loop& loop, LogSink& log, IntentLog& intents,
                 std::span<const std::unique_ptr<Volume>> volumes, ReplicaEvents& events,
                 const Options& options) noexcept
    : impl_(std::make_unique<Impl>(loop, log, intents, volumes, events, options)) {}

Replica::~Replica() = default;

void Replica::submit(ClientOp& op) noexcept {
    impl_->serving.submit(op);
    if (impl_->context.resync != nullptr) impl_->context.resync->on_progress();
}
void Replica::sync(ClientSync& sync) noexcept { impl_->serving.sync(sync); }

Volume& Replica::volume(std::uint16_t index) noexcept {
    GEMEL_ASSERT(impl_->context.volume_exists(index));
    return *impl_->context.volumes[index];
}
DirectoryVolume& Replica::directory(std::uint16_t index) noexcept {
    DirectoryVolume* directory = volume(index).as_directory();
    GEMEL_ASSERT(directory != nullptr);
    return *directory;
}
std::size_t Replica::volume_count() const noexcept { return impl_->context.volumes.size(); }

bool Replica::is_serving() const noexcept {
    switch (role()) {
        case ReplicaRole::alone:
        case ReplicaRole::attaching:
        case ReplicaRole::primary:
        case ReplicaRole::held:
            return true;
        case ReplicaRole::idle:
        case ReplicaRole::secondary:
        case ReplicaRole::target:
            return false;
    }
    return false;
}

ReplicaRole Replica::role() const noexcept { return impl_->context.role; }

void Replica::begin_alone(std::uint64_t epoch) noexcept {
    ReplicaContext& context = impl_->context;
    GEMEL_ASSERT(context.role == ReplicaRole::idle || context.role == ReplicaRole::held ||
                 context.role == ReplicaRole::secondary);
    const bool continues = context.role == ReplicaRole::held;
    context.drop_link();
    impl_->context.resync.reset();
    impl_->end_verify();
    impl_->sizes.reset();
    impl_->following.stop();
    if (!continues) {
        for (DirtyMap& map : context.dirty) map = DirtyMap();
        // Objects that the other node had begun to send: they are nobody's.
        context.empty_incoming();
    }
    // Each beginning of a service has its own epoch, so its ids are nobody else's.
    context.set_allotment(static_cast<std::uint32_t>(epoch & 0xFF'FFFF), kFirstObject.value);
    context.role = ReplicaRole::alone;
    context.mark_found();
    context.intents.recover();
    impl_->serving.begin_alone(continues);
    impl_->rounds.start();
    if (!continues) impl_->release_orphans();
    impl_->tell_kept_failure();
}

void Replica::distrust_cache() noexcept {
    ReplicaContext& context = impl_->context;
    GEMEL_ASSERT(context.role == ReplicaRole::idle);
    const Status dropped = drop_suspect_cache(context.loop.vfs(), context.intents, context.volumes);
    if (is_disk_failure(dropped)) context.disk_failed(dropped);
}

void Replica::history_stored(Status status) noexcept { impl_->serving.history_stored(status); }

void Replica::attach_target(std::unique_ptr<PeerLink> link) noexcept {
    GEMEL_ASSERT(role() == ReplicaRole::alone);
    impl_->take_link(std::move(link));
    impl_->sizes.tell_all();
}

void Replica::grow(std::uint16_t volume, std::uint64_t size,
                   std::function<void(Status, std::string)> done) noexcept {
    impl_->sizes.grow(volume, size, std::move(done));
}

void Replica::detach() noexcept {
    if (impl_->context.link != nullptr) impl_->end_session();
}

void Replica::start_shipping() noexcept {
    GEMEL_ASSERT(is_serving() && impl_->context.link != nullptr);
    impl_->context.shipping = true;
}

void Replica::mark_intent(const IntentKey& key) noexcept {
    ReplicaContext& context = impl_->context;
    if (!context.volume_exists(key.volume)) return;
    gemel::mark_intent(key, *context.volumes[key.volume], context.dirty[key.volume]);
}

bool Replica::claim_content(std::uint16_t volume, std::uint64_t offset,
                            std::uint64_t size) noexcept {
    return impl_->serving.claim_content(volume, offset, size);
}

bool Replica::is_content_settled(std::uint16_t volume, std::uint64_t offset,
                                 std::uint64_t size) const noexcept {
    return impl_->serving.is_content_settled(volume, offset, size);
}

void Replica::release_claim() noexcept { impl_->serving.release_claim(); }

bool Replica::all_acknowledged() const noexcept { return impl_->serving.all_acknowledged(); }

void Replica::wake_resync() noexcept {
    if (impl_->context.resync != nullptr) impl_->context.resync->on_progress();
}

void Replica::hold_answers() noexcept { impl_->serving.hold_answers(); }

void Replica::report_resync_complete() noexcept { impl_->context.events.on_resync_complete(); }

void Replica::fail_locally(Status reason, const std::string& what) noexcept {
    impl_->fail_locally(reason, what);
}

void Replica::note_read_failure(Status status) noexcept {
    if (role() == ReplicaRole::idle || !is_disk_failure(status)) return;
    GEMEL_PROBE("replica: a read failed with a disk error");
    fail_locally(status, "a read failed on this node's disk");
}

void Replica::sync_everything(std::function<void(Status)> done) noexcept {
    impl_->syncs.sync_everything(std::move(done));
}

void Replica::begin_attaching() noexcept { impl_->serving.begin_attaching(); }

void Replica::finish_attaching(bool peer_in_set) noexcept {
    impl_->context.resync.reset();
    impl_->serving.finish_attaching(peer_in_set);
    if (peer_in_set) impl_->rounds.on_peer_joined();
}

void Replica::begin_following(std::unique_ptr<PeerLink> link, bool as_target) noexcept {
    GEMEL_ASSERT(role() == ReplicaRole::idle);
    impl_->context.role = as_target ? ReplicaRole::target : ReplicaRole::secondary;
    // What the peer lacked while this node served is the intents' to say from here on.
    for (DirtyMap& map : impl_->context.dirty) map = DirtyMap();
    impl_->context.intents.recover();
    impl_->following.begin();
    impl_->take_link(std::move(link));
    impl_->tell_kept_failure();
}

void Replica::promote_to_secondary() noexcept {
    GEMEL_ASSERT(role() == ReplicaRole::target);
    impl_->context.role = ReplicaRole::secondary;
    impl_->context.resync.reset();
}

void Replica::stop() noexcept {
    impl_->context.drop_link();
    impl_->context.role = ReplicaRole::idle;
    impl_->context.resync.reset();
    impl_->end_verify();
    impl_->rounds.stop();
    impl_->sizes.reset();
    impl_->following.stop();
    impl_->serving.stop();
    impl_->context.set_allotment(0, 0);
}

void Replica::quiesce(std::function<void(Status)> done) noexcept {
    impl_->serving.quiesce(
        [this, done = std::move(done)]() mutable { impl_->rounds.run_now(std::move(done)); });
}

void Replica::resume() noexcept { impl_->serving.resume(); }

void Replica::require_full_compare() noexcept {
    ReplicaContext& context = impl_->context;
    for (std::size_t i = 0; i < context.volumes.size(); ++i) {
        mark_everything(*context.volumes[i], context.dirty[i]);
    }
}

PeerLink* Replica::link() noexcept { return impl_->context.link.get(); }

Duration Replica::waiting_for_peer() const noexcept { return impl_->serving.waiting_for_peer(); }

Duration Replica::waiting_for_disk() const noexcept {
    return std::max(impl_->serving.waiting_for_disk(), impl_->following.waiting_for_disk());
}

void Replica::set_resync_party(std::unique_ptr<ResyncParty> party) noexcept {
    impl_->context.resync = std::move(party);
}

void Replica::set_verify_party(std::unique_ptr<ResyncParty> party) noexcept {
    impl_->end_verify();
    impl_->context.verifier = std::move(party);
}

DirtyMap& Replica::dirty_map(std::uint16_t volume) noexcept {
    GEMEL_ASSERT(impl_->context.volume_exists(volume));
    return impl_->context.dirty[volume];
}

IntentLog& Replica::intents() noexcept { return impl_->context.intents; }

const ReplicaCounters& Replica::counters() const noexcept {
    ReplicaCounters& counters = impl_->context.counters;
    counters.unacknowledged_ops = impl_->serving.in_flight();
    counters.oldest_unfinished = impl_->serving.oldest_unfinished();
    return counters;
}

}  // namespace gemel
