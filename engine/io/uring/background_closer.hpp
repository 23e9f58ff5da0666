// SPDX-License-Identifier: Apache-2.0
// Closes descriptors on a thread of its own. The last descriptor of a removed file gives back what
// the file held, which takes a file system milliseconds to seconds for a large one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>

namespace gemel {

class BackgroundCloser {
   public:
    // More of them waiting than this, and close() closes by itself: whoever removes files faster
    // than their space comes back is slowed down to that.
    static constexpr std::size_t kWaitingMax = 64;

    BackgroundCloser() noexcept = default;
    // Waits until everything is closed.
    ~BackgroundCloser();
    BackgroundCloser(const BackgroundCloser&) = delete;
    BackgroundCloser& operator=(const BackgroundCloser&) = delete;

    // Any thread; takes over the descriptor. The thread begins with the first one.
    void close(int descriptor) noexcept;
    // Any thread: waits until all that was taken over before is closed, and closes on the caller's
    // thread what has not been begun. False: there was nothing.
    bool finish() noexcept;

   private:
    void start() noexcept;
    void work() noexcept;

    std::mutex mutex_;
    std::condition_variable changed_;  // any of what follows
    std::deque<int> waiting_;
    bool is_closing_ = false;  // the thread has one in its hands
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace gemel
