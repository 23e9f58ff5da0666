// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/loop_descriptor.hpp"

#include "engine/io/uring/posix_call.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace gemel {
namespace {

// Of an eventfd or a timerfd; EAGAIN: it was not readable.
void drain(int descriptor) noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t size =
        uninterrupted([&] { return ::read(descriptor, &count, sizeof count); });
}

}  // namespace

Result<std::unique_ptr<LoopDescriptor>> LoopDescriptor::create(Ring& ring) noexcept {
    std::unique_ptr<LoopDescriptor> made(new LoopDescriptor(ring));
    made->event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->event_ == -1) return last_error();
    made->timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (made->timer_ == -1) return last_error();
    GEMEL_TRY(ring.notify(made->event_));
    made->arm();
    made->signal();  // the first turn is for what was begun before it
    return made;
}

LoopDescriptor::~LoopDescriptor() {
    if (timer_ != -1) ::close(timer_);
    if (event_ != -1) ::close(event_);
}

void LoopDescriptor::clear() noexcept { drain(event_); }

void LoopDescriptor::signal() noexcept {
    constexpr std::uint64_t kOne = 1;
    // EAGAIN: it is readable whatever is added.
    [[maybe_unused]] const ssize_t size =
        uninterrupted([&] { return ::write(event_, &kOne, sizeof kOne); });
}

void LoopDescriptor::set_timer(std::optional<Instant> due) noexcept {
    if (due == due_) return;
    due_ = due;
    itimerspec setting{};  // zeros disarm it
    if (due) {
        // 0 would disarm it as well, and a time that has passed is due at once.
        const std::int64_t ns = due->ns > 0 ? due->ns : 1;
        setting.it_value.tv_sec = ns / 1'000'000'000;
        setting.it_value.tv_nsec = ns % 1'000'000'000;
    }
    const int result = ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &setting, nullptr);
    GEMEL_ASSERT(result == 0);
}

void LoopDescriptor::arm() noexcept {
    ring_.prepare(poll_,
                  [&](io_uring_sqe* entry) { io_uring_prep_poll_add(entry, timer_, POLLIN); });
}

void LoopDescriptor::on_expired(int result, unsigned) noexcept {
    GEMEL_ASSERT(result > 0 || closing_);
    if (closing_) return;
    drain(timer_);
    due_.reset();
    arm();
}

}  // namespace gemel
