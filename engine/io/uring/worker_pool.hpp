// SPDX-License-Identifier: Apache-2.0
// Threads that run jobs which may wait for a disk. First come, first served.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/io/loop.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace gemel {

class WorkerPool {
   public:
    class Finished {
       public:
        // On the worker's thread, after job.run(); the pool does not touch the job any more.
        virtual void on_finished(Job& job) noexcept = 0;

       protected:
        ~Finished() = default;
    };

    // Requires: `count` > 0; `finished` outlives the pool. The threads get no signals.
    WorkerPool(unsigned count, Finished& finished);
    // Requires: every job has finished.
    ~WorkerPool();

    void submit(Job& job) noexcept;

   private:
    void work() noexcept;

    Finished& finished_;
    std::mutex mutex_;
    std::condition_variable wake_;
    IntrusiveList<Job> waiting_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace gemel
