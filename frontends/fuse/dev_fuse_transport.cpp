// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/dev_fuse_transport.hpp"

#include "engine/base/probe.hpp"

#include <cerrno>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

namespace gemel {

namespace {

constexpr std::size_t kPartsMax = 6;
constexpr std::size_t kBatchMax = 64;

// An answer that reads ask for begins behind the longest fixed part of a request without data, so
// that it may be filled while the request's fields are still needed.
constexpr std::size_t kAnswerOffset = 256;
static_assert(sizeof(fuse::InHeader) + sizeof(fuse::SetattrIn) <= kAnswerOffset);

}  // namespace

DevFuseTransport::DevFuseTransport(Loop& loop, LogSink& log, int device,
                                   const Options& options) noexcept
    : loop_(loop),
      log_(log),
      device_(device),
      big_count_(options.big_buffers),
      slots_(options.slots) {
    GEMEL_ASSERT(device >= 0);
    GEMEL_ASSERT(options.slots > 0 && options.big_buffers > 0);
    memory_size_ = big_count_ * kBigSize + slots_.size() * kSmallSize;
    void* memory = ::mmap(nullptr, memory_size_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    GEMEL_ASSERT(memory != MAP_FAILED);
    memory_ = static_cast<std::byte*>(memory);
    free_slots_.reserve(slots_.size());
    for (std::size_t i = slots_.size(); i-- > 0;) {
        slots_[i].index = static_cast<std::uint32_t>(i);
        free_slots_.push_back(slots_[i].index);
    }
    free_bigs_.reserve(big_count_);
    for (std::size_t i = big_count_; i-- > 0;) free_bigs_.push_back(i);
}

DevFuseTransport::~DevFuseTransport() {
    GEMEL_ASSERT(receiver_ == nullptr || closed_);
    GEMEL_ASSERT(free_slots_.size() == slots_.size());
    ::munmap(memory_, memory_size_);
    ::close(device_);
}

MutableBytes DevFuseTransport::big_bytes(std::size_t index) const noexcept {
    GEMEL_ASSERT(index < big_count_);
    return {memory_ + index * kBigSize, kBigSize};
}

MutableBytes DevFuseTransport::small_bytes(const Slot& slot) const noexcept {
    return {memory_ + big_count_ * kBigSize + slot.index * kSmallSize, kSmallSize};
}

void DevFuseTransport::start(Receiver& receiver) noexcept {
    GEMEL_ASSERT(receiver_ == nullptr);
    receiver_ = &receiver;
    advance();
}

void DevFuseTransport::close() noexcept {
    GEMEL_ASSERT(receiver_ != nullptr);
    if (closing_) return;
    fail(Status(Code::cancelled));
}

void DevFuseTransport::fail(Status reason) noexcept {
    if (closing_) return;
    closing_ = true;
    reason_ = reason;
    if (reading_) {
        loop_.cancel(reader_);
    } else {
        loop_.post([this] { report_closed(); });
    }
}

void DevFuseTransport::report_closed() noexcept {
    if (closed_) return;
    closed_ = true;
    parked_size_ = 0;  // dropped: the kernel has answered its caller itself
    receiver_->on_closed(reason_);
}

void DevFuseTransport::read_done(Status status, std::size_t count) noexcept {
    reading_ = false;
    if (closing_) return report_closed();
    advancing_ = true;
    if (status.ok()) {
        take(count);
        drain_queue();
    } else {
        read_failed(status);
    }
    advancing_ = false;
    advance();
}

// Goes on with what is there already. A limit, so that answers are not kept waiting.
void DevFuseTransport::drain_queue() noexcept {
    for (std::size_t i = 0; i < kBatchMax; ++i) {
        if (closing_ || parked_size_ != 0 || !find_buffer()) return;
        const MutableBytes buffer = big_bytes(buffer_);
        const ssize_t count = ::read(device_, buffer.data(), buffer.size());
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) {
            read_failed(Status::from_errno(errno));
        } else {
            take(static_cast<std::size_t>(count));
        }
    }
}

void DevFuseTransport::read_failed(Status status) noexcept {
    // ENOENT: the request was interrupted before it was read (fs/fuse/dev.c, fuse_dev_do_read).
    // ENODEV: unmounted; ECONNABORTED: aborted.
    const bool again = status.is_errno(EAGAIN) || status.is_errno(EINTR) || status.is_errno(ENOENT);
    if (again) return;
    const bool gone = status.is_errno(ENODEV) || status.is_errno(ECONNABORTED);
    fail(gone ? Status(Code::disconnected) : status);
}

void DevFuseTransport::take(std::size_t size) noexcept {
    if (!deliver(size)) parked_size_ = size;
}

// False: no slot is free. A large request takes the buffer along.
bool DevFuseTransport::deliver(std::size_t size) noexcept {
    const MutableBytes raw = big_bytes(buffer_);
    fuse::InHeader header{};
    if (size >= sizeof header) std::memcpy(&header, raw.data(), sizeof header);
    if (size < sizeof header || header.len != size) {
        log_.log(LogLevel::error, "fuse: a request of " + std::to_string(size) +
                                      " bytes says it has " + std::to_string(header.len));
        fail(Status(Code::corrupt));
        return true;
    }
    if (free_slots_.empty()) {
        GEMEL_PROBE("fuse: no slot is free");
        return false;
    }
    Slot& slot = slots_[free_slots_.back()];
    free_slots_.pop_back();
    GEMEL_ASSERT(!slot.taken && slot.big == kNoBuffer);
    slot.taken = true;
    if (size <= kSmallSize) {
        const MutableBytes small = small_bytes(slot);
        std::memcpy(small.data(), raw.data(), size);
        slot.message = small.first(size);
    } else {
        slot.big = std::exchange(buffer_, kNoBuffer);
        slot.message = raw.first(size);
    }
    receiver_->on_request(slot);
    return true;
}

// Delivers what waits for a slot and keeps a read waiting. Not re-entered: answers given inside
// on_request come back here through the outermost call.
void DevFuseTransport::advance() noexcept {
    if (advancing_ || reading_ || closing_ || receiver_ == nullptr) return;
    advancing_ = true;
    if (parked_size_ != 0 && deliver(parked_size_)) parked_size_ = 0;
    advancing_ = false;
    if (closing_ || parked_size_ != 0 || !find_buffer()) return;
    reading_ = true;
    loop_.read(reader_, Fd{device_}, big_bytes(buffer_), Loop::kNoOffset);
}

bool DevFuseTransport::find_buffer() noexcept {
    if (buffer_ != kNoBuffer) return true;
    if (free_bigs_.empty()) {
        GEMEL_PROBE("fuse: no big buffer is free");
        return false;
    }
    buffer_ = free_bigs_.back();
    free_bigs_.pop_back();
    return true;
}

void DevFuseTransport::answer(FuseSlot& slot, int error, std::span<const Bytes> parts) noexcept {
    GEMEL_ASSERT(error >= 0);
    GEMEL_ASSERT(error == 0 || parts.empty());
    fuse::InHeader request{};
    std::memcpy(&request, slot.message.data(), sizeof request);
    fuse::OutHeader header{};
    header.error = -error;
    header.unique = request.unique;
    write_out(header, parts);
    release(static_cast<Slot&>(slot));
}

void DevFuseTransport::drop(FuseSlot& slot) noexcept { release(static_cast<Slot&>(slot)); }

void DevFuseTransport::release(Slot& slot) noexcept {
    GEMEL_ASSERT(slot.taken);
    slot.taken = false;
    slot.message = {};
    bool big_freed = false;
    if (slot.big != kNoBuffer) {
        free_bigs_.push_back(slot.big);
        slot.big = kNoBuffer;
        big_freed = true;
    }
    free_slots_.push_back(slot.index);
    advance();
    if (big_freed && space_wanted_) {
        space_wanted_ = false;
        receiver_->on_space();
    }
}

MutableBytes DevFuseTransport::answer_space(FuseSlot& slot, std::size_t size) noexcept {
    GEMEL_ASSERT(size <= kDataSizeMax);
    Slot& own = static_cast<Slot&>(slot);
    GEMEL_ASSERT(own.taken);
    if (size <= kSmallSize - kAnswerOffset) return small_bytes(own).subspan(kAnswerOffset, size);
    if (own.big == kNoBuffer) {
        // The last one is for reading requests: an answer that waits must not stop them.
        if (free_bigs_.size() < 2) {
            GEMEL_PROBE("fuse: an answer waits for a big buffer");
            space_wanted_ = true;
            return {};
        }
        own.big = free_bigs_.back();
        free_bigs_.pop_back();
    }
    return big_bytes(own.big).subspan(kAnswerOffset, size);
}

void DevFuseTransport::notify(std::int32_t code, Bytes body) noexcept {
    fuse::OutHeader header{};
    header.error = code;
    write_out(header, {&body, 1});
}

void DevFuseTransport::write_out(const fuse::OutHeader& header,
                                 std::span<const Bytes> parts) noexcept {
    GEMEL_ASSERT(parts.size() < kPartsMax);
    fuse::OutHeader whole = header;
    iovec iov[kPartsMax];
    iov[0] = {&whole, sizeof whole};
    std::size_t size = sizeof whole;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        iov[i + 1] = {const_cast<std::byte*>(parts[i].data()), parts[i].size()};
        size += parts[i].size();
    }
    whole.len = static_cast<std::uint32_t>(size);
    const ssize_t written = ::writev(device_, iov, static_cast<int>(parts.size() + 1));
    if (written == static_cast<ssize_t>(size)) return;
    // ENOENT: the request was interrupted or aborted meanwhile, or (notification) the kernel does
    // not know the object; ENODEV, ECONNABORTED, EPERM: the connection is gone or not yet up.
    const int error = written < 0 ? errno : EIO;
    if (error == ENOENT || error == ENODEV || error == ECONNABORTED || error == EPERM) return;
    log_.log(LogLevel::error, "fuse: the kernel refused an answer of " + std::to_string(size) +
                                  " bytes: " + Status::from_errno(error).to_string());
    if (header.unique == 0 || parts.empty()) return;
    fuse::OutHeader refusal{sizeof(fuse::OutHeader), -EIO, header.unique};
    iov[0] = {&refusal, sizeof refusal};
    if (::writev(device_, iov, 1) < 0) return;  // then the caller has its answer already
}

}  // namespace gemel
