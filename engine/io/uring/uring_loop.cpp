// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/uring_loop.hpp"

#include "engine/io/uring/loop_descriptor.hpp"
#include "engine/io/uring/posix_call.hpp"
#include "engine/io/uring/ring.hpp"
#include "engine/io/uring/uring_network.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sched.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <utility>

namespace gemel {
namespace {

// The kernel moves at most this many bytes in a call (MAX_RW_COUNT of <linux/fs.h>).
constexpr std::size_t kTransferMax = 0x7ffff000;

Instant monotonic_now() noexcept {
    timespec time;
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return {time.tv_sec * 1'000'000'000 + time.tv_nsec};
}

// The clock of file times: a finer one could run ahead of a time stamp that the kernel gives later.
WallTime coarse_wall_time() noexcept {
    timespec time;
    ::clock_gettime(CLOCK_REALTIME_COARSE, &time);
    return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

void relax_cpu() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

// "0ec1b5a2-....": 32 hexadecimal digits and dashes.
Result<Uuid> read_boot_id() noexcept {
    const int file = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file == -1) return last_error();
    char text[64];
    const ssize_t size = uninterrupted([&] { return ::read(file, text, sizeof text); });
    ::close(file);
    if (size == -1) return last_error();
    Uuid id;
    std::size_t digits = 0;
    for (ssize_t i = 0; i < size; ++i) {
        const int digit = hex_digit(text[i]);
        if (digit < 0) continue;
        if (digits == 2 * id.bytes.size()) return Code::unsupported;
        std::uint8_t& byte = id.bytes[digits++ / 2];
        byte = static_cast<std::uint8_t>(byte << 4 | digit);
    }
    if (digits != 2 * id.bytes.size()) return Code::unsupported;
    return id;
}

void fill_random(MutableBytes bytes) noexcept {
    while (!bytes.empty()) {
        const ssize_t count =
            uninterrupted([&] { return ::getrandom(bytes.data(), bytes.size(), 0); });
        GEMEL_ASSERT(count > 0);
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

}  // namespace

// Keeps a read of the inbox's eventfd in flight.
class UringLoop::WakeUp {
   public:
    WakeUp(Ring& ring, int descriptor) noexcept : ring_(ring), descriptor_(descriptor) { arm(); }
    void close() noexcept { closing_ = true; }

   private:
    void arm() noexcept {
        ring_.prepare(read_, [&](io_uring_sqe* entry) {
            io_uring_prep_read(entry, descriptor_, &count_, sizeof count_, 0);
        });
    }
    void on_read(int result, unsigned) noexcept {
        GEMEL_ASSERT(result == sizeof count_ || closing_);
        if (!closing_) arm();
    }

    Ring& ring_;
    int descriptor_;
    bool closing_ = false;
    std::uint64_t count_ = 0;
    MemberOp<WakeUp, &WakeUp::on_read> read_{*this};
};

Result<std::unique_ptr<UringLoop>> UringLoop::create(const Options& options) noexcept {
    GEMEL_ASSERT(options.entries > 0 && options.workers > 0);
    const auto boot_id = read_boot_id();
    if (!boot_id.ok()) return boot_id.status();
    auto ring = Ring::create(options.entries, options.plain);
    if (!ring.ok()) return ring.status();
    std::uint64_t seed = 0;
    fill_random(std::as_writable_bytes(std::span(&seed, 1)));
    std::unique_ptr<UringLoop> loop(
        new UringLoop(std::move(ring).value(), options, seed, boot_id.value()));
    if (loop->inbox_.wake_descriptor() == -1) return Status::from_errno(EMFILE);
    if (options.polled) {
        auto descriptor = LoopDescriptor::create(*loop->ring_);
        if (!descriptor.ok()) return descriptor.status();
        loop->descriptor_ = std::move(descriptor).value();
        loop->inbox_.wake_through(loop->descriptor_->get());
    }
    return loop;
}

UringLoop::UringLoop(std::unique_ptr<Ring> ring, const Options& options, std::uint64_t seed,
                     Uuid boot_id)
    : prng_(seed),
      boot_id_(boot_id),
      spin_policy_(options.spin_max),
      timers_(&Loop::sequence_of),
      wake_up_(std::make_unique<WakeUp>(*ring, inbox_.wake_descriptor())),
      network_(std::make_unique<UringNetwork>(*ring)),
      ring_(std::move(ring)),
      workers_(std::make_unique<WorkerPool>(options.workers,
                                            static_cast<WorkerPool::Finished&>(*this))) {
    read_clocks();
}

UringLoop::~UringLoop() {
    GEMEL_ASSERT(!in_turn_);
    GEMEL_ASSERT(in_flight() == 0);
    GEMEL_ASSERT(timers_.empty());
    GEMEL_ASSERT(network_->is_unused());
    workers_.reset();
    wake_up_->close();
    if (descriptor_ != nullptr) descriptor_->close();
    // Waits for the kernel to let go of the wake-up's counter and of what closed streams left.
    ring_.reset();
}

std::size_t UringLoop::in_flight() const noexcept { return io_in_flight_.size() + jobs_in_flight_; }

Network& UringLoop::network() noexcept { return *network_; }

void UringLoop::secure_random(MutableBytes bytes) noexcept { fill_random(bytes); }

void UringLoop::run() noexcept {
    while (!stopping_.load()) turn(Duration{-1});
    stopping_.store(false);
}

void UringLoop::stop() noexcept {
    stopping_.store(true);
    inbox_.add([] {});
}

void UringLoop::turn(Duration wait_max) noexcept {
    GEMEL_ASSERT(!in_turn_);
    in_turn_ = true;
    network_->flush();
    wait(wait_max);
    read_clocks();
    inbox_.take(posted_, finished_jobs_);
    ring_->complete([this](IoOp& op, int result) noexcept { finish(op, result); });
    run_finished_jobs();
    run_due_timers();
    run_posted();
    network_->flush();
    in_turn_ = false;
}

int UringLoop::descriptor() const noexcept {
    GEMEL_ASSERT(descriptor_ != nullptr);
    return descriptor_->get();
}

void UringLoop::dispatch() noexcept {
    // Enough for the answers to what a turn has asked of a disk's cache or of a neighbour.
    constexpr int kTurnsMax = 16;
    GEMEL_ASSERT(descriptor_ != nullptr);
    inbox_.after_sleep();
    // First, so that what comes from here on makes it readable again.
    descriptor_->clear();
    for (int turns = 0; turns < kTurnsMax; ++turns) {
        turn(Duration{});
        if (!posted_.empty() || !inbox_.may_sleep()) continue;
        ring_->submit_and_wait({});
        if (ring_->has_completions()) {
            inbox_.after_sleep();
            continue;
        }
        std::optional<Instant> due;
        if (!timers_.empty()) due = timers_.first_due();
        descriptor_->set_timer(due);
        return;
    }
    descriptor_->signal();
}

void UringLoop::read_clocks() noexcept {
    now_ = monotonic_now();
    wall_time_ = coarse_wall_time();
}

// ---- waiting --------------------------------------------------------------------------------

Duration UringLoop::time_to_wait(Duration wait_max, Instant from) const noexcept {
    if (!posted_.empty()) return {};
    Duration wait = wait_max;
    if (!timers_.empty()) {
        const Duration due = std::max(timers_.first_due() - from, Duration{});
        wait = wait < Duration{} ? due : std::min(wait, due);
    }
    return wait;
}

void UringLoop::wait(Duration wait_max) noexcept {
    const Instant from = monotonic_now();
    Duration wait = time_to_wait(wait_max, from);
    if (wait != Duration{}) {
        const Duration bound = spin_policy_.begin_wait();
        if (bound > Duration{}) {
            ring_->submit_and_wait({});
            if (spin(from, wait < Duration{} ? bound : std::min(bound, wait))) {
                spin_policy_.end_wait(monotonic_now() - from);
                wait = {};
            } else if (wait > Duration{}) {
                wait = std::max(wait - (monotonic_now() - from), Duration{});
            }
        }
    }
    if (wait == Duration{} || !inbox_.may_sleep()) {
        ring_->submit_and_wait({});
        return;
    }
    ring_->submit_and_wait(wait);
    inbox_.after_sleep();
    spin_policy_.end_wait(monotonic_now() - from);
}

bool UringLoop::spin(Instant from, Duration bound) noexcept {
    for (Instant now = from; now - from < bound;) {
        // The clock costs more than these looks.
        for (int i = 0; i < 16; ++i) {
            if (ring_->has_completions() || inbox_.has_mail()) return true;
            relax_cpu();
        }
        // Whoever is ready to run here goes first: on a machine with few cores that is often the
        // one whose request is being waited for.
        ::sched_yield();
        const Instant before = std::exchange(now, monotonic_now());
        if (!spin_policy_.yielded(now - before)) return false;
    }
    return false;
}

// ---- tasks, jobs, timers --------------------------------------------------------------------

void UringLoop::post(std::function<void()> task) noexcept { posted_.push_back(std::move(task)); }

void UringLoop::run_from_any_thread(std::function<void()> task) noexcept {
    inbox_.add(std::move(task));
}

void UringLoop::run_posted() noexcept {
    GEMEL_ASSERT(running_.empty());
    std::swap(running_, posted_);
    for (auto& task : running_) {
        // Destroyed before the next one runs: what it captured may have to go first.
        std::exchange(task, nullptr)();
    }
    running_.clear();
}

void UringLoop::offload(Job& job) noexcept {
    ++jobs_in_flight_;
    workers_->submit(job);
}

void UringLoop::run_finished_jobs() noexcept {
    while (Job* job = finished_jobs_.pop_front()) {
        GEMEL_ASSERT(jobs_in_flight_ > 0);
        --jobs_in_flight_;
        job->done();
    }
}

void UringLoop::start_timer(Timer& timer, Instant due) noexcept {
    timers_.insert(timer, std::max(due, now_));
}

void UringLoop::cancel_timer(Timer& timer) noexcept { timers_.remove(timer); }

void UringLoop::run_due_timers() noexcept {
    // Those started meanwhile wait for the next turn, also with a delay of nothing.
    const std::uint64_t sequence = timers_.next_sequence();
    while (Timer* timer = timers_.pop_due(now_, sequence)) fire(*timer);
}

// ---- operations on descriptors --------------------------------------------------------------

void UringLoop::begin(IoOp& op, IoOp::Submission::Kind kind, Fd file) noexcept {
    GEMEL_ASSERT(file.is_open());
    op.submission.kind = kind;
    op.submission.file = file;
    io_in_flight_.push_back(op);
}

void UringLoop::read(IoOp& op, Fd file, MutableBytes buffer, std::uint64_t offset) noexcept {
    begin(op, IoOp::Submission::Kind::read, file);
    const auto size = static_cast<unsigned>(std::min(buffer.size(), kTransferMax));
    ring_->prepare(op, [&](io_uring_sqe* entry) {
        io_uring_prep_read(entry, file.value, buffer.data(), size, offset);
    });
}

void UringLoop::write(IoOp& op, Fd file, Bytes data, std::uint64_t offset) noexcept {
    begin(op, IoOp::Submission::Kind::write, file);
    const auto size = static_cast<unsigned>(std::min(data.size(), kTransferMax));
    ring_->prepare(op, [&](io_uring_sqe* entry) {
        io_uring_prep_write(entry, file.value, data.data(), size, offset);
    });
}

void UringLoop::sync(IoOp& op, Fd file, bool data_only) noexcept {
    begin(op, IoOp::Submission::Kind::sync, file);
    ring_->prepare(op, [&](io_uring_sqe* entry) {
        io_uring_prep_fsync(entry, file.value, data_only ? IORING_FSYNC_DATASYNC : 0);
    });
}

void UringLoop::cancel(IoOp& op) noexcept {
    GEMEL_ASSERT(op.is_linked());
    ring_->cancel(op);
}

void UringLoop::finish(IoOp& op, int result) noexcept {
    io_in_flight_.remove(op);
    Status status;
    // EINTR comes only from a worker of the ring that a cancellation interrupted.
    if (result == -ECANCELED || result == -EINTR) {
        status = Status(Code::cancelled);
    } else if (result < 0) {
        status = Status::from_errno(-result);
    }
    op.on_complete(status, result < 0 ? 0 : static_cast<std::size_t>(result));
}

}  // namespace gemel
