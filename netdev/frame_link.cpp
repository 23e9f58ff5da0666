// SPDX-License-Identifier: Apache-2.0
#include "netdev/frame_link.hpp"

#include "engine/base/assert.hpp"

#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kWaitingMax = 2 * kFrameSizeMax;
constexpr std::size_t kKeptCapacity = 64 * kKiB;

}  // namespace

FrameLink::FrameLink(Loop& loop, std::unique_ptr<Stream> stream, const Session& session,
                     FrameParser parser, Bytes rest) noexcept
    : loop_(loop),
      stream_(std::move(stream)),
      session_(session),
      parser_(std::move(parser)),
      waiting_(rest.begin(), rest.end()),
      alive_(std::make_shared<bool>(true)) {
    parser_.expect(session.version, session.tag, kFrameSizeMax);
    stream_->set_handler(*this);
}

FrameLink::~FrameLink() {
    *alive_ = false;
    if (!is_over_) stream_->close();
}

// ---- sending ------------------------------------------------------------------------------

bool FrameLink::wants_compression(FrameType type, std::size_t size) const noexcept {
    if (size < kCompressSizeMin) return false;
    if (type == FrameType::op) return stream_->unsent() >= kCompressBacklogMin;
    return type == FrameType::resync_content && stream_->unsent() >= kCompressBacklogMinOfResync;
}

void FrameLink::send(FrameType type, Bytes head, Bytes body) noexcept {
    GEMEL_ASSERT(head.size() + body.size() <= kFrameSizeMax);
    if (is_over_) return;
    FrameHeader header{};
    header.plain_size = static_cast<std::uint32_t>(head.size() + body.size());
    if (wants_compression(type, body.size())) {
        const Bytes packed = compressor_.compress(body, stream_->unsent());
        if (!packed.empty()) {
            body = packed;
            header.flags = kFrameCompressed;
        }
    }
    header.version = session_.version;
    header.type = type;
    header.body_size = static_cast<std::uint32_t>(head.size() + body.size());
    header.head_size = static_cast<std::uint32_t>(head.size());
    header.sequence = session_.send_sequence++;
    header.session = session_.tag;
    seal_frame(header, head, body);

    const Bytes raw = std::as_bytes(std::span(&header, 1));
    scratch_.assign(raw.begin(), raw.end());
    scratch_.insert(scratch_.end(), head.begin(), head.end());
    stream_->send(scratch_, body);
    if (scratch_.capacity() > kKeptCapacity) ByteBuffer().swap(scratch_);
}

void FrameLink::flush() noexcept {
    if (!is_over_) stream_->flush();
}

std::size_t FrameLink::unsent() const noexcept { return is_over_ ? 0 : stream_->unsent(); }

void FrameLink::close() noexcept {
    is_closed_ = true;
    if (!std::exchange(is_over_, true)) stream_->close();
}

// ---- receiving ----------------------------------------------------------------------------

void FrameLink::set_handler(PeerLinkHandler& handler) noexcept {
    const bool is_first = handler_ == nullptr;
    handler_ = &handler;
    if (!is_first) return;
    loop_.post([this, alive = alive_] {
        if (*alive) deliver_waiting();
    });
}

void FrameLink::on_data(Bytes data) noexcept {
    if (is_over_) return;
    if (is_started_) return deliver(data);
    if (waiting_.size() + data.size() > kWaitingMax) return lose(Status(Code::too_large));
    waiting_.insert(waiting_.end(), data.begin(), data.end());
}

void FrameLink::on_closed(Status reason) noexcept {
    if (std::exchange(is_over_, true)) return;
    report_lost(reason);
}

void FrameLink::deliver_waiting() noexcept {
    if (is_closed_) return;
    is_started_ = true;
    const ByteBuffer waiting = std::exchange(waiting_, {});
    const std::shared_ptr<bool> alive = alive_;
    deliver(waiting);
    if (!*alive || is_closed_ || lost_.ok()) return;
    // The stream ended while nobody listened: what came before its end has now been heard.
    handler_->on_lost(lost_);
}

void FrameLink::deliver(Bytes data) noexcept {
    const std::shared_ptr<bool> alive = alive_;
    while (const auto frame = parser_.next(data)) {
        handler_->on_frame(frame->type, frame->payload);
        if (!*alive || is_closed_) return;
    }
    if (parser_.error() != nullptr) lose(Status(Code::corrupt));
}

// Ends the session from this side.
void FrameLink::lose(Status reason) noexcept {
    if (std::exchange(is_over_, true)) return;
    stream_->close();
    report_lost(reason);
}

void FrameLink::report_lost(Status reason) noexcept {
    GEMEL_ASSERT(!reason.ok());
    if (is_started_) {
        handler_->on_lost(reason);
    } else {
        lost_ = reason;
    }
}

}  // namespace gemel
