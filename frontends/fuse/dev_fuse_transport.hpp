// SPDX-License-Identifier: Apache-2.0
// Requests by read(2) on /dev/fuse: one read waits in the loop, and what else has queued up by the
// time it completes is read at once, so that a turn of the loop sees it together. Answers by
// writev(2), which copies into the waiting caller and never blocks (fs/fuse/dev.c).
//
// The kernel wants every read to offer room for the largest request (1 MiB of data and a header).
// Such big buffers are few; a small request is moved into its slot and the buffer reads on, a
// large write keeps its buffer until it is answered.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "frontends/fuse/fuse_abi.hpp"
#include "frontends/fuse/transport.hpp"

#include <vector>

namespace gemel {

class DevFuseTransport final : public FuseTransport {
   public:
    static constexpr std::size_t kDataSizeMax = 1 * kMiB;  // max_write and max_read of a mount
    static constexpr std::size_t kBigSize = kDataSizeMax + 4 * kKiB;
    static constexpr std::size_t kSmallSize = 8 * kKiB + 256;

    struct Options {
        std::size_t slots = 256;
        std::size_t big_buffers = 16;
    };

    // Takes over `device`, an open /dev/fuse with O_NONBLOCK that a mount was made with; closes it
    // at the end. Requires: loop and log outlive it.
    DevFuseTransport(Loop& loop, LogSink& log, int device, const Options& options) noexcept;
    // Requires: never started, or on_closed has come; every slot ended.
    ~DevFuseTransport() override;
    DevFuseTransport(const DevFuseTransport&) = delete;
    DevFuseTransport& operator=(const DevFuseTransport&) = delete;

    void start(Receiver& receiver) noexcept override;
    void close() noexcept override;
    [[nodiscard]] std::size_t slot_count() const noexcept override { return slots_.size(); }
    void answer(FuseSlot& slot, int error, std::span<const Bytes> parts) noexcept override;
    void drop(FuseSlot& slot) noexcept override;
    MutableBytes answer_space(FuseSlot& slot, std::size_t size) noexcept override;
    void notify(std::int32_t code, Bytes body) noexcept override;

   private:
    static constexpr std::size_t kNoBuffer = ~std::size_t{0};

    struct Slot : FuseSlot {
        std::size_t big = kNoBuffer;  // index of the big buffer it holds
        bool taken = false;
    };
    struct Reader final : IoOp {
        explicit Reader(DevFuseTransport& owner) noexcept : transport(owner) {}
        void on_complete(Status status, std::size_t count) noexcept override {
            transport.read_done(status, count);
        }
        DevFuseTransport& transport;
    };

    void read_done(Status status, std::size_t count) noexcept;
    void drain_queue() noexcept;
    void take(std::size_t size) noexcept;
    bool deliver(std::size_t size) noexcept;
    void read_failed(Status status) noexcept;
    [[nodiscard]] bool find_buffer() noexcept;
    void advance() noexcept;
    void release(Slot& slot) noexcept;
    void fail(Status reason) noexcept;
    void report_closed() noexcept;
    [[nodiscard]] MutableBytes big_bytes(std::size_t index) const noexcept;
    [[nodiscard]] MutableBytes small_bytes(const Slot& slot) const noexcept;
    void write_out(const fuse::OutHeader& header, std::span<const Bytes> parts) noexcept;

    Loop& loop_;
    LogSink& log_;
    int device_;
    Receiver* receiver_ = nullptr;
    std::byte* memory_ = nullptr;  // big buffers, then the slots' small ones
    std::size_t memory_size_ = 0;
    std::size_t big_count_;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_slots_;
    std::vector<std::size_t> free_bigs_;
    Reader reader_{*this};
    std::size_t buffer_ = kNoBuffer;  // the big buffer that is read into
    bool reading_ = false;            // by reader_
    std::size_t parked_size_ = 0;     // of a request in buffer_ that waits for a free slot
    bool closing_ = false;
    bool closed_ = false;  // on_closed has been called
    bool advancing_ = false;
    bool space_wanted_ = false;
    Status reason_;
};

}  // namespace gemel
