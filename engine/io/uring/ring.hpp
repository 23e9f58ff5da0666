// SPDX-License-Identifier: Apache-2.0
// One io_uring of one thread: set-up with what the kernel has, batched submission, completions
// collected and then run one by one. Internal to this folder.
//
// The kernel requires (IORING_SETUP_SINGLE_ISSUER) that one thread makes all submissions: the one
// that first calls wait() or submits. user_data of a submission is the address of its RingOp, or of
// its IoOp with the lowest bit set, or 0 where nobody wants to hear of it.
#pragma once

#include "engine/base/assert.hpp"
#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/loop.hpp"

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace gemel {

// An operation of this folder's own. It must stay where it is until its last completion.
class RingOp {
   public:
    virtual ~RingOp() { GEMEL_ASSERT(!in_flight_); }
    // `result`: the kernel's count or -errno; `flags`: IORING_CQE_F_*. More calls follow exactly if
    // is_in_flight() is still true.
    virtual void on_completion(int result, unsigned flags) noexcept = 0;
    [[nodiscard]] bool is_in_flight() const noexcept { return in_flight_; }

   private:
    friend class Ring;
    bool in_flight_ = false;
};

// A RingOp that is a member of its owner and completes in one of the owner's methods.
template <typename Owner, void (Owner::*Method)(int, unsigned)>
class MemberOp final : public RingOp {
   public:
    explicit MemberOp(Owner& owner) noexcept : owner_(owner) {}
    void on_completion(int result, unsigned flags) noexcept override {
        (owner_.*Method)(result, flags);
    }

   private:
    Owner& owner_;
};

class Ring {
   public:
    // `entries`: submissions that fit one batch; a fuller batch is handed over early. `plain`: as
    // if the kernel had nothing that came after Linux 5.11.
    static Result<std::unique_ptr<Ring>> create(unsigned entries, bool plain) noexcept;
    // Cancels what is in flight and waits until the kernel has let go of it.
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Queues one submission that `fill` describes by an io_uring_prep_*. Requires: `op` is idle.
    template <typename Fill>
    void prepare(RingOp& op, Fill fill) noexcept {
        GEMEL_ASSERT(!op.in_flight_);
        op.in_flight_ = true;
        ++in_flight_;
        prepare_raw(user_data_of(op), fill);
    }
    template <typename Fill>
    void prepare(IoOp& op, Fill fill) noexcept {
        prepare_raw(user_data_of(op), fill);
    }
    // Asks for an early end; nothing happens if it has completed already.
    void cancel(RingOp& op) noexcept { cancel_raw(user_data_of(op)); }
    void cancel(IoOp& op) noexcept { cancel_raw(user_data_of(op)); }

    // Hands over what is queued. Does not wait, runs nothing.
    void submit() noexcept;
    // The same, then sleeps until there is a completion, `timeout` has passed (negative: for ever)
    // or a signal came.
    void submit_and_wait(Duration timeout) noexcept;
    // Has the kernel add to this eventfd whenever there is something for complete(). Once; before
    // the first submission.
    Status notify(int event) noexcept;
    // Whether the kernel has something for complete(): cheap enough to spin on.
    [[nodiscard]] bool has_completions() const noexcept;
    // Runs what has completed so far, in order. IoOps go to `finish`(op, result).
    template <typename Finish>
    void complete(Finish finish) noexcept {
        collect();
        for (std::size_t i = 0; i < ready_.size(); ++i) {
            const Completion completion = ready_[i];  // handlers may add to ready_
            if ((completion.user_data & kIoOpBit) != 0) {
                finish(*reinterpret_cast<IoOp*>(completion.user_data & ~kIoOpBit),
                       completion.result);
            } else if (completion.user_data != 0) {
                run(*reinterpret_cast<RingOp*>(completion.user_data), completion);
            }
        }
        ready_.clear();
    }

    // Whether operations that complete many times may be tried.
    [[nodiscard]] bool has_multishot() const noexcept { return !plain_; }
    // Buffers that the kernel chooses from when data arrive (IOSQE_BUFFER_SELECT, group
    // kBufferGroup). False: the kernel lacks them; made at the first call.
    bool provide_buffers() noexcept;
    [[nodiscard]] Bytes provided(unsigned completion_flags, std::size_t size) const noexcept;
    void give_back(unsigned completion_flags) noexcept;
    static constexpr std::uint16_t kBufferGroup = 1;

   private:
    struct Completion {
        std::uint64_t user_data;
        int result;
        unsigned flags;
    };
    static constexpr std::uint64_t kIoOpBit = 1;
    static_assert(alignof(IoOp) > kIoOpBit && alignof(RingOp) > kIoOpBit);

    explicit Ring(bool plain) noexcept : plain_(plain) {}
    static std::uint64_t user_data_of(RingOp& op) noexcept {
        return reinterpret_cast<std::uint64_t>(&op);
    }
    static std::uint64_t user_data_of(IoOp& op) noexcept {
        return reinterpret_cast<std::uint64_t>(&op) | kIoOpBit;
    }
    template <typename Fill>
    void prepare_raw(std::uint64_t user_data, Fill fill) noexcept {
        io_uring_sqe* entry = free_entry();
        fill(entry);
        entry->user_data = user_data;
    }
    void cancel_raw(std::uint64_t user_data) noexcept {
        prepare_raw(0, [&](io_uring_sqe* entry) { io_uring_prep_cancel64(entry, user_data, 0); });
    }
    Status set_up(unsigned entries) noexcept;
    void enable() noexcept;
    io_uring_sqe* free_entry() noexcept;
    // Moves the kernel's completions to ready_ without running them.
    void collect() noexcept;
    void run(RingOp& op, const Completion& completion) noexcept;

    const bool plain_;
    io_uring ring_{};
    bool is_set_up_ = false;
    bool enabled_ = false;
    std::thread::id issuer_;
    std::size_t in_flight_ = 0;
    std::vector<Completion> ready_;

    enum class Buffers : std::uint8_t { unknown, absent, present } buffers_ = Buffers::unknown;
    std::unique_ptr<std::byte[]> buffer_memory_;
    void* buffer_ring_ = nullptr;
};

}  // namespace gemel
