// SPDX-License-Identifier: Apache-2.0
// SIGTERM and SIGINT as a callback of the loop (signalfd(2)).
#pragma once

#include "engine/io/loop.hpp"

#include <functional>
#include <memory>
#include <sys/signalfd.h>

namespace gemel {

class SignalWatch final : private IoOp {
   public:
    // Blocks the two signals in this thread: call it before others are started, they inherit it.
    static void block() noexcept;
    // Requires: block() was called; the loop outlives it. Null: no signalfd here.
    static std::unique_ptr<SignalWatch> create(Loop& loop, std::function<void()> callback);
    ~SignalWatch() override;
    // Ends the wait for a signal; destroy it after the loop has run a turn more.
    void cancel() noexcept;

   private:
    SignalWatch(Loop& loop, int fd, std::function<void()> callback);
    void on_complete(Status status, std::size_t count) noexcept override;
    void read() noexcept;

    Loop& loop_;
    int fd_;
    std::function<void()> callback_;
    signalfd_siginfo info_{};
    bool reading_ = false;
};

}  // namespace gemel
