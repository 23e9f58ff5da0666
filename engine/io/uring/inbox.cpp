// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/inbox.hpp"

#include "engine/base/assert.hpp"

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace gemel {

Inbox::Inbox() noexcept : descriptor_(::eventfd(0, EFD_CLOEXEC)), woken_(descriptor_) {}

Inbox::~Inbox() {
    if (descriptor_ != -1) ::close(descriptor_);
}

void Inbox::add(std::function<void()> task) noexcept {
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
        note_mail();
    }
    wake();
}

void Inbox::add(Job& job) noexcept {
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(job);
        note_mail();
    }
    wake();
}

bool Inbox::may_sleep() noexcept {
    sleeping_.store(true);
    if (!has_mail_.load()) return true;
    sleeping_.store(false);
    return false;
}

void Inbox::take(std::vector<std::function<void()>>& tasks, IntrusiveList<Job>& jobs) noexcept {
    if (!has_mail()) return;
    const std::lock_guard lock(mutex_);
    has_mail_.store(false);
    std::move(tasks_.begin(), tasks_.end(), std::back_inserter(tasks));
    tasks_.clear();
    while (Job* job = jobs_.pop_front()) jobs.push_back(*job);
}

void Inbox::wake() noexcept {
    if (!sleeping_.exchange(false)) return;
    const std::uint64_t one = 1;
    // Fails only with EAGAIN at 2^64 - 1 pending wake-ups, which is awake enough.
    ssize_t written = -1;
    do {
        written = ::write(woken_, &one, sizeof one);
    } while (written == -1 && errno == EINTR);
    GEMEL_ASSERT(written == sizeof one || errno == EAGAIN);
}

}  // namespace gemel
