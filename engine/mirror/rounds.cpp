// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/rounds.hpp"

#include "engine/mirror/messages.hpp"

#include <utility>

namespace gemel {

Rounds::Rounds(ReplicaContext& context, SyncRunner& syncs,
               std::function<bool()> take_activity) noexcept
    : context_(context),
      syncs_(syncs),
      take_activity_(std::move(take_activity)),
      timer_(context.loop, [this] { tick(); }) {}

void Rounds::start() noexcept { timer_.start(context_.options.sync_interval); }

void Rounds::stop() noexcept {
    timer_.cancel();
    ++generation_;
    number_ = 0;
    for (auto& waiter : running_waiters_) waiters_.push_back(std::move(waiter));
    running_waiters_.clear();
    for (auto& waiter : std::exchange(waiters_, {})) waiter(Status(Code::cancelled));
}

void Rounds::tick() noexcept {
    timer_.start(context_.options.sync_interval);
    if (number_ != 0) return;
    // After the last change a few more rounds let the idle intents run out.
    quiet_ticks_ = take_activity_() ? 0 : quiet_ticks_ + 1;
    if (quiet_ticks_ <= context_.options.idle_rounds + 1) begin();
}

void Rounds::run_now(std::function<void(Status)> done) noexcept {
    waiters_.push_back(std::move(done));
    if (number_ == 0) begin();
}

void Rounds::begin() noexcept {
    number_ = context_.intents.begin_round();
    context_.touch_in_flight();
    ++generation_;
    running_waiters_ = std::exchange(waiters_, {});
    with_peer_ = context_.role == ReplicaRole::primary;
    local_done_ = false;
    peer_done_ = !with_peer_;
    if (with_peer_) context_.send_number(FrameType::round, number_);
    syncs_.sync_everything([this, generation = generation_](Status status) {
        if (generation != generation_) {
            if (!status.ok()) context_.disk_failed(status);
            return;
        }
        if (status.ok()) {
            local_done_ = true;
            finish_if_done();
            return;
        }
        number_ = 0;
        for (auto& waiter : std::exchange(running_waiters_, {})) waiter(status);
        context_.local_failure(status, "the file system could not be synced");
    });
}

Status Rounds::on_round_synced(Bytes payload) noexcept {
    const Result<std::uint64_t> number = decode_number(payload);
    if (!number.ok()) return number.status();
    if (number_ == 0 || number.value() != number_) return Status();
    peer_done_ = true;
    finish_if_done();
    return Status();
}

void Rounds::on_peer_joined() noexcept {
    quiet_ticks_ = 0;
    run_now([](Status) {});
}

void Rounds::on_peer_gone() noexcept {
    if (number_ == 0 || !with_peer_) return;
    with_peer_ = false;
    peer_done_ = true;
    finish_if_done();
}

void Rounds::finish_if_done() noexcept {
    if (!local_done_ || !peer_done_) return;
    if (with_peer_) {
        const bool pressed = context_.intents.live_count() > context_.options.live_intents_max;
        context_.intents.clear_through(number_, pressed ? 0 : context_.options.idle_rounds);
        context_.send_number(FrameType::round_durable, number_);
    }
    ++context_.counters.rounds;
    number_ = 0;
    for (auto& waiter : std::exchange(running_waiters_, {})) waiter(Status());
    if (!waiters_.empty()) begin();
}

}  // namespace gemel
