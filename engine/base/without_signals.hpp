// SPDX-License-Identifier: Apache-2.0
// Signals are for the thread that waits for them: a new thread inherits the mask of the one that
// makes it.
#pragma once

#include <signal.h>

namespace gemel {

// Threads that this one makes meanwhile get no signals.
class WithoutSignals {
   public:
    WithoutSignals() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    WithoutSignals(const WithoutSignals&) = delete;
    WithoutSignals& operator=(const WithoutSignals&) = delete;

   private:
    sigset_t before_{};
};

}  // namespace gemel
