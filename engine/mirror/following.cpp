// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/following.hpp"

#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"

namespace gemel {

void Following::begin() noexcept {
    stop();
    failed_ = false;
    // What an earlier session did not bring to an end.
    context_.empty_incoming();
}

void Following::stop() noexcept {
    ++session_;
    queue_.clear();
    received_ = applied_ = acknowledged_ = 0;
    done_.clear();
    waiting_syncs_.clear();
    open_round_ = own_round_ = 0;
    commit_pending_ = false;
}

Status Following::on_frame(FrameType type, Bytes payload) noexcept {
    if (failed_) return Status();
    // Sent ahead on purpose: it must not wait behind the ops whose intents it announces.
    if (type == FrameType::intend) return on_intend(payload);
    if (sizes_.is_adopting()) {
        // Whether it fits is judged by the size to come.
        queue_.push_back({type, ByteBuffer(payload.begin(), payload.end())});
        return Status();
    }
    if (queue_.empty()) {
        Result<bool> now = ready(type, payload);
        if (!now.ok()) return now.status();
        if (now.value() && is_clear(type, payload)) return process(type, payload);
        if (!now.value()) request_commit();
    } else {
        // Joins the group commit of those before it.
        const Result<bool> joined = ready(type, payload);
        if (!joined.ok()) return joined.status();
        if (!joined.value()) request_commit();
    }
    queue_.push_back({type, ByteBuffer(payload.begin(), payload.end())});
    return Status();
}

Result<bool> Following::ready(FrameType type, Bytes payload) noexcept {
    IntentSet set;
    if (type == FrameType::op) {
        const Result<DecodedOp> decoded = decode_op(payload);
        if (!decoded.ok()) return decoded.status();
        const Op& op = decoded->op;
        if (!context_.volume_exists(op.volume)) return Code::corrupt;
        const BlockVolume* block = context_.block(op.volume);
        if (block != nullptr && !block->is_valid(op)) return Code::corrupt;
        std::uint64_t size_now = 0;
        if (op.kind == OpKind::truncate) {
            const Result<Attributes> now = context_.volumes[op.volume]->attributes(op.object);
            if (now.ok()) size_now = now->stat.size;
        }
        add_intents(op, size_now, context_.intents, set);
    } else if (type >= FrameType::resync_begin && type <= FrameType::resync_done) {
        if (context_.resync == nullptr) return Code::corrupt;
        if (const Status status = context_.resync->intents_of(type, payload, set); !status.ok()) {
            return status;
        }
        // What is brought once: else whoever is lost within the idle rounds after a first copy
        // would have all of it compared again.
        return set.keys().empty() || context_.intents.touch_once(set.keys());
    }
    return set.keys().empty() || context_.intents.touch(set.keys());
}

void Following::request_commit() noexcept {
    if (commit_pending_) return;
    commit_pending_ = true;
    commit_begun_ = context_.loop.now();
    context_.intents.commit([this, session = session_](Status status) {
        if (session != session_) return;
        commit_pending_ = false;
        if (!status.ok()) {
            fail(status, "the intent log could not be written");
        } else {
            drain();
        }
    });
}

void Following::drain() noexcept {
    while (!queue_.empty() && !failed_ && !sizes_.is_adopting()) {
        const std::uint64_t session = session_;
        const Queued& front = queue_.front();
        const Result<bool> now = ready(front.type, front.payload);
        if (now.ok() && !now.value()) {
            request_commit();
            return;
        }
        if (now.ok() && !is_clear(front.type, front.payload)) return;
        const Queued frame = std::move(queue_.front());
        queue_.pop_front();
        const Status status = now.ok() ? process(frame.type, frame.payload) : now.status();
        if (session != session_) return;  // the frame ended the session
        if (!status.ok()) {
            // Decoded before it was queued: what is wrong now is this node's view, not the bytes.
            fail(status, "a frame of the peer could not be processed");
            return;
        }
    }
}

Status Following::process(FrameType type, Bytes payload) noexcept {
    syncs_.relieve();
    switch (type) {
        case FrameType::op:
            return apply_op(payload);
        case FrameType::sync:
            return on_sync(payload);
        case FrameType::round:
            return on_round(payload);
        case FrameType::round_durable:
            return on_round_durable(payload);
        case FrameType::resize:
            return sizes_.on_resize(
                payload, [this](Status status, const std::string& what) { fail(status, what); });
        case FrameType::failed: {
            Result<std::string> text = decode_failure(payload);
            if (!text.ok()) return text.status();
            context_.events.on_peer_failure(text.value());
            return Status();
        }
        case FrameType::mirror_state:
        case FrameType::control:
            context_.events.on_control_frame(type, payload);
            return Status();
        case FrameType::resync_begin:
        case FrameType::resync_intents:
        case FrameType::resync_names:
        case FrameType::resync_attributes:
        case FrameType::resync_check:
        case FrameType::resync_content:
        case FrameType::resync_answer:
        case FrameType::resync_end:
        case FrameType::resync_done:
            return context_.resync == nullptr ? Status(Code::corrupt)
                                              : context_.resync->on_frame(type, payload);
        case FrameType::verify_check:
        case FrameType::verify_question:
            return context_.verifier == nullptr ? Status(Code::corrupt)
                                                : context_.verifier->on_frame(type, payload);
        default:
            return Status(Code::corrupt);
    }
}

Status Following::apply_op(Bytes payload) noexcept {
    Result<DecodedOp> decoded = decode_op(payload);
    if (!decoded.ok()) return decoded.status();
    if (decoded->number != received_ + 1) return Status(Code::corrupt);
    const Op& op = decoded->op;
    received_ = decoded->number;
    done_.push_back(false);
    if (context_.resync != nullptr) {
        if (const Status status = context_.resync->before_op(op); !status.ok()) {
            fail(status, "what an operation changes could not be kept before");
            return Status();
        }
    }
    if (BlockVolume* block = context_.block(op.volume); block != nullptr) {
        apply_block(decoded.value(), *block);
        return Status();
    }
    const Status status = context_.volumes[op.volume]->apply(op);
    if (!status.ok()) {
        GEMEL_PROBE("following: an op could not be applied");
        fail(status, "an operation of the serving node could not be carried out here");
        return Status();
    }
    note_applied(decoded->number);
    return Status();
}

void Following::schedule_ack() noexcept {
    if (ack_scheduled_) return;
    ack_scheduled_ = true;
    context_.loop.post([this] {
        ack_scheduled_ = false;
        if (applied_ == acknowledged_ || context_.link == nullptr || failed_) return;
        acknowledged_ = applied_;
        context_.send_number(FrameType::ack, applied_);
        context_.link->flush();
    });
}

Status Following::on_intend(Bytes payload) noexcept {
    std::vector<IntentKey> keys;
    if (const Status status = decode_intents(payload, keys); !status.ok()) return status;
    for (const IntentKey& key : keys) {
        if (!context_.volume_exists(key.volume)) return Status(Code::corrupt);
    }
    if (!context_.intents.touch(keys)) {
        // Nothing waits for this commit: it only starts the log's write early.
        context_.intents.commit([](Status) {});
    }
    return Status();
}

// Nobody waits for the outcome of a sync any more.
bool Following::is_over(std::uint64_t session, Status outcome) noexcept {
    if (session == session_) return failed_;
    if (!outcome.ok()) context_.disk_failed(outcome);
    return true;
}

Status Following::on_sync(Bytes payload) noexcept {
    const Result<SyncRequest> request = decode_sync(payload);
    if (!request.ok()) return request.status();
    if (!context_.volume_exists(request->volume)) return Status(Code::corrupt);
    const bool is_everything = request->is_of_everything();
    const bool covers_block = is_everything || context_.block(request->volume) != nullptr;
    if (covers_block && applied_ < received_) {
        // The serving node may have answered them before they were done here.
        GEMEL_PROBE("following: a sync waits for changes under way");
        waiting_syncs_.push_back({received_, request.value()});
    } else {
        begin_sync(request.value());
    }
    return Status();
}

void Following::begin_sync(const SyncRequest& request) noexcept {
    auto done = [this, token = request.token, session = session_](Status status) {
        if (is_over(session, status)) return;
        if (!status.ok()) {
            fail(as_disk_failure(status), "a sync failed on this node's disk");
            return;
        }
        context_.send_number(FrameType::sync_done, token);
        if (context_.link != nullptr) context_.link->flush();
    };
    if (request.is_of_everything()) {
        syncs_.sync_everything(std::move(done));
    } else {
        syncs_.sync_object(request.volume, request.object, request.data_only, std::move(done));
    }
}

Status Following::on_round(Bytes payload) noexcept {
    const Result<std::uint64_t> round = decode_number(payload);
    if (!round.ok()) return round.status();
    open_round_ = round.value();
    own_round_ = context_.intents.begin_round();
    context_.touch_in_flight();
    syncs_.sync_everything([this, number = round.value(), session = session_](Status status) {
        if (is_over(session, status)) return;
        if (status.ok()) {
            context_.send_number(FrameType::round_synced, number);
        } else {
            fail(as_disk_failure(status), "the file system could not be synced here");
        }
    });
    return Status();
}

Status Following::on_round_durable(Bytes payload) noexcept {
    const Result<std::uint64_t> round = decode_number(payload);
    if (!round.ok()) return round.status();
    if (open_round_ == 0 || round.value() != open_round_) return Status(Code::corrupt);
    open_round_ = 0;
    context_.intents.clear_through(own_round_, context_.options.idle_rounds);
    return Status();
}

void Following::fail(Status reason, std::string_view what) noexcept {
    if (failed_) return;
    GEMEL_PROBE("following: this copy leaves the in-sync set");
    failed_ = true;
    queue_.clear();
    std::string text(what);
    text += ": ";
    text += reason.to_string();
    if (context_.link != nullptr) {
        context_.scratch.clear();
        encode_failure(text, context_.scratch);
        context_.link->send(FrameType::failed, context_.scratch);
        context_.link->flush();
    }
    context_.events.on_local_failure(reason, text);
}

}  // namespace gemel
