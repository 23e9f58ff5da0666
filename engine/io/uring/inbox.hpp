// SPDX-License-Identifier: Apache-2.0
// What other threads hand to the loop: tasks and finished jobs. The mutex orders the memory of both
// sides; an eventfd is written only when the loop sleeps or is about to.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/io/loop.hpp"

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

namespace gemel {

class Inbox {
   public:
    Inbox() noexcept;
    ~Inbox();
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;

    // Any thread.
    void add(std::function<void()> task) noexcept;
    void add(Job& job) noexcept;

    // The loop's thread. A descriptor that becomes readable (8 bytes) to end the loop's sleep.
    [[nodiscard]] int wake_descriptor() const noexcept { return descriptor_; }
    // Another eventfd is made readable instead. Requires: it outlives the inbox's use.
    void wake_through(int descriptor) noexcept { woken_ = descriptor; }
    [[nodiscard]] bool has_mail() const noexcept {
        return has_mail_.load(std::memory_order_relaxed);
    }
    // False: there is mail, do not sleep. Otherwise mail wakes the loop until after_sleep().
    [[nodiscard]] bool may_sleep() noexcept;
    void after_sleep() noexcept { sleeping_.store(false); }
    // Appends what has come, in order.
    void take(std::vector<std::function<void()>>& tasks, IntrusiveList<Job>& jobs) noexcept;

   private:
    // Requires: mutex_ held.
    void note_mail() noexcept { has_mail_.store(true); }
    void wake() noexcept;

    int descriptor_;
    int woken_;
    std::mutex mutex_;
    std::vector<std::function<void()>> tasks_;
    IntrusiveList<Job> jobs_;
    // Each side first writes its own flag, then reads the other's, both sequentially consistent, so
    // at least one of them sees that the loop has to be woken.
    std::atomic<bool> has_mail_{false};
    std::atomic<bool> sleeping_{false};
};

}  // namespace gemel
