// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/signal_watch.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

sigset_t ending_signals() noexcept {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return signals;
}

}  // namespace

void SignalWatch::block() noexcept {
    const sigset_t signals = ending_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    // A stream closed by its other side is an error of a call, not a reason to end.
    signal(SIGPIPE, SIG_IGN);
}

std::unique_ptr<SignalWatch> SignalWatch::create(Loop& loop, std::function<void()> callback) {
    const sigset_t signals = ending_signals();
    const int fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (fd < 0) return nullptr;
    std::unique_ptr<SignalWatch> watch(new SignalWatch(loop, fd, std::move(callback)));
    watch->read();
    return watch;
}

SignalWatch::SignalWatch(Loop& loop, int fd, std::function<void()> callback)
    : loop_(loop), fd_(fd), callback_(std::move(callback)) {}

SignalWatch::~SignalWatch() {
    GEMEL_ASSERT(!reading_);
    close(fd_);
}

void SignalWatch::cancel() noexcept {
    if (reading_) loop_.cancel(*this);
}

void SignalWatch::read() noexcept {
    reading_ = true;
    loop_.read(*this, Fd{fd_}, std::as_writable_bytes(std::span(&info_, 1)), Loop::kNoOffset);
}

void SignalWatch::on_complete(Status status, std::size_t count) noexcept {
    reading_ = false;
    if (!status.ok() || count != sizeof info_) return;
    read();
    callback_();
}

}  // namespace gemel
