// SPDX-License-Identifier: Apache-2.0
// What lets a foreign event loop wait for a ring's loop: an eventfd that the kernel makes readable
// with every completion, and a timer whose expiry is one. Internal to this folder.
//
// Other threads write to it themselves. Were they to complete a read of another eventfd in the
// ring, the kernel, which allows no eventfd to signal another, would put the signal off, and
// Linux 6.18 puts only the first one off: the next are lost.
#pragma once

#include "engine/io/uring/ring.hpp"

#include <memory>
#include <optional>

namespace gemel {

class LoopDescriptor {
   public:
    // Requires: the ring has neither been used yet nor got one before. Errors: EMFILE, ENOMEM.
    static Result<std::unique_ptr<LoopDescriptor>> create(Ring& ring) noexcept;
    // Requires: the ring is gone, or drops what is in flight before anything else completes.
    ~LoopDescriptor();
    LoopDescriptor(const LoopDescriptor&) = delete;
    LoopDescriptor& operator=(const LoopDescriptor&) = delete;

    [[nodiscard]] int get() const noexcept { return event_; }
    // Not readable any more, until the next completion or signal().
    void clear() noexcept;
    void signal() noexcept;
    // Readable when `due` comes, by the monotonic clock; none: never. Takes the place of the last.
    void set_timer(std::optional<Instant> due) noexcept;
    // No further wait for the timer is begun.
    void close() noexcept { closing_ = true; }

   private:
    explicit LoopDescriptor(Ring& ring) noexcept : ring_(ring) {}
    void arm() noexcept;
    void on_expired(int result, unsigned flags) noexcept;

    Ring& ring_;
    int event_ = -1;
    int timer_ = -1;
    bool closing_ = false;
    std::optional<Instant> due_;
    MemberOp<LoopDescriptor, &LoopDescriptor::on_expired> poll_{*this};
};

}  // namespace gemel
