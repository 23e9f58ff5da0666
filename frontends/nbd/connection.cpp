// SPDX-License-Identifier: Apache-2.0
// Connection: its life, and what it takes from its stream. transmission.cpp has its requests.
#include "frontends/nbd/connection.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace gemel::nbd {
namespace {

constexpr std::size_t kStagingSize = 64 * kKiB;
static_assert(kStagingSize >= Negotiation::kInputMax);
// From here on the rest of a payload is received where it belongs instead of being copied there.
constexpr std::size_t kDirectSize = 4 * kKiB;
// At a time, so that a slow client's progress shows.
constexpr std::size_t kReceiveMax = kMiB;
// Replies of a handshake that a client may leave unread.
constexpr std::size_t kHandshakeUnsentMax = 256 * kKiB;

}  // namespace

Connection::Connection(Loop& loop, LogSink& log, ConnectionOwner& owner,
                       std::unique_ptr<Stream> stream, const std::vector<Export*>& exports,
                       const ConnectionLimits& limits) noexcept
    : loop_(loop),
      log_(log),
      owner_(owner),
      stream_(std::move(stream)),
      limits_(limits),
      negotiation_(exports),
      staging_(new std::byte[kStagingSize]),
      watch_(loop, [this] { check_progress(); }),
      last_progress_(loop.now()) {
    receive_op_.connection = this;
}

Connection::~Connection() {
    while (idle_.pop_front() != nullptr) {
    }
}

void Connection::start(bool own_socket) noexcept {
    if (own_socket) negotiation_.use_short_names();
    stream_->set_pulling_handler(*this);
    negotiation_.greet(scratch_);
    send();
    watch_.start(limits_.handshake_max);
    advance();
}

void Connection::finish() noexcept {
    if (phase_ == Phase::closed || phase_ == Phase::ending) return;
    phase_ = Phase::ending;
    check_ended();
}

// ---- the end ----------------------------------------------------------------------------------

void Connection::close(std::string_view why) noexcept {
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    if (!why.empty()) {
        std::string text = "NBD client of ";
        text += agreement_.exported == nullptr ? "no export yet" : agreement_.exported->name();
        text += " dropped: ";
        text += why;
        log_.log(LogLevel::info, text);
    }
    watch_.cancel();
    stream_->close();
    check_ended();
}

void Connection::on_closed(Status reason) noexcept {
    const bool is_usual = reason.code() == Code::disconnected;
    close(is_usual ? std::string() : reason.to_string());
}

// Closes once everything has been answered, and tells the owner once nothing comes back any more.
void Connection::check_ended() noexcept {
    if (advancing_) return;
    if (phase_ == Phase::ending && in_flight_ == 0) {
        stream_->flush();
        if (stream_->unsent() == 0) close(end_reason_);
    }
    if (phase_ != Phase::closed || receiving_ || in_flight_ > 0 || ended_told_) return;
    if (filling_ != nullptr) release(*std::exchange(filling_, nullptr));
    ended_told_ = true;
    owner_.on_ended(*this);
}

void Connection::on_drained() noexcept {
    last_progress_ = loop_.now();
    if (phase_ == Phase::ending) return check_ended();
    advance();
}

void Connection::check_progress() noexcept {
    if (phase_ == Phase::handshake) return close("its handshake takes too long");
    const std::size_t unsent = stream_->unsent();
    const bool owes = phase_ == Phase::payload || to_discard_ > 0 || begin_ < end_;
    const bool owes_bytes = owes && receiving_;
    if ((unsent == 0 || unsent < unsent_seen_) && !owes_bytes) last_progress_ = loop_.now();
    unsent_seen_ = unsent;
    if (loop_.now() - last_progress_ >= limits_.stall_max) {
        return close(owes_bytes ? "half a message, and then nothing" : "it reads no answers");
    }
    watch_.start(limits_.stall_max / 4);
}

// ---- taking -----------------------------------------------------------------------------------

void Connection::advance() noexcept {
    if (advancing_ || phase_ == Phase::closed || phase_ == Phase::ending) return;
    advancing_ = true;
    while (step()) {
    }
    advancing_ = false;
    if (phase_ == Phase::closed || phase_ == Phase::ending) check_ended();
}

bool Connection::step() noexcept {
    if (receiving_) return false;
    if (to_discard_ > 0) {
        const auto size = std::min<std::uint64_t>(to_discard_, end_ - begin_);
        drop_staged(static_cast<std::size_t>(size));
        to_discard_ -= size;
        if (to_discard_ == 0) return true;
        receive();
        return false;
    }
    switch (phase_) {
        case Phase::handshake:
            return take_handshake();
        case Phase::header:
            return take_request();
        case Phase::payload:
            return take_payload();
        default:
            return false;
    }
}

bool Connection::take_handshake() noexcept {
    stream_->flush();
    if (stream_->unsent() > kHandshakeUnsentMax) return false;  // until on_drained
    const std::size_t taken = negotiation_.take(staged(), scratch_);
    send();
    drop_staged(taken);
    switch (negotiation_.state()) {
        case Negotiation::State::haggling:
            if (taken > 0) return true;
            receive();
            return false;
        case Negotiation::State::ended:
            phase_ = Phase::ending;  // what was said last is still sent
            end_reason_ = negotiation_.reason();
            return false;
        case Negotiation::State::transmission:
            agreement_ = negotiation_.agreement();
            phase_ = Phase::header;
            watch_.start(limits_.stall_max / 4);
            return true;
    }
    return false;
}

bool Connection::take_request() noexcept {
    if (!has_room_for(0)) return false;  // until a request completes, or on_drained
    const std::size_t header_size = request_header_size(agreement_.extended);
    if (end_ - begin_ < header_size) {
        receive();
        return false;
    }
    const auto header = read_request_header(staged().first(header_size), agreement_.extended);
    if (!header.has_value()) {
        close("what it sends is no request");
        return false;
    }
    const ExportFacts facts(*agreement_.exported);
    RequestPlan plan = plan_request(*header, agreement_, facts);
    std::size_t taken = header_size;
    if (plan.action == RequestPlan::Action::look_again) {
        const auto size = static_cast<std::size_t>(plan.payload);
        if (end_ - begin_ < header_size + size) {
            receive();
            return false;
        }
        plan = plan_status(*header, staged().subspan(header_size, size), agreement_, facts);
        taken += size;
    }
    switch (plan.action) {
        case RequestPlan::Action::close:
            close(plan.message);
            return false;
        case RequestPlan::Action::finish:
            phase_ = Phase::ending;
            return false;
        default:
            break;
    }
    if (!begin(*header, plan)) return false;
    drop_staged(taken);
    return true;
}

bool Connection::take_payload() noexcept {
    const MutableBytes rest = filling_->data.subspan(filled_);
    const std::size_t size = std::min(rest.size(), end_ - begin_);
    if (size > 0) std::memcpy(rest.data(), staged().data(), size);
    drop_staged(size);
    filled_ += size;
    if (filled_ == filling_->data.size()) {
        phase_ = Phase::header;
        submit(*std::exchange(filling_, nullptr));
        return true;
    }
    receive();
    return false;
}

void Connection::receive() noexcept {
    GEMEL_ASSERT(!receiving_);
    if (begin_ == end_) begin_ = end_ = 0;
    into_payload_ =
        phase_ == Phase::payload && end_ == 0 && filling_->data.size() - filled_ >= kDirectSize;
    receiving_ = true;
    if (into_payload_) {
        const MutableBytes rest = filling_->data.subspan(filled_);
        stream_->receive(receive_op_, rest.first(std::min(rest.size(), kReceiveMax)), true);
        return;
    }
    if (begin_ > 0) {
        std::memmove(staging_.get(), &staging_[begin_], end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    GEMEL_ASSERT(end_ < kStagingSize);
    stream_->receive(receive_op_, {&staging_[end_], kStagingSize - end_}, false);
}

void Connection::on_received(Status status, std::size_t count) noexcept {
    GEMEL_ASSERT(receiving_);
    receiving_ = false;
    if (!status.ok() || phase_ == Phase::closed || phase_ == Phase::ending) {
        return check_ended();  // after a failure on_closed follows
    }
    last_progress_ = loop_.now();
    (into_payload_ ? filled_ : end_) += count;
    advance();
}

}  // namespace gemel::nbd
