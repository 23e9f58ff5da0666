// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/session.hpp"

#include "engine/base/probe.hpp"
#include "frontends/fuse/handlers.hpp"

#include <string>

namespace gemel::fuse {

namespace {

// "For ever": the serving node's kernel is the only way by which the volume changes.
constexpr std::uint64_t kValidSeconds = 1'000'000'000;

}  // namespace

void Request::on_complete(Status status) noexcept {
    GEMEL_ASSERT(slot != nullptr && next != nullptr);
    std::exchange(next, nullptr)(*session, *this, status);
}

void Request::Sync::on_complete(Status status) noexcept { request->on_complete(status); }

void Request::Read::on_complete(Status status, std::size_t bytes) noexcept {
    count = status.ok() ? bytes : 0;
    request->on_complete(status);
}

Session::Session(Loop& loop, LogSink& log, FuseTarget& target, FuseTransport& transport,
                 const SessionOptions& options) noexcept
    : loop_(loop),
      log_(log),
      target_(target),
      transport_(transport),
      options_(options),
      requests_(std::make_unique<Request[]>(transport.slot_count())) {
    for (std::size_t i = 0; i < transport.slot_count(); ++i) {
        Request& request = requests_[i];
        request.session = this;
        request.sync.request = &request;
        request.read.request = &request;
    }
}

Session::~Session() {
    GEMEL_ASSERT(!started_ || ended_called_);
    GEMEL_ASSERT(in_progress_ == 0);
}

void Session::start(std::function<void(Status)> ended) noexcept {
    GEMEL_ASSERT(!started_);
    started_ = true;
    ended_ = std::move(ended);
    transport_.start(*this);
}

void Session::close() noexcept {
    GEMEL_ASSERT(started_);
    if (!closed_) transport_.close();
}

std::uint64_t Session::valid_seconds() const noexcept {
    return options_.read_only ? 0 : kValidSeconds;
}

Result<Attributes> Session::attributes(ObjectId object) noexcept {
    Result<Attributes> found = volume().attributes(object);
    if (found.ok() || !found.status().is_errno(ESTALE)) return found;
    const Attributes* removed = removed_.find(object);
    if (removed == nullptr) return found;
    return *removed;
}

void Session::on_request(FuseSlot& slot) noexcept {
    Request& request = requests_[slot.index];
    GEMEL_ASSERT(request.slot == nullptr);
    ++in_progress_;
    request.slot = &slot;
    request.op = Op{};
    request.space = {};
    request.filled = 0;
    request.body = Body(slot.message);
    request.header = request.body.take<InHeader>();
    GEMEL_ASSERT(request.body.ok());
    if (request.header.opcode < kOpcodeCount) ++received_[request.header.opcode];
    dispatch(*this, request);
}

void Session::on_space() noexcept {
    // Each is asked once: whoever still finds none goes to the end of the queue.
    for (std::size_t count = waiting_.size(); count > 0 && !waiting_.empty(); --count) {
        Request& request = *waiting_.pop_front();
        std::exchange(request.retry, nullptr)(*this, request);
    }
}

void Session::on_closed(Status reason) noexcept {
    GEMEL_ASSERT(!closed_);
    closed_ = true;
    reason_ = reason;
    // Nobody frees memory for these any more than for the kernel, which has answered them itself.
    while (Request* request = waiting_.pop_front()) {
        request->retry = nullptr;
        answer_error(*request, EIO);
    }
    check_ended();
}

void Session::finish(Request& request) noexcept {
    GEMEL_ASSERT(in_progress_ > 0);
    GEMEL_ASSERT(!request.removal.is_linked());
    request.slot = nullptr;
    --in_progress_;
}

// Called with nothing of the session on the stack that is used afterwards.
void Session::check_ended() noexcept {
    if (!closed_ || in_progress_ > 0 || ended_called_) return;
    ended_called_ = true;
    loop_.post([this] { ended_(reason_); });
}

void Session::answer_error(Request& request, int error) noexcept {
    FuseSlot& slot = *request.slot;
    finish(request);
    transport_.answer(slot, error, {});
    check_ended();
}

void Session::answer_bytes(Request& request, Bytes data) noexcept {
    FuseSlot& slot = *request.slot;
    finish(request);
    transport_.answer(slot, 0, {&data, 1});
    check_ended();
}

void Session::answer_two(Request& request, Bytes first, Bytes second) noexcept {
    FuseSlot& slot = *request.slot;
    finish(request);
    const Bytes parts[] = {first, second};
    transport_.answer(slot, 0, parts);
    check_ended();
}

void Session::answer_nothing(Request& request) noexcept {
    FuseSlot& slot = *request.slot;
    finish(request);
    transport_.drop(slot);
    check_ended();
}

void Session::answer_malformed(Request& request) noexcept {
    GEMEL_PROBE("fuse: malformed request");
    log_.log(LogLevel::error, "fuse: malformed request, opcode " +
                                  std::to_string(request.header.opcode) + ", " +
                                  std::to_string(request.header.len) + " bytes");
    answer_error(request, EIO);
}

void Session::submit(Request& request, Next next) noexcept {
    GEMEL_ASSERT(request.next == nullptr);
    request.next = next;
    request.op.volume = options_.volume;
    target_.submit(request);
}

void Session::sync(Request& request, ObjectId object, bool data_only, Next next) noexcept {
    GEMEL_ASSERT(request.next == nullptr);
    request.next = next;
    request.sync.volume = options_.volume;
    request.sync.object = object;
    request.sync.data_only = data_only;
    target_.sync(request.sync);
}

void Session::read(Request& request, Fd file, MutableBytes buffer, std::uint64_t offset,
                   Next next) noexcept {
    GEMEL_ASSERT(request.next == nullptr);
    request.next = next;
    loop_.read(request.read, file, buffer, offset);
}

bool Session::take_space(Request& request, std::size_t size, Handler retry) noexcept {
    request.space = transport_.answer_space(*request.slot, size);
    request.filled = 0;
    if (!request.space.empty() || size == 0) return true;
    request.retry = retry;
    waiting_.push_back(request);
    return false;
}

}  // namespace gemel::fuse
