// SPDX-License-Identifier: Apache-2.0
// A callable kept in place: scheduling an event allocates nothing. Not copied and not moved; it
// lives in the event's slot, which has a stable address.
#pragma once

#include "engine/base/assert.hpp"

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace gemel::sim {

class Task {
   public:
    static constexpr std::size_t kSize = 96;

    Task() noexcept = default;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() { clear(); }

    // Requires: empty.
    template <typename F>
    void set(F&& callable) noexcept {
        using Callable = std::decay_t<F>;
        static_assert(sizeof(Callable) <= kSize && alignof(Callable) <= alignof(std::max_align_t));
        GEMEL_ASSERT(run_ == nullptr);
        new (storage_) Callable(std::forward<F>(callable));
        run_ = [](void* at) { (*static_cast<Callable*>(at))(); };
        destroy_ = [](void* at) { static_cast<Callable*>(at)->~Callable(); };
    }
    void run() noexcept { run_(storage_); }
    void clear() noexcept {
        if (run_ == nullptr) return;
        run_ = nullptr;
        destroy_(storage_);
    }

   private:
    void (*run_)(void*) = nullptr;
    void (*destroy_)(void*) = nullptr;
    alignas(std::max_align_t) std::byte storage_[kSize];
};

}  // namespace gemel::sim
