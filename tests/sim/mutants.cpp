// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/mutants.hpp"

#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"

#include <algorithm>
#include <utility>

namespace gemel::sim {

std::optional<Mutant> find_mutant(std::string_view name) noexcept {
    static constexpr std::pair<std::string_view, Mutant> kNames[] = {
        {"none", Mutant::none},
        {"acknowledge-early", Mutant::acknowledge_early},
        {"forget-intents", Mutant::forget_intents},
        {"clear-before-sync", Mutant::clear_before_sync},
        {"ignore-failed-sync", Mutant::ignore_failed_sync},
        {"apply-out-of-order", Mutant::apply_out_of_order},
        {"skip-marking", Mutant::skip_marking},
        {"own-times", Mutant::own_times},
        {"takeover-without-register", Mutant::takeover_without_register},
        {"takeover-from-resync", Mutant::takeover_from_resync},
    };
    for (const auto& [known, mutant] : kNames) {
        if (known == name) return mutant;
    }
    return std::nullopt;
}

EarlyAckLink::EarlyAckLink(Loop& loop, std::unique_ptr<PeerLink> inner, Mutant mutant)
    : loop_(loop), inner_(std::move(inner)), mutant_(mutant), timer_(loop, [this] { let_go(); }) {}

std::optional<EarlyAckLink::Frame> EarlyAckLink::answer_to(FrameType type, Bytes payload) const {
    constexpr std::uint16_t kBlockVolume = 1;
    Frame answer{FrameType::ack, {}};
    if (type == FrameType::op) {
        const Result<DecodedOp> op = decode_op(payload);
        const bool is_block = op.ok() && op->op.volume == kBlockVolume;
        const bool answers = mutant_ == Mutant::acknowledge_early ||
                             (mutant_ == Mutant::acknowledge_blocks_early && is_block);
        if (!answers) return std::nullopt;
        encode_number(ByteReader(payload).get<std::uint64_t>(), answer.payload);
        return answer;
    }
    if (type == FrameType::sync && mutant_ == Mutant::flush_early) {
        answer.type = FrameType::sync_done;
        encode_number(decode_sync(payload)->token, answer.payload);
        return answer;
    }
    if (type == FrameType::resize && mutant_ == Mutant::grow_early) {
        answer.type = FrameType::resized;
        answer.payload.assign(payload.begin(), payload.end());
        return answer;
    }
    return std::nullopt;
}

void EarlyAckLink::send(FrameType type, Bytes head, Bytes body) noexcept {
    ByteBuffer payload(head.begin(), head.end());
    payload.insert(payload.end(), body.begin(), body.end());
    if (auto answer = answer_to(type, payload)) {
        loop_.post([this, answer = *answer, alive = std::weak_ptr<bool>(alive_)] {
            if (alive.expired() || handler_ == nullptr) return;
            handler_->on_frame(answer.type, answer.payload);
        });
        if (type == FrameType::resize) return;
    }
    held_.push_back({type, std::move(payload)});
    if (!timer_.is_running()) timer_.start(Duration::milliseconds(20));
}

void EarlyAckLink::let_go() noexcept {
    for (; !held_.empty(); held_.pop_front()) {
        inner_->send(held_.front().type, held_.front().payload, {});
    }
    inner_->flush();
}

void EarlyAckLink::close() noexcept {
    handler_ = nullptr;
    timer_.cancel();
    inner_->close();
}

void EarlyAckLink::set_handler(PeerLinkHandler& handler) noexcept {
    handler_ = &handler;
    inner_->set_handler(handler);
}

bool ForgetfulIntents::touch(std::span<const IntentKey> keys) noexcept {
    bool durable = true;
    for (const IntentKey& key : keys) {
        if (!is_forgotten(key)) durable &= inner_->touch({&key, 1});
    }
    return durable;
}

void SessionLeaks::on_session() {
    if (mutant_ == Mutant::leak_descriptors) {
        const Result<Fd> opened = loop_.vfs().open_directory("/");
        if (opened.ok()) files_.emplace_back(loop_.vfs(), opened.value());
    } else if (mutant_ == Mutant::leak_timers) {
        timers_.push_back(std::make_unique<Timer>(loop_, [] {}));
        timers_.back()->start(Duration::seconds(1'000'000));
    } else if (mutant_ == Mutant::leak_memory) {
        entries_.emplace_back(8 * kKiB);
    }
}

void UnsyncedRoundLink::on_frame(FrameType type, Bytes payload) noexcept {
    if (type == FrameType::round) {
        round_ = intents_.begin_round();
        inner_->send(FrameType::round_synced, payload, {});
        inner_->flush();
    } else if (type == FrameType::round_durable) {
        intents_.clear_through(round_, idle_rounds_);
    } else {
        handler_->on_frame(type, payload);
    }
}

void ReorderingLink::on_frame(FrameType type, Bytes payload) noexcept {
    if (type != FrameType::op) {
        let_go();
        return handler_->on_frame(type, payload);
    }
    ByteBuffer arrived(payload.begin(), payload.end());
    if (held_.empty() && ++count_ % 8 == 0) {
        held_ = std::move(arrived);
        return timer_.start(Duration::microseconds(200));
    }
    if (!held_.empty()) {
        // Each takes the other's number, which comes first in the frame.
        std::swap_ranges(held_.begin(), held_.begin() + sizeof(std::uint64_t), arrived.begin());
    }
    handler_->on_frame(type, arrived);
    let_go();
}

void ReorderingLink::let_go() noexcept {
    timer_.cancel();
    if (held_.empty()) return;
    const ByteBuffer op = std::exchange(held_, {});
    handler_->on_frame(FrameType::op, op);
}

void OwnTimesLink::on_frame(FrameType type, Bytes payload) noexcept {
    Result<DecodedOp> decoded =
        type == FrameType::op ? decode_op(payload) : Result<DecodedOp>(Code::not_found);
    if (!decoded.ok()) return handler_->on_frame(type, payload);
    Op& op = decoded->op;
    op.modified = op.resolved.modified = op.resolved.parent_modified = loop_.wall_time();
    op.resolved.new_parent_modified = loop_.wall_time();
    ByteBuffer stamped;
    encode_op(op, decoded->number, stamped);
    stamped.insert(stamped.end(), op.data.begin(), op.data.end());
    handler_->on_frame(type, stamped);
}

void OvertakingLink::on_frame(FrameType type, Bytes payload) noexcept {
    if (type == FrameType::verify_check || type == FrameType::verify_question) {
        return handler_->on_frame(type, payload);
    }
    if (type != FrameType::op && held_.empty()) return handler_->on_frame(type, payload);
    held_.emplace_back(type, ByteBuffer(payload.begin(), payload.end()));
    if (!timer_.is_running()) timer_.start(Duration::milliseconds(20));
}

void OvertakingLink::let_go() noexcept {
    // A handler may close the link meanwhile.
    while (!held_.empty()) {
        const auto [type, payload] = std::move(held_.front());
        held_.pop_front();
        handler_->on_frame(type, payload);
    }
}

void UnmarkedLink::close() noexcept {
    inner_->close();
    // In sync until now: whatever is marked in this turn is what was in flight.
    if (replica_.role() != ReplicaRole::primary || !replica_.dirty_map(0).empty()) return;
    loop_.post([&replica = replica_] { replica.dirty_map(0) = DirtyMap(); });
}

void CarelessArbiter::read(std::function<void(const ReadAnswer&)> done) noexcept {
    if (mutant_ != Mutant::takeover_from_resync) return inner_->read(std::move(done));
    inner_->read([this, done = std::move(done)](const ReadAnswer& answer) {
        ReadAnswer believed = answer;
        RegisterValue& value = believed.current;
        const bool others = !value.is_empty() && value.find(node_) == nullptr;
        if (others) value.in_sync.push_back({node_, own_()});
        done(believed);
    });
}

void CarelessArbiter::swap(const RegisterProposal& proposal,
                           std::function<void(const SwapAnswer&)> done) noexcept {
    const bool takes_over = proposal.value.is_only(node_) && proposal.expected_epoch > 1;
    if (mutant_ != Mutant::takeover_without_register || !takes_over) {
        return inner_->swap(proposal, std::move(done));
    }
    loop_.post([proposal, done = std::move(done)] {
        done({SwapOutcome::won, proposal.value, {}});
    });
}

}  // namespace gemel::sim
