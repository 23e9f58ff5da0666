// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/sizes.hpp"

#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"

#include <utility>

namespace gemel {

namespace {

std::string why_not(Status status, std::uint64_t size) {
    if (status.is_errno(ENOSPC)) {
        return "there is no place for " + std::to_string(size) + " bytes";
    }
    if (status.is_errno(EINVAL)) {
        return std::to_string(size) + " bytes are no multiple of its block";
    }
    return status.to_string();
}

}  // namespace

void Sizes::send(FrameType type, std::uint16_t volume, std::uint64_t size,
                 const std::string& refusal) noexcept {
    context_.scratch.clear();
    encode_size({volume, size, refusal}, context_.scratch);
    context_.link->send(type, context_.scratch);
    context_.link->flush();
}

// ---- serving ----------------------------------------------------------------------------------

void Sizes::grow(std::uint16_t volume, std::uint64_t size,
                 std::function<void(Status, std::string)> done) noexcept {
    const auto answer = [&](Status status, const char* text) {
        context_.loop.post([done = std::move(done), status, text] { done(status, text); });
    };
    const BlockVolume* block = context_.volume_exists(volume) ? context_.block(volume) : nullptr;
    const bool alone = context_.role == ReplicaRole::alone && context_.link == nullptr;
    const bool with_peer = context_.role == ReplicaRole::primary && context_.shipping;
    if (block == nullptr) return answer(Status(Code::not_found), "no such block volume");
    if (growth_) return answer(Status(Code::refused), "a volume is being resized already");
    if (!alone && !with_peer) {
        return answer(Status(Code::refused),
                      "the mirror has to be primary, or alone without its peer");
    }
    if (size < block->size()) {
        return answer(Status(Code::refused), "a block volume never shrinks");
    }
    if (size == block->size()) return answer(Status(), "");
    growth_ = Growth{volume, size, std::move(done), with_peer, false};
    if (with_peer) {
        send(FrameType::resize, volume, size, {});
    } else {
        grow_here();
    }
}

void Sizes::tell_all() noexcept {
    for (std::uint16_t i = 0; i < context_.volumes.size(); ++i) {
        const BlockVolume* block = context_.block(i);
        if (block != nullptr) send(FrameType::resize, i, block->size(), {});
    }
}

Status Sizes::on_resized(Bytes payload) noexcept {
    const Result<SizeMessage> message = decode_size(payload);
    if (!message.ok()) return message.status();
    // Else the answer of a target to what it was told.
    const bool is_awaited = growth_ && growth_->with_peer && !growth_->peer_has_it &&
                            growth_->volume == message->volume && growth_->size == message->size;
    if (!is_awaited) return Status();
    if (!message->refusal.empty()) {
        finish(Status(Code::refused), "the other node refuses: " + message->refusal);
        return Status();
    }
    growth_->peer_has_it = true;
    grow_here();
    return Status();
}

void Sizes::grow_here() noexcept {
    context_.block(growth_->volume)
        ->prepare_size(growth_->size, [this, session = session_](Status status) {
            const bool disk_failed = is_disk_failure(status);
            if (session == session_ && growth_ && !status.ok()) {
                finish(status, why_not(status, growth_->size));
            }
            if (disk_failed) return context_.disk_failed(status);
            if (session != session_ || !growth_) return;
            // A target that came meanwhile was told the old size.
            if (!growth_->with_peer && context_.link != nullptr) {
                return finish(Status(Code::refused), "the other node came back: try again");
            }
            GEMEL_PROBE("sizes: a block volume has grown");
            context_.block(growth_->volume)->set_size(growth_->size);
            finish(Status(), {});
        });
}

void Sizes::finish(Status status, const std::string& text) noexcept {
    const Growth growth = std::move(*growth_);
    growth_.reset();
    context_.loop.post([done = growth.done, status, text] { done(status, text); });
}

// ---- following --------------------------------------------------------------------------------

Status Sizes::on_resize(Bytes payload,
                        std::function<void(Status, const std::string&)> fail) noexcept {
    const Result<SizeMessage> message = decode_size(payload);
    if (!message.ok()) return message.status();
    const std::uint16_t volume = message->volume;
    BlockVolume* block = context_.volume_exists(volume) ? context_.block(volume) : nullptr;
    if (block == nullptr) return Status(Code::corrupt);
    const bool is_target = context_.role == ReplicaRole::target;
    if (!is_target && message->size < block->size()) return Status(Code::corrupt);
    const std::uint64_t size = message->size;
    if (size == block->size() && !block->is_sizing()) {
        send(FrameType::resized, volume, size, {});
        return Status();
    }
    if (is_target) ++adopting_;
    block->prepare_size(size, [this, block, volume, size, is_target, session = session_,
                               fail = std::move(fail)](Status status) {
        if (session != session_ || (is_disk_failure(status) && !is_target)) {
            if (is_disk_failure(status)) context_.disk_failed(status);
            return;
        }
        if (status.ok()) {
            GEMEL_PROBE("sizes: a follower takes another size");
            block->set_size(size);
            send(FrameType::resized, volume, size, {});
        } else if (is_target) {
            fail(status, "a block volume can't take the other node's size");
        } else {
            send(FrameType::resized, volume, size, why_not(status, size));
        }
        if (!is_target) return;
        --adopting_;
        go_on_();
    });
    return Status();
}

void Sizes::reset() noexcept {
    ++session_;
    adopting_ = 0;
    if (growth_) finish(Status(Code::refused), "the mirror has changed its state: try again");
}

}  // namespace gemel
