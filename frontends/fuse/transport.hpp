// SPDX-License-Identifier: Apache-2.0
// How a FUSE connection's requests arrive and its answers leave. The connection knows only this, so
// that another way than read(2) and writev(2) on /dev/fuse can stand beside DevFuseTransport.
//
// A request lives in a slot from its arrival to its answer; the number of slots is fixed, and when
// all are taken further requests wait in the kernel.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace gemel {

// Owned by the transport. `message` stays until the slot has been answered or dropped.
struct FuseSlot {
    std::uint32_t index = 0;  // 0 .. slot_count() - 1
    Bytes message;            // header and body; 8-byte aligned
};

class FuseTransport {
   public:
    class Receiver {
       public:
        // A request. The receiver answers or drops the slot, here or later. `slot.message` is at
        // least as long as the protocol's header and exactly as long as its header says.
        virtual void on_request(FuseSlot& slot) noexcept = 0;
        // answer_space() may succeed again.
        virtual void on_space() noexcept = 0;
        // The connection is over and no read is in flight: not again a request. Comes once, also
        // after close(). Slots not answered yet still have to be; their answers go nowhere.
        // cancelled: close() was called; disconnected: aborted or unmounted; else what failed.
        virtual void on_closed(Status reason) noexcept = 0;

       protected:
        ~Receiver() = default;
    };

    virtual ~FuseTransport() = default;

    // Requires: not started before; the receiver outlives on_closed.
    virtual void start(Receiver& receiver) noexcept = 0;
    // Stops reading. on_closed follows, from the loop. Requires: started.
    virtual void close() noexcept = 0;
    [[nodiscard]] virtual std::size_t slot_count() const noexcept = 0;

    // Answers with 0 or a positive errno (then without parts) and ends the slot. A connection that
    // is gone, or a request that was interrupted, is not an error.
    virtual void answer(FuseSlot& slot, int error, std::span<const Bytes> parts) noexcept = 0;
    // Ends the slot of a request that has no answer.
    virtual void drop(FuseSlot& slot) noexcept = 0;
    // Memory of `size` bytes (at most 1 MiB) for this slot's answer, until the slot ends; may
    // overwrite slot.message. Empty: none is free, ask again after on_space().
    virtual MutableBytes answer_space(FuseSlot& slot, std::size_t size) noexcept = 0;
    // Tells the kernel something (FUSE_NOTIFY_*). Must not be called while the kernel may hold
    // locks that the notification takes (docs of each code).
    virtual void notify(std::int32_t code, Bytes body) noexcept = 0;
};

}  // namespace gemel
