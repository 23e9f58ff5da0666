// SPDX-License-Identifier: Apache-2.0
#include "controller/arbiter_none.hpp"

#include "controller/register_store.hpp"

#include <utility>

namespace gemel {

RegisterValue StoredRegister::read() const { return store_.read(cluster_, mirror_); }

void StoredRegister::store(const RegisterValue& value, std::function<void(Status)> done) {
    const RegisterValue current = read();
    // By force in the store's sense: which epoch may follow has been judged by the NoArbiter.
    store_.swap(cluster_, mirror_, {current.epoch, current.token, true, value},
                [done = std::move(done)](const SwapAnswer& answer) {
                    done(answer.outcome == SwapOutcome::won ? Status() : Status::from_errno(EIO));
                });
}

NoArbiter::NoArbiter(Loop& loop, LocalRegister& local, Options options)
    : loop_(loop),
      local_(local),
      options_(std::move(options)),
      timer_(loop, [this] { expired(); }) {}

bool NoArbiter::send(ControlMessage message) { return send_ && send_(message); }

void NoArbiter::begin(Call call) {
    GEMEL_ASSERT(!call_);
    call_ = std::move(call);
    call_->number = next_number_++;
    timer_.start(options_.limit);
}

void NoArbiter::answer_read(const ReadAnswer& answer) {
    GEMEL_ASSERT(call_ && call_->read_done);
    const auto done = std::move(call_->read_done);
    call_.reset();
    timer_.cancel();
    // Never inside the call that asked.
    loop_.post([done, answer] { done(answer); });
}

void NoArbiter::answer_swap(const SwapAnswer& answer) {
    GEMEL_ASSERT(call_ && call_->swap_done);
    const auto done = std::move(call_->swap_done);
    call_.reset();
    timer_.cancel();
    loop_.post([done, answer] { done(answer); });
}

void NoArbiter::expired() {
    if (!call_) return;
    if (call_->swap_done) {
        const SwapOutcome outcome =
            call_->is_sent ? SwapOutcome::unknown : SwapOutcome::unreachable;
        return answer_swap({outcome, {}, options_.peer + " does not answer"});
    }
    const RegisterValue own = local_.read();
    if (own.is_only(options_.node)) return answer_read({Status(), own, {}});
    answer_read({Status(Code::disconnected), own, options_.peer + " does not answer"});
}

// --- Reading -------------------------------------------------------------------------------------

void NoArbiter::read(std::function<void(const ReadAnswer&)> done) noexcept {
    Call call;
    call.read_done = std::move(done);
    begin(std::move(call));
    ControlMessage question;
    question.kind = ControlKind::register_read;
    question.number = call_->number;
    question.value = local_.read();
    call_->is_sent = send(std::move(question));
    if (call_->is_sent) return;
    const RegisterValue own = local_.read();
    // Nobody but this node may change what names it alone.
    if (own.is_only(options_.node)) return answer_read({Status(), own, {}});
    answer_read({Status(Code::disconnected),
                 own,
                 "there is no arbiter, and " + options_.peer +
                     " is not connected: a person may decide by 'gemel promote --force'"});
}

void NoArbiter::peer_value(const ControlMessage& message) {
    if (!call_ || !call_->read_done || call_->number != message.number) return;
    const RegisterValue own = local_.read();
    const bool peer_is_newer =
        message.value.epoch > own.epoch ||
        (message.value.epoch == own.epoch && message.value.token > own.token);
    const RegisterValue newest = peer_is_newer ? message.value : own;
    adopt(newest, [this, newest, number = call_->number](Status status) {
        if (!call_ || call_->number != number) return;
        if (status.ok()) return answer_read({Status(), newest, {}});
        answer_read({status, {}, "the register can't be stored: " + status.to_string()});
    });
}

void NoArbiter::adopt(const RegisterValue& value, std::function<void(Status)> next) {
    if (is_storing_) return next(Status(Code::refused));
    if (value.epoch <= local_.read().epoch) return next(Status());
    is_storing_ = true;
    local_.store(value, [this, next = std::move(next)](Status status) {
        is_storing_ = false;
        next(status);
    });
}

// --- Swapping ------------------------------------------------------------------------------------

void NoArbiter::swap(const RegisterProposal& proposal,
                     std::function<void(const SwapAnswer&)> done) noexcept {
    Call call;
    call.proposal = proposal;
    call.swap_done = std::move(done);
    begin(std::move(call));
    const RegisterValue own = local_.read();
    if (is_storing_) {
        return answer_swap({SwapOutcome::unreachable, {}, "another change is being stored"});
    }
    switch (judge(proposal, own)) {
        case SwapVerdict::repeated:
            return answer_swap({SwapOutcome::won, own, {}});
        case SwapVerdict::lost:
            return answer_swap({SwapOutcome::lost, own, {}});
        case SwapVerdict::won:
            break;
    }
    ControlMessage question;
    question.kind = ControlKind::register_propose;
    question.number = call_->number;
    question.proposal = proposal;
    const bool mine_alone =
        proposal.forced || (own.is_only(options_.node) && proposal.value.is_only(options_.node));
    if (!mine_alone) {
        call_->is_sent = send(std::move(question));
        if (call_->is_sent) return;
        return answer_swap({SwapOutcome::unreachable,
                            {},
                            "there is no arbiter, and " + options_.peer + " is not connected"});
    }
    send(std::move(question));  // so that the peer knows; the outcome does not depend on it
    call_->is_sent = true;      // until the store has answered, it may be on the disk
    adopt(proposal.value, [this, number = call_->number](Status status) {
        if (!call_ || call_->number != number) return;
        if (status.ok()) return answer_swap({SwapOutcome::won, local_.read(), {}});
        answer_swap({SwapOutcome::unknown, {}, "the register can't be stored"});
    });
}

void NoArbiter::peer_proposes(const ControlMessage& message) {
    const RegisterProposal& proposal = message.proposal;
    const RegisterValue own = local_.read();
    ControlMessage answer;
    answer.kind = ControlKind::register_answer;
    answer.number = message.number;
    answer.value = own;
    answer.flag = own.token == proposal.value.token;
    // Of two proposals under way the first node's goes on; an unsettled earlier one of the other's
    // is lost by that, and it will find so when it proposes it again.
    const bool own_goes_first = call_ && call_->swap_done && call_->is_sent && options_.is_first;
    const bool follows = proposal.value.epoch > own.epoch &&
                         (proposal.forced || proposal.expected_epoch > own.epoch ||
                          judge(proposal, own) == SwapVerdict::won);
    if (answer.flag || is_storing_ || own_goes_first || !follows) {
        send(std::move(answer));
        return;
    }
    adopt(proposal.value, [this, answer](Status status) mutable {
        answer.value = local_.read();
        answer.flag = status.ok();
        send(std::move(answer));
    });
}

void NoArbiter::peer_answers(const ControlMessage& message) {
    if (!call_ || !call_->swap_done || call_->number != message.number) return;
    const auto finish = [this, number = call_->number](Status status) {
        if (!call_ || call_->number != number) return;
        const RegisterValue own = local_.read();
        if (!status.ok()) {
            return answer_swap({SwapOutcome::unknown, {}, "the register can't be stored"});
        }
        switch (judge(call_->proposal, own)) {
            case SwapVerdict::repeated:
                return answer_swap({SwapOutcome::won, own, {}});
            case SwapVerdict::lost:
                return answer_swap({SwapOutcome::lost, own, {}});
            case SwapVerdict::won:
                // The peer is at the same value and is busy with another: nothing has happened.
                return answer_swap({SwapOutcome::unknown, {}, options_.peer + " is busy"});
        }
    };
    adopt(message.flag ? call_->proposal.value : message.value, finish);
}

void NoArbiter::on_message(const ControlMessage& message) {
    switch (message.kind) {
        case ControlKind::register_read: {
            ControlMessage answer;
            answer.kind = ControlKind::register_value;
            answer.number = message.number;
            answer.value = local_.read();
            send(std::move(answer));
            // The asker's may be the newer one.
            return adopt(message.value, [](Status) {});
        }
        case ControlKind::register_value:
            return peer_value(message);
        case ControlKind::register_propose:
            return peer_proposes(message);
        case ControlKind::register_answer:
            return peer_answers(message);
        default:
            return;
    }
}

}  // namespace gemel
