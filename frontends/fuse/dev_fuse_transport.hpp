// SPDX-License-Identifier: Apache-2.0
// Requests by read(2) on /dev/fuse, several reads in flight through the loop; answers by writev(2)
// at once, which copies into the waiting caller and never blocks (fs/fuse/dev.c).
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

#include <memory>
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
        std::size_t reads_in_flight = 2;  // at most big_buffers
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
        DevFuseTransport* transport = nullptr;
        std::size_t big = kNoBuffer;
        bool in_flight = false;
        std::size_t parked_size = 0;  // a request that waits for a free slot
        void on_complete(Status status, std::size_t count) noexcept override;
    };

    void read_done(Reader& reader, Status status, std::size_t count) noexcept;
    bool deliver(Reader& reader, std::size_t size) noexcept;
    void advance() noexcept;
    void submit(Reader& reader) noexcept;
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
    std::unique_ptr<Reader[]> readers_;
    std::size_t reader_count_;
    bool closing_ = false;
    bool closed_ = false;  // on_closed has been called
    bool advancing_ = false;
    bool space_wanted_ = false;
    Status reason_;
};

}  // namespace gemel
