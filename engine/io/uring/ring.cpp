// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/ring.hpp"

#include <cerrno>
#include <cstddef>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace gemel {
namespace {

// 16 buffers of 64 KiB: few enough to stay in a CPU cache, as they come back within a turn.
constexpr unsigned kBufferCount = 16;
constexpr std::size_t kBufferSize = 64 * kKiB;
constexpr std::size_t kBufferRingSize = 4096;
static_assert(kBufferCount * sizeof(io_uring_buf) <= kBufferRingSize);
static_assert(offsetof(io_uring_buf_ring, bufs) == 0, "the kernel's layout");

// Best first: completions run only when we ask (Linux 6.1), at least without interrupts between
// CPUs (5.19), plain. TASKRUN_FLAG makes pending ones visible to has_completions.
constexpr unsigned kSetups[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    0,
};

io_uring_buf_ring* as_buffer_ring(void* memory) noexcept {
    return static_cast<io_uring_buf_ring*>(memory);
}

unsigned buffer_of(unsigned completion_flags) noexcept {
    GEMEL_ASSERT((completion_flags & IORING_CQE_F_BUFFER) != 0);
    const unsigned buffer = completion_flags >> IORING_CQE_BUFFER_SHIFT;
    GEMEL_ASSERT(buffer < kBufferCount);
    return buffer;
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(unsigned entries, bool plain) noexcept {
    std::unique_ptr<Ring> ring(new Ring(plain));
    GEMEL_TRY(ring->set_up(entries));
    return ring;
}

Status Ring::set_up(unsigned entries) noexcept {
    int result = 0;
    for (const unsigned setup : kSetups) {
        if (plain_ && setup != 0) continue;
        io_uring_params params{};
        // Disabled at first, so that the thread that runs it need not be the one that makes it.
        params.flags = setup | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        params.cq_entries = 8 * entries;
        result = io_uring_queue_init_params(entries, &ring_, &params);
        if (result != -EINVAL) break;
    }
    if (result < 0) return Status::from_errno(-result);
    is_set_up_ = true;
    // Completions beyond the queue are kept (Linux 5.5) and sleeping takes a time limit (5.11).
    constexpr unsigned kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((ring_.features & kNeeded) != kNeeded) return Status(Code::unsupported);
    ready_.reserve(8 * std::size_t{entries});
    return Status();
}

Ring::~Ring() {
    bool io_op_outlives_its_loop = false;
    while (in_flight_ > 0) {
        prepare_raw(0, [&](io_uring_sqe* entry) {
            io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
        });
        submit_and_wait(Duration::milliseconds(100));
        complete([&](IoOp&, int) noexcept { io_op_outlives_its_loop = true; });
        GEMEL_ASSERT(!io_op_outlives_its_loop);
    }
    if (is_set_up_) io_uring_queue_exit(&ring_);
    if (buffer_ring_ != nullptr) ::munmap(buffer_ring_, kBufferRingSize);
}

void Ring::enable() noexcept {
    if (enabled_) {
        GEMEL_ASSERT(issuer_ == std::this_thread::get_id());
        return;
    }
    // liburing 2.3 declares io_uring_enable_rings but does not export it.
    const long result =
        ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    GEMEL_ASSERT(result == 0);
    enabled_ = true;
    issuer_ = std::this_thread::get_id();
    // Saves a descriptor lookup in each call (Linux 5.18); does without where that fails.
    io_uring_register_ring_fd(&ring_);
}

io_uring_sqe* Ring::free_entry() noexcept {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
        submit();
        collect();  // what the kernel waits for when its queue of completions is over-full
        entry = io_uring_get_sqe(&ring_);
    }
    return entry;
}

void Ring::submit() noexcept {
    enable();
    const int result = io_uring_submit_and_get_events(&ring_);
    GEMEL_ASSERT(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
}

void Ring::submit_and_wait(Duration timeout) noexcept {
    enable();
    if (timeout == Duration{}) {
        if (io_uring_sq_ready(&ring_) > 0 || has_completions()) submit();
        return;
    }
    __kernel_timespec limit{timeout.ns / 1'000'000'000, timeout.ns % 1'000'000'000};
    io_uring_cqe* ignored = nullptr;
    const int result = io_uring_submit_and_wait_timeout(
        &ring_, &ignored, 1, timeout < Duration{} ? nullptr : &limit, nullptr);
    GEMEL_ASSERT(result >= 0 || result == -EINTR || result == -ETIME || result == -EAGAIN ||
                 result == -EBUSY);
}

Status Ring::notify(int event) noexcept {
    const int result = io_uring_register_eventfd(&ring_, event);
    return result == 0 ? Status() : Status::from_errno(-result);
}

bool Ring::has_completions() const noexcept {
    const unsigned flags = __atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED);
    return io_uring_cq_ready(&ring_) > 0 ||
           (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void Ring::collect() noexcept {
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
        ready_.push_back({entry->user_data, entry->res, entry->flags});
        io_uring_cqe_seen(&ring_, entry);
    }
}

void Ring::run(RingOp& op, const Completion& completion) noexcept {
    GEMEL_ASSERT(op.in_flight_);
    if ((completion.flags & IORING_CQE_F_MORE) == 0) {
        op.in_flight_ = false;
        GEMEL_ASSERT(in_flight_ > 0);
        --in_flight_;
    }
    op.on_completion(completion.result, completion.flags);
}

bool Ring::provide_buffers() noexcept {
    if (buffers_ != Buffers::unknown) return buffers_ == Buffers::present;
    buffers_ = Buffers::absent;
    if (plain_) return false;
    void* memory = ::mmap(nullptr, kBufferRingSize, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(memory);
    registration.ring_entries = kBufferCount;
    registration.bgid = kBufferGroup;
    if (io_uring_register_buf_ring(&ring_, &registration, 0) != 0) {
        ::munmap(memory, kBufferRingSize);
        return false;
    }
    buffer_ring_ = memory;
    buffer_memory_.reset(new std::byte[kBufferCount * kBufferSize]);
    for (unsigned i = 0; i < kBufferCount; ++i) {
        give_back(i << IORING_CQE_BUFFER_SHIFT | IORING_CQE_F_BUFFER);
    }
    buffers_ = Buffers::present;
    return true;
}

Bytes Ring::provided(unsigned completion_flags, std::size_t size) const noexcept {
    GEMEL_ASSERT(size <= kBufferSize);
    return {&buffer_memory_[buffer_of(completion_flags) * kBufferSize], size};
}

void Ring::give_back(unsigned completion_flags) noexcept {
    const unsigned buffer = buffer_of(completion_flags);
    io_uring_buf_ring* buffers = as_buffer_ring(buffer_ring_);
    io_uring_buf_ring_add(buffers, &buffer_memory_[buffer * kBufferSize], kBufferSize,
                          static_cast<unsigned short>(buffer), io_uring_buf_ring_mask(kBufferCount),
                          0);
    io_uring_buf_ring_advance(buffers, 1);
}

}  // namespace gemel
