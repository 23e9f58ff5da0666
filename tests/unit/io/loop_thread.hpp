// SPDX-License-Identifier: Apache-2.0
// A real loop on a thread of its own, for tests of what other threads and processes talk to.
#pragma once

#include "engine/base/assert.hpp"
#include "engine/io/uring/uring_loop.hpp"

#include <functional>
#include <future>
#include <memory>
#include <thread>

namespace gemel {

class LoopThread {
   public:
    LoopThread() {
        std::promise<UringLoop*> made;
        std::future<UringLoop*> loop = made.get_future();
        thread_ = std::thread([this, &made] {
            Result<std::unique_ptr<UringLoop>> own = UringLoop::create({});
            GEMEL_ASSERT(own.ok());
            made.set_value(own.value().get());
            own.value()->run();
            // Whoever called stop() may still be inside it.
            stopped_.get_future().wait();
        });
        loop_ = loop.get();
    }
    ~LoopThread() {
        loop_->stop();
        stopped_.set_value();
        thread_.join();
    }
    LoopThread(const LoopThread&) = delete;
    LoopThread& operator=(const LoopThread&) = delete;

    [[nodiscard]] Loop& loop() { return *loop_; }
    // Runs the task on the loop and waits for its end.
    void run(const std::function<void()>& task) {
        std::promise<void> done;
        loop_->run_from_any_thread([&] {
            task();
            done.set_value();
        });
        done.get_future().wait();
    }

   private:
    UringLoop* loop_ = nullptr;
    std::promise<void> stopped_;
    std::thread thread_;
};

}  // namespace gemel
