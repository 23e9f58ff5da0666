// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/mutants.hpp"

#include "engine/mirror/messages.hpp"

namespace gemel::sim {

EarlyAckLink::EarlyAckLink(Loop& loop, std::unique_ptr<PeerLink> inner)
    : loop_(loop), inner_(std::move(inner)), timer_(loop, [this] { let_go(); }) {}

void EarlyAckLink::send(FrameType type, Bytes head, Bytes body) noexcept {
    ByteBuffer payload(head.begin(), head.end());
    payload.insert(payload.end(), body.begin(), body.end());
    if (type == FrameType::op) {
        const auto number = ByteReader(payload).get<std::uint64_t>();
        loop_.post([this, number, alive = std::weak_ptr<bool>(alive_)] {
            if (alive.expired() || handler_ == nullptr) return;
            ByteBuffer ack;
            encode_number(number, ack);
            handler_->on_frame(FrameType::ack, ack);
        });
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

}  // namespace gemel::sim
