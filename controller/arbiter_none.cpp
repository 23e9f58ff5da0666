// SPDX-License-Identifier: Apache-2.0
#include "controller/arbiter_none.hpp"

#include "controller/register_store.hpp"

#include <algorithm>
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

SwapVerdict NoArbiter::verdict(const RegisterProposal& proposal,
                               const RegisterValue& current) const noexcept {
    return judge(proposal, current, vote_ == nullptr ? 1 : 2);
}

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
    if (!call_->is_sent) read_alone();
}

std::string NoArbiter::no_session() const {
    return "there is no arbiter, and " + options_.peer + " is not connected";
}

void NoArbiter::read_alone() {
    const RegisterValue own = local_.read();
    // Nobody but this node may change what names it alone.
    if (own.is_only(options_.node)) return answer_read({Status(), own, {}});
    const std::string person = ": a person may decide by 'gemel promote --force'";
    if (vote_ == nullptr) {
        return answer_read({Status(Code::disconnected), own, no_session() + person});
    }
    if (own.find(options_.node) == nullptr) {
        return answer_read({Status(Code::disconnected), own,
                            "waits for " + options_.peer + ", which is not connected" + person});
    }
    vote_->ask([this, own, number = call_->number, person](bool may, const std::string& text) {
        if (!call_ || call_->number != number) return;
        if (may) return answer_read({Status(), own, {}});
        answer_read({Status(Code::disconnected), own, text + person});
    });
}

void NoArbiter::refresh(std::uint64_t refresh) {
    ControlMessage question;
    question.kind = ControlKind::register_read;
    question.number = next_number_++;
    question.value = local_.read();
    refresh_ = refresh;
    refresh_number_ = question.number;
    if (!send(std::move(question))) refresh_number_ = 0;
}

void NoArbiter::refreshed(const RegisterValue& peers) {
    refresh_number_ = 0;
    // The peer takes what is newer here; a newer one of its is for its next proposal or a read.
    const RegisterValue own = local_.read();
    const bool is_behind =
        peers.epoch > own.epoch || (peers.epoch == own.epoch && !peers.same_as(own));
    if (is_behind || is_storing_) return adopt(peers, [](Status) {});
    vote_->agreed(refresh_);
}

void NoArbiter::peer_value(const ControlMessage& message) {
    if (refresh_number_ != 0 && message.number == refresh_number_) return refreshed(message.value);
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
        if (!status.ok() && vote_ != nullptr) vote_->disagreed();
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
    switch (verdict(proposal, own)) {
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
        if (!call_->is_sent) swap_alone(own);
        return;
    }
    send(std::move(question));  // so that the peer knows; the outcome does not depend on it
    store_swap({});
}

// Only who is in the set by its own copy, with the incarnation it has, is asked for: anybody else's
// content may lack what was acknowledged.
void NoArbiter::swap_alone(const RegisterValue& own) {
    const RegisterMember* self = call_->proposal.value.find(options_.node);
    if (vote_ == nullptr || self == nullptr || !own.has(options_.node, self->incarnation)) {
        return answer_swap({SwapOutcome::unreachable, {}, no_session()});
    }
    vote_->ask([this, number = call_->number](bool may, const std::string& text) {
        if (!call_ || call_->number != number) return;
        if (!may) return answer_swap({SwapOutcome::unreachable, {}, text});
        // While it was being asked the register may have been changed by a message of the peer's.
        if (is_storing_ || verdict(call_->proposal, local_.read()) != SwapVerdict::won) {
            return answer_swap({SwapOutcome::unreachable, {}, "the register changes"});
        }
        store_swap(text);
    });
}

void NoArbiter::store_swap(const std::string& text) {
    call_->is_sent = true;  // until the store has answered, it may be on the disk
    adopt(call_->proposal.value, [this, text, number = call_->number](Status status) {
        if (!call_ || call_->number != number) return;
        if (status.ok()) return answer_swap({SwapOutcome::won, local_.read(), text});
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
                          verdict(proposal, own) == SwapVerdict::won);
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
        switch (verdict(call_->proposal, own)) {
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
    const bool was_storing = is_storing_;
    handle(message);
    // What is newer at the peer and is not being taken over here.
    const std::uint64_t epoch = std::max(message.value.epoch, message.proposal.value.epoch);
    const bool is_taken = is_storing_ && !was_storing;
    if (vote_ != nullptr && epoch > local_.read().epoch && !is_taken) vote_->disagreed();
}

void NoArbiter::handle(const ControlMessage& message) {
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
