// SPDX-License-Identifier: Apache-2.0
// The source's turns: what is done next, and when to pause.
#include "resync/source.hpp"

#include "engine/base/assert.hpp"

namespace gemel {

ResyncSource::ResyncSource(Loop& loop, LogSink& log, Replica& replica, ResyncMemory& memory,
                           ResyncProgress& progress, ResyncPacer& pacer, ReadAhead& read_ahead,
                           const Options& options) noexcept
    : loop_(loop),
      log_(log),
      replica_(replica),
      memory_(memory),
      progress_(progress),
      pacer_(pacer),
      options_(options),
      volumes_(replica.volume_count()),
      pace_timer_(loop, [this] { schedule(); }),
      read_ahead_(read_ahead) {
    memory_.full_begun.resize(replica.volume_count());
    progress_ = ResyncProgress();
    pacer_.begin();
    read_ahead_.begin();
}

ResyncSource::~ResyncSource() {
    *alive_ = false;
    progress_.running = false;
}

void ResyncSource::on_progress() noexcept {
    if (state_ == State::working) schedule();
    if (state_ == State::settling) try_complete();
}

void ResyncSource::schedule() noexcept {
    if (scheduled_) return;
    scheduled_ = true;
    loop_.post([this, alive = alive_] {
        if (!*alive) return;
        scheduled_ = false;
        work();
    });
}

bool ResyncSource::may_send() const noexcept {
    return outstanding_bytes_ < pacer_.outstanding_max() &&
           outstanding_.size() < kOutstandingItemsMax && replica_.link()->unsent() < kUnsentMax;
}

bool ResyncSource::turn_over() const noexcept {
    return turn_bytes_ >= turn_bytes_max_ || turn_steps_ >= kTurnSteps;
}

// False: not in this turn. It is asked again when the time has come, or on any progress. Changes of
// a block volume wait for a claim, so it is let go where nothing says when it can be used. (But not
// for requests that go first: they are what waits, and the claim would never come to its end.)
bool ResyncSource::is_granted() noexcept {
    const ApplicationLoad& load = replica_.counters().load;
    const ResyncPacer::Grant grant = pacer_.ask(load, loop_.now());
    turn_bytes_max_ = grant.bytes;
    if (grant.bytes == 0) {
        replica_.release_claim();
        if (grant.wait > Duration{}) pace_timer_.start(grant.wait);
        return false;
    }
    if (load.is_any_waiting() && ++yields_ <= kYieldsMax) {
        schedule();
        return false;
    }
    yields_ = 0;
    return true;
}

void ResyncSource::work() noexcept {
    if (state_ != State::working || replica_.link() == nullptr) return;
    ++turn_;
    turn_bytes_ = turn_steps_ = 0;
    turn_sent_ = 0;
    rate_.update(progress_, loop_.now());
    if (!is_granted()) return;
    const std::uint64_t compared = progress_.bytes_compared;
    bool busy = true;
    while (busy && state_ == State::working && may_send() && !turn_over()) {
        busy = step();
        ++turn_steps_;
    }
    pacer_.spend(turn_sent_ + progress_.bytes_compared - compared);
    if (state_ != State::working) return;
    if (!may_send()) replica_.release_claim();
    if (busy && may_send()) {
        schedule();
    } else if (!busy) {
        try_end();
    } else if (outstanding_.empty()) {
        // No answer will wake us: the link has to get rid of what it holds.
        replica_.link()->flush();
        schedule();
    }
}

bool ResyncSource::step() noexcept {
    if (want_step()) return true;
    for (std::uint16_t volume = 0; volume < volumes_.size(); ++volume) {
        const bool crowded = !scan_.active && contents_done_ < contents_wanted_ &&
                             map(volume).object_count() > kMarkedObjectsMax;
        const bool ripe = volumes_[volume].fresh.size() >= kFreshWaitingMax;
        if (ripe && fresh_step(volume)) return true;
        if (crowded && object_step(volume)) return true;
        if (state_ != State::working) return false;
        const bool has_names = replica_.volume(volume).as_directory() != nullptr;
        if (has_names && names_step(volume)) return true;
        if (state_ != State::working) return false;
        if (object_step(volume)) return true;
        if (state_ != State::working) return false;
    }
    return false;
}

ItemHead ResyncSource::new_item(Item::Kind kind, std::uint16_t volume, ObjectId object) noexcept {
    Item item;
    item.number = next_number_++;
    item.kind = kind;
    item.volume = volume;
    item.object = object;
    outstanding_.push_back(item);
    progress_.total_bytes = std::max(progress_.total_bytes, progress_.done_bytes);
    return {item.number, progress_.done_bytes, progress_.total_bytes, volume, object};
}

void ResyncSource::send(FrameType type, Bytes body) noexcept {
    GEMEL_ASSERT(frame_.size() + body.size() <= kFrameSizeMax);
    replica_.link()->send(type, frame_, body);
    turn_bytes_ += frame_.size() + body.size();
    turn_sent_ += frame_.size() + body.size();
}

}  // namespace gemel
