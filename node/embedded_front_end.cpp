// SPDX-License-Identifier: Apache-2.0
#include "node/embedded_front_end.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace gemel {

using libgemel::Error;

struct EmbeddedFrontEnd::Volume final : ExportEvents {
    Volume(EmbeddedFrontEnd& an_owner, std::size_t an_index) noexcept
        : owner(an_owner), index(an_index) {}
    void on_size_changed() noexcept override { owner.user_.on_size_changed(index); }
    void on_availability_changed() noexcept override {}

    EmbeddedFrontEnd& owner;
    std::size_t index;
    std::unique_ptr<ReplicaExport> exported;
};

// A request that the engine has.
class EmbeddedFrontEnd::Running final : public ExportRequest {
   public:
    Running(EmbeddedFrontEnd& owner, EmbeddedRequest an_origin)
        : origin(std::move(an_origin)), owner_(owner) {}
    void on_complete(Status status) noexcept override { owner_.finish(*this, status); }

    EmbeddedRequest origin;

   private:
    EmbeddedFrontEnd& owner_;
};

namespace {

// Of a request that was begun. While the node serves, what failed is the disk.
Error error_of(ExportRequestKind kind, Status status, bool serves) noexcept {
    if (status.ok()) return Error::none;
    if (!serves) {
        return kind == ExportRequestKind::read ? Error::not_serving : Error::outcome_unknown;
    }
    switch (status.as_errno()) {
        case ENOSPC:
        case EDQUOT:
            return Error::no_space;
        case EOPNOTSUPP:
            return Error::unsupported;
        default:
            return Error::io;
    }
}

}  // namespace

EmbeddedFrontEnd::EmbeddedFrontEnd(Loop& loop, const MirrorConfig& mirror, Duration end_limit,
                                   EmbeddedUser& user)
    : loop_(loop), mirror_(mirror), user_(user), end_limit_(end_limit), end_timer_(loop, [this] {
          end_use_now();
      }) {}

EmbeddedFrontEnd::~EmbeddedFrontEnd() { GEMEL_ASSERT(running_ == 0); }

Status EmbeddedFrontEnd::prepare(std::string&) {
    GEMEL_ASSERT(mirror_.directories.empty());  // such mirrors have been refused
    return Status();
}

std::string EmbeddedFrontEnd::tree_path(std::size_t) const {
    GEMEL_ASSERT(mirror_.directories.empty());
    return {};
}

Status EmbeddedFrontEnd::attach(Replica& replica, std::string&) {
    for (std::size_t i = 0; i < mirror_.blocks.size(); ++i) {
        auto volume = std::make_unique<Volume>(*this, i);
        volume->exported = std::make_unique<ReplicaExport>(
            loop_, replica, static_cast<std::uint16_t>(i), mirror_.blocks[i].name, std::string());
        volume->exported->set_events(volume.get());
        volumes_.push_back(std::move(volume));
    }
    return Status();
}

void EmbeddedFrontEnd::detach() noexcept {
    GEMEL_ASSERT(running_ == 0);
    volumes_.clear();
}

std::uint64_t EmbeddedFrontEnd::size(std::size_t volume) const noexcept {
    return volumes_[volume]->exported->size();
}

ExportLimits EmbeddedFrontEnd::limits(std::size_t volume) const noexcept {
    return volumes_[volume]->exported->limits();
}

// --- Requests ------------------------------------------------------------------------------------

Error EmbeddedFrontEnd::judge(const EmbeddedRequest& request) const noexcept {
    if (request.durability != libgemel::Durability::acknowledged &&
        request.durability != libgemel::Durability::durable) {
        return Error::invalid_argument;
    }
    if (request.kind != ExportRequestKind::flush) {
        const std::uint64_t end = size(request.volume);
        if (request.offset > end || request.size > end - request.offset) {
            return Error::invalid_argument;
        }
        const bool moves_data =
            request.kind == ExportRequestKind::read || request.kind == ExportRequestKind::write;
        if (moves_data && request.size > limits(request.volume).maximum_payload) {
            return Error::invalid_argument;
        }
    }
    return used_ ? Error::none : Error::not_serving;
}

void EmbeddedFrontEnd::begin(EmbeddedRequest request) {
    const Error judged = judge(request);
    const bool is_empty = request.size == 0 && request.kind != ExportRequestKind::flush;
    if (judged != Error::none || is_empty) {
        request.done(judged);
        return;
    }
    Export& exported = *volumes_[request.volume]->exported;
    auto* running = new Running(*this, std::move(request));  // its own until finish()
    const EmbeddedRequest& origin = running->origin;
    running->kind = origin.kind;
    running->offset = origin.offset;
    running->size = origin.size;
    running->fua = origin.durability == libgemel::Durability::durable;
    const bool has_payload =
        origin.kind == ExportRequestKind::read || origin.kind == ExportRequestKind::write;
    if (has_payload) running->data = exported.take_buffer(static_cast<std::size_t>(origin.size));
    std::copy(origin.data.begin(), origin.data.end(), running->data.begin());
    ++running_;
    exported.submit(*running);
}

void EmbeddedFrontEnd::finish(Running& running, Status status) noexcept {
    const std::unique_ptr<Running> owned(&running);
    const EmbeddedRequest& origin = running.origin;
    const Error error = error_of(origin.kind, status, used_ || when_drained_);
    if (error == Error::none && origin.kind == ExportRequestKind::read) {
        std::copy(running.data.begin(), running.data.end(), origin.target.begin());
    }
    if (!running.data.empty()) {
        volumes_[origin.volume]->exported->return_buffer(std::exchange(running.data, {}));
    }
    --running_;
    origin.done(error);
    if (running_ == 0 && when_drained_) report_drained();
}

// --- Roles ---------------------------------------------------------------------------------------

void EmbeddedFrontEnd::begin_use() noexcept {
    when_drained_ = nullptr;
    if (std::exchange(used_, true)) return;
    for (const auto& volume : volumes_) volume->exported->set_refusal("");
    user_.on_begin_use();
}

void EmbeddedFrontEnd::stop_use(const char* why) noexcept {
    end_use_now();
    if (!std::exchange(used_, false)) return;
    for (const auto& volume : volumes_) volume->exported->set_refusal(why);
    user_.on_end_use();
}

void EmbeddedFrontEnd::end_use(std::function<void()> done) noexcept {
    GEMEL_ASSERT(!when_ended_);
    if (!used_ || end_limit_ <= Duration{}) return done();
    when_ended_ = std::move(done);
    end_timer_.start(end_limit_);
    user_.on_ending();
}

void EmbeddedFrontEnd::end_use_now() noexcept {
    end_timer_.cancel();
    if (when_ended_) std::exchange(when_ended_, nullptr)();
}

void EmbeddedFrontEnd::show(MountMode mode,
                            std::function<void(Status, std::string)> done) noexcept {
    const std::uint64_t number = ++shows_;
    if (mode != MountMode::serving) stop_use("is not served by this node");
    loop_.post([this, alive = std::weak_ptr<bool>(alive_), number, done = std::move(done)] {
        if (alive.lock() && number == shows_) done(Status(), "");
    });
}

void EmbeddedFrontEnd::abort() noexcept {
    when_drained_ = nullptr;
    stop_use("is not served by this node any more");
}

void EmbeddedFrontEnd::drain(std::function<void(Status, std::string)> done) noexcept {
    when_drained_ = std::move(done);
    stop_use("is being handed over");
    if (running_ == 0) report_drained();
}

void EmbeddedFrontEnd::report_drained() noexcept {
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (!alive.lock() || !when_drained_) return;
        std::exchange(when_drained_, nullptr)(Status(), "");
    });
}

}  // namespace gemel
