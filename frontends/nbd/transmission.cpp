// SPDX-License-Identifier: Apache-2.0
// Connection: its requests, from what was planned for them to the reply.
#include "frontends/nbd/connection.hpp"
#include "frontends/nbd/zero_runs.hpp"

#include <algorithm>

namespace gemel::nbd {
namespace {

// Extents of one context in one reply. A client asks again from where they end.
constexpr std::size_t kExtentsMax = 4096;
// What such extents take on the wire and before.
constexpr std::size_t kStatusCost = kExtentsMax * 2 * (sizeof(Extent) + 16);

bool moves_data(ExportRequestKind kind) noexcept {
    return kind == ExportRequestKind::read || kind == ExportRequestKind::write;
}

// Nobody knows what has become of the request; the node that serves from now on is asked again.
bool means_not_serving(Status status) noexcept {
    return status.code() == Code::cancelled || status.code() == Code::disconnected ||
           status.code() == Code::refused;
}

std::size_t cost_of(const RequestPlan& plan) noexcept {
    if (plan.action != RequestPlan::Action::submit) return 0;
    if (plan.kind == ExportRequestKind::status) return kStatusCost;
    return moves_data(plan.kind) ? static_cast<std::size_t>(plan.length) : 0;
}

}  // namespace

// ---- beginning --------------------------------------------------------------------------------

bool Connection::has_room_for(std::size_t cost) noexcept {
    const auto fits = [&] {
        const std::size_t in_use = held_ + stream_->unsent();
        if (in_flight_ >= limits_.requests_max || in_use >= limits_.bytes_max) return false;
        return in_use == 0 || in_use + cost <= limits_.bytes_max;
    };
    if (fits()) return true;
    // on_drained comes only for what the kernel does not take at once.
    stream_->flush();
    return fits();
}

bool Connection::begin(const RequestHeader& header, const RequestPlan& plan) noexcept {
    const ReplyTarget target{agreement_.structured, agreement_.extended, header.cookie,
                             header.offset};
    if (plan.action == RequestPlan::Action::answer) {
        to_discard_ = plan.payload;
        answer_outcome(plan, target, plan.error, plan.message);
        return true;
    }
    const std::size_t cost = cost_of(plan);
    if (!has_room_for(cost)) return false;
    Request& request = take_idle();
    request.target = target;
    request.cost = cost;
    held_ += cost;
    fill_request(request, plan);
    if (plan.kind == ExportRequestKind::write) {
        filling_ = &request;
        filled_ = 0;
        phase_ = Phase::payload;
    } else if (plan.kind == ExportRequestKind::status) {
        submit_next_context(request);
    } else {
        submit(request);
    }
    return true;
}

Connection::Request& Connection::take_idle() noexcept {
    Request* request = idle_.pop_front();
    if (request == nullptr) {
        request = &requests_.emplace_back();
        request->connection = this;
    }
    return *request;
}

void Connection::fill_request(Request& request, const RequestPlan& plan) noexcept {
    request.plan = plan;
    request.kind = plan.kind;
    request.offset = plan.offset;
    request.size = plan.length;
    request.fua = (plan.flags & kFua) != 0;
    request.no_hole = (plan.flags & kNoHole) != 0;
    request.fast_zero = (plan.flags & kFastZero) != 0;
    request.contexts_left = plan.contexts;
    request.extents_max = (plan.flags & kReqOne) != 0 ? 1 : kExtentsMax;
    request.data = {};
    if (moves_data(plan.kind)) request.data = agreement_.exported->take_buffer(request.cost);
}

void Connection::submit(Request& request) noexcept {
    ++in_flight_;
    agreement_.exported->submit(request);
}

void Connection::submit_next_context(Request& request) noexcept {
    const bool allocation = (request.contexts_left & kAllocationContext) != 0;
    request.context = allocation ? ExportContext::allocation : ExportContext::dirty;
    request.contexts_left &= ~std::uint32_t{allocation ? kAllocationContext : kDirtyContext};
    request.extents.clear();
    submit(request);
}

// ---- answering --------------------------------------------------------------------------------

void Connection::on_request_complete(Request& request, Status status) noexcept {
    GEMEL_ASSERT(in_flight_ > 0);
    --in_flight_;
    const bool is_lost =
        means_not_serving(status) || (!status.ok() && !agreement_.exported->refusal().empty());
    if (phase_ != Phase::closed && !is_lost && !answer(request, status)) return;
    release(request);
    if (is_lost) finish();
    if (phase_ == Phase::closed || phase_ == Phase::ending) return check_ended();
    advance();
}

bool Connection::answer(Request& request, Status status) noexcept {
    if (!status.ok()) {
        answer_outcome(request.plan, request.target, error_of(status, request.plan),
                       status.to_string());
        return true;
    }
    if (request.kind == ExportRequestKind::read) {
        answer_read(request);
        return true;
    }
    if (request.kind != ExportRequestKind::status) {
        answer_outcome(request.plan, request.target, Error::none, {});
        return true;
    }
    GEMEL_ASSERT(!request.extents.empty() && request.extents.size() <= request.extents_max);
    const auto context =
        request.context == ExportContext::allocation ? kAllocationContext : kDirtyContext;
    const bool is_last = request.contexts_left == 0;
    put_status(request.chunks, request.target, context, request.extents, request.size, is_last);
    if (is_last) {
        stream_->send(request.chunks, {});
    } else {
        submit_next_context(request);
    }
    return is_last;
}

void Connection::answer_read(Request& request) noexcept {
    const Bytes data = request.data;
    const bool whole = !request.target.structured || (request.plan.flags & kDontFragment) != 0;
    for (std::size_t position = 0; position < data.size();) {
        const Bytes rest = data.subspan(position);
        const ContentRun run = whole ? ContentRun{rest.size(), false} : front_run(rest);
        const bool is_last = run.size == rest.size();
        const std::uint64_t offset = request.offset + position;
        const auto size = static_cast<std::uint32_t>(run.size);
        if (run.is_zero) {
            put_hole(scratch_, request.target, offset, size, is_last);
            send();
        } else {
            put_data(scratch_, request.target, offset, size, is_last);
            send(rest.first(run.size));
        }
        position += run.size;
    }
}

void Connection::answer_outcome(const RequestPlan& plan, const ReplyTarget& target, Error error,
                                std::string_view message) noexcept {
    const bool has_place = plan.kind == ExportRequestKind::read && plan.length > 0;
    if (error == Error::none) {
        put_done(scratch_, target);
    } else {
        put_error(scratch_, target, error, message, has_place ? &plan.offset : nullptr);
    }
    send();
}

void Connection::send(Bytes body) noexcept {
    stream_->send(scratch_, body);
    scratch_.clear();
}

void Connection::release(Request& request) noexcept {
    if (!request.data.empty()) agreement_.exported->return_buffer(request.data);
    request.data = {};
    request.chunks.clear();
    held_ -= request.cost;
    idle_.push_back(request);
}

}  // namespace gemel::nbd
