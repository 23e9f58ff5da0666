// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/background_closer.hpp"

#include "engine/base/without_signals.hpp"
#include "engine/io/uring/posix_call.hpp"

#include <pthread.h>
#include <utility>

namespace gemel {

BackgroundCloser::~BackgroundCloser() {
    finish();
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void BackgroundCloser::close(int descriptor) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() < kWaitingMax) waiting_.push_back(std::exchange(descriptor, -1));
        if (!thread_.joinable()) start();
    }
    if (descriptor == -1) {
        changed_.notify_all();
    } else {
        close_descriptor(descriptor);
    }
}

bool BackgroundCloser::finish() noexcept {
    std::unique_lock lock(mutex_);
    const bool had_some = is_closing_ || !waiting_.empty();
    while (!waiting_.empty()) {
        const int descriptor = waiting_.front();
        waiting_.pop_front();
        lock.unlock();
        close_descriptor(descriptor);
        lock.lock();
    }
    changed_.wait(lock, [this] { return !is_closing_; });
    return had_some;
}

void BackgroundCloser::start() noexcept {
    const WithoutSignals masked;
    thread_ = std::thread([this] { work(); });
    pthread_setname_np(thread_.native_handle(), "gemel-closer");
}

void BackgroundCloser::work() noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        const int descriptor = waiting_.front();
        waiting_.pop_front();
        is_closing_ = true;
        lock.unlock();
        close_descriptor(descriptor);
        lock.lock();
        is_closing_ = false;
        changed_.notify_all();
    }
}

}  // namespace gemel
