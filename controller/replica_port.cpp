// SPDX-License-Identifier: Apache-2.0
#include "controller/replica_port.hpp"

#include "resync/source.hpp"
#include "resync/target.hpp"
#include "resync/verify_target.hpp"

#include <tuple>
#include <utility>

namespace gemel {

EngineReplica::EngineReplica(Loop& loop, LogSink& log, IntentLog& intents,
                             std::span<const std::unique_ptr<Volume>> volumes,
                             const Replica::Options& options)
    : loop_(loop),
      log_(log),
      replica_(loop, log, intents, volumes, *this, options),
      read_ahead_(loop, replica_),
      before_(loop, log, volumes, [this](Status reason, const std::string& what) {
          replica_.fail_locally(reason, what);
      }) {}

EngineReplica::~EngineReplica() = default;

void EngineReplica::begin_alone(std::uint64_t epoch) noexcept {
    // Unless this service goes on, all that is known of a difference is in the intents.
    if (replica_.role() != ReplicaRole::held) memory_ = {};
    // This copy is the one that counts from here on. What can't be removed goes before the next
    // resync of it.
    std::ignore = before_.drop();
    replica_.begin_alone(epoch);
}

void EngineReplica::history_stored(Status status) noexcept { replica_.history_stored(status); }

void EngineReplica::attach_target(std::unique_ptr<PeerLink> link, bool full_compare) noexcept {
    replica_.attach_target(std::move(link));
    ResyncSource::Options options;
    options.full = full_compare;
    replica_.set_resync_party(std::make_unique<ResyncSource>(
        loop_, log_, replica_, memory_, progress_, pacer_, read_ahead_, options));
}

void EngineReplica::compare_everything() noexcept { replica_.require_full_compare(); }

void EngineReplica::begin_attaching() noexcept { replica_.begin_attaching(); }

void EngineReplica::finish_attaching(bool peer_in_set) noexcept {
    replica_.finish_attaching(peer_in_set);
    // Given when nothing was left to be held: it is not meant for a later resync.
    if (replica_.role() != ReplicaRole::primary || !pacer_.is_paused()) return;
    log_.log(LogLevel::info, "resync: it ended before the pause, which is over with it");
    pacer_.set_paused(false);
}

void EngineReplica::set_resync_range(const ResyncRateRange& range) noexcept {
    pacer_.set_range(range);
    replica_.wake_resync();
}

void EngineReplica::pause_resync(bool paused) noexcept {
    pacer_.set_paused(paused);
    replica_.wake_resync();
}

void EngineReplica::forget_before() noexcept {
    const Status dropped = before_.drop();
    loop_.post([this, service = service_, dropped] {
        if (service != service_) return;
        ReplicaNoticed forgotten{ReplicaNotice::before_forgotten, dropped, {}, false};
        if (!dropped.ok()) {
            forgotten.what = "what was kept from before an earlier resync can't be removed: " +
                             dropped.to_string();
            forgotten.is_suspect = is_disk_failure(dropped);
        }
        events_->on_replica(forgotten);
    });
}

void EngineReplica::begin_following(std::unique_ptr<PeerLink> link,
                                    const CopyToFill& copy) noexcept {
    replica_.begin_following(std::move(link), true);
    ResyncTarget::Options options;
    options.must_compare = copy.must_compare;
    options.comparison = copy.comparison;
    options.distrusts_cache = copy.is_suspect;
    options.before = &before_;
    auto target =
        std::make_unique<ResyncTarget>(loop_, log_, replica_, progress_, read_ahead_, options);
    ResyncTarget& started = *target;
    replica_.set_resync_party(std::move(target));
    replica_.set_verify_party(std::make_unique<VerifyTarget>(loop_, replica_));
    // Until it is started the source sends nothing that would change an object.
    const bool begins_again = copy.before == BeforeResync::go_on && before_.is_beginning();
    if (copy.before == BeforeResync::begin || begins_again) {
        before_.begin(replica_, [this, service = service_, &started] {
            if (service == service_ && replica_.link() != nullptr) started.start();
        });
        return;
    }
    if (copy.before == BeforeResync::go_on) {
        before_.go_on();
    } else {
        std::ignore = before_.drop();  // what it could not remove, keep() tells
    }
    started.start();
}

void EngineReplica::promote_to_secondary() noexcept {
    before_.end();
    replica_.promote_to_secondary();
}

std::string EngineReplica::nothing_to_restore() const {
    if (before_.is_kept()) return {};
    const std::string& why = before_.trouble();
    return "the state before the resync is not kept" + (why.empty() ? std::string() : ": " + why);
}

void EngineReplica::restore_before() noexcept {
    if (!before_.is_kept()) {
        loop_.post([this, service = service_, text = nothing_to_restore()] {
            if (service == service_) notice(ReplicaNotice::restored, Status(Code::not_found), text);
        });
        return;
    }
    before_.restore([this](Status status, const std::string& what) {
        if (!status.ok()) return notice(ReplicaNotice::restored, status, what);
        replica_.sync_everything([this, service = service_](Status synced) {
            if (service != service_) return;
            notice(ReplicaNotice::restored, synced,
                   synced.ok() ? "" : "it could not be synced: " + synced.to_string());
        });
    });
}

void EngineReplica::detach() noexcept { replica_.detach(); }

void EngineReplica::quiesce() noexcept {
    replica_.quiesce([this, service = service_](Status status) {
        if (service == service_) notice(ReplicaNotice::quiesced, status);
    });
}

void EngineReplica::resume() noexcept { replica_.resume(); }

void EngineReplica::sync_volumes() noexcept {
    replica_.sync_everything([this, service = service_](Status status) {
        if (service != service_) return;
        before_.make_room(status);
        notice(ReplicaNotice::volumes_synced, status);
    });
}

void EngineReplica::stop() noexcept {
    ++service_;
    pacer_.set_paused(false);
    before_.cancel_restore();
    replica_.stop();
}

PeerLink* EngineReplica::link() noexcept { return replica_.link(); }

Duration EngineReplica::waiting_for_peer() const noexcept { return replica_.waiting_for_peer(); }

Duration EngineReplica::waiting_for_disk() const noexcept { return replica_.waiting_for_disk(); }

ApplicationLoad::Answered EngineReplica::peer_answers() const noexcept {
    return replica_.counters().peer_answers;
}

void EngineReplica::notice(ReplicaNotice what, Status status, std::string text) noexcept {
    GEMEL_ASSERT(events_ != nullptr);
    events_->on_replica({what, status, std::move(text)});
}

void EngineReplica::on_local_failure(Status reason, const std::string& what) noexcept {
    GEMEL_ASSERT(events_ != nullptr);
    before_.make_room(reason);
    events_->on_replica({ReplicaNotice::local_failure, reason, what, is_disk_failure(reason)});
}

void EngineReplica::on_peer_failure(const std::string& what) noexcept {
    notice(ReplicaNotice::peer_failure, Status(), what);
}

void EngineReplica::on_first_write_alone() noexcept { notice(ReplicaNotice::first_write_alone); }

void EngineReplica::on_resync_complete() noexcept { notice(ReplicaNotice::resync_complete); }

void EngineReplica::on_control_frame(FrameType type, Bytes payload) noexcept {
    events_->on_frame(type, payload);
}

void EngineReplica::on_session_lost(Status reason) noexcept { events_->on_session_lost(reason); }

}  // namespace gemel
