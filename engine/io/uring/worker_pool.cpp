// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/worker_pool.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/without_signals.hpp"

#include <pthread.h>

namespace gemel {

WorkerPool::WorkerPool(unsigned count, Finished& finished) : finished_(finished) {
    GEMEL_ASSERT(count > 0);
    const WithoutSignals masked;
    for (unsigned i = 0; i < count; ++i) {
        threads_.emplace_back([this] { work(); });
        pthread_setname_np(threads_.back().native_handle(), "gemel-worker");
    }
}

WorkerPool::~WorkerPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::submit(Job& job) noexcept {
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(job);
    }
    wake_.notify_one();
}

void WorkerPool::work() noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        Job* job = waiting_.pop_front();
        if (job == nullptr) return;
        lock.unlock();
        job->run();
        finished_.on_finished(*job);
        lock.lock();
    }
}

}  // namespace gemel
