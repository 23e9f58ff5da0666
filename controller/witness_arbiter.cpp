// SPDX-License-Identifier: Apache-2.0
#include "controller/witness_arbiter.hpp"

#include <utility>

namespace gemel {

namespace {

SessionConnector::Options connector_options(const SocketAddress& witness,
                                            const std::string& mirror) {
    SessionConnector::Options options;
    options.routes.push_back({witness, std::nullopt});
    options.purpose = SessionPurpose::witness;
    options.mirror = mirror;
    options.pause_max = Duration::milliseconds(500);
    return options;
}

}  // namespace

WitnessArbiter::WitnessArbiter(Loop& loop, LogSink& log, const SessionIdentity& identity,
                               const SocketAddress& witness, std::string mirror, Duration limit)
    : loop_(loop),
      log_(log),
      witness_(witness),
      mirror_(std::move(mirror)),
      limit_(limit),
      connector_(loop, identity, connector_options(witness, mirror_), *this),
      timer_(loop, [this] { fail("did not answer in time"); }) {
    connector_.start();
}

WitnessArbiter::~WitnessArbiter() {
    if (link_ != nullptr) link_->close();
}

std::string WitnessArbiter::name() const { return "the witness " + witness_.to_string(); }

void WitnessArbiter::read(std::function<void(const ReadAnswer&)> done) noexcept {
    Pending pending;
    pending.read_done = std::move(done);
    ask(std::move(pending));
}

void WitnessArbiter::swap(const RegisterProposal& proposal,
                          std::function<void(const SwapAnswer&)> done) noexcept {
    Pending pending;
    pending.question.proposal = proposal;
    pending.swap_done = std::move(done);
    ask(std::move(pending));
}

void WitnessArbiter::ask(Pending pending) noexcept {
    GEMEL_ASSERT(!pending_);
    pending.question.number = next_number_++;
    pending.question.mirror = mirror_;
    pending_ = std::move(pending);
    timer_.start(limit_);
    send();
}

void WitnessArbiter::send() noexcept {
    if (!pending_ || pending_->sent || link_ == nullptr) return;
    pending_->sent = true;
    if (pending_->swap_done) {
        link_->send(FrameType::register_swap, encode_register_swap(pending_->question));
    } else {
        link_->send(FrameType::register_read, encode_register_read(pending_->question));
    }
    link_->flush();
}

// No answer comes any more to what was asked.
void WitnessArbiter::fail(const std::string& text) noexcept {
    if (!pending_) return;
    const bool sent = pending_->sent;
    // A late answer must not meet the next question.
    if (sent) drop_link();
    std::string sentence = name() + ' ' + text;
    if (!sent && !last_failure_.empty()) sentence += " (" + last_failure_ + ')';
    if (pending_->swap_done) {
        finish_swap({sent ? SwapOutcome::unknown : SwapOutcome::unreachable, {}, sentence});
    } else {
        finish_read({Status(Code::disconnected), {}, sentence});
    }
}

void WitnessArbiter::finish_read(const ReadAnswer& answer) noexcept {
    const auto done = std::move(pending_->read_done);
    pending_.reset();
    timer_.cancel();
    done(answer);
}

void WitnessArbiter::finish_swap(const SwapAnswer& answer) noexcept {
    const auto done = std::move(pending_->swap_done);
    pending_.reset();
    timer_.cancel();
    done(answer);
}

void WitnessArbiter::drop_link() noexcept {
    if (link_ == nullptr) return;
    link_->close();
    loop_.post([gone = std::shared_ptr<PeerLink>(std::move(link_))] {});
    connector_.start();
}

void WitnessArbiter::on_session(std::unique_ptr<PeerLink> link, const PeerHello&) noexcept {
    link_ = std::move(link);
    link_->set_handler(*this);
    last_failure_.clear();
    send();
}

void WitnessArbiter::on_attempt_failed(Status, const std::string& what) noexcept {
    if (what != last_failure_) log_.log(LogLevel::warning, name() + ": " + what);
    last_failure_ = what;
}

void WitnessArbiter::on_frame(FrameType type, Bytes payload) noexcept {
    const Result<RegisterAnswer> answer = type == FrameType::register_answer
                                              ? decode_register_answer(payload)
                                              : Result<RegisterAnswer>(Code::corrupt);
    if (!answer.ok()) {
        drop_link();
        fail("answered nonsense");
        return;
    }
    if (!pending_ || answer->number != pending_->question.number) return;
    const bool is_swap = static_cast<bool>(pending_->swap_done);
    switch (answer->kind) {
        case RegisterAnswer::Kind::read:
            if (is_swap) return fail("answered nonsense");
            return finish_read({Status(), answer->current, {}});
        case RegisterAnswer::Kind::won:
        case RegisterAnswer::Kind::lost:
            if (!is_swap) return fail("answered nonsense");
            return finish_swap(
                {answer->kind == RegisterAnswer::Kind::won ? SwapOutcome::won : SwapOutcome::lost,
                 answer->current,
                 {}});
        case RegisterAnswer::Kind::refused:
            return fail("refuses: " + answer->text);
    }
}

void WitnessArbiter::on_lost(Status reason) noexcept {
    drop_link();
    if (pending_ && pending_->sent) fail("was lost: " + reason.to_string());
}

}  // namespace gemel
