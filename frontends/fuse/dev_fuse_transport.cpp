// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/dev_fuse_transport.hpp"

#include "engine/base/probe.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

namespace gemel {

namespace {

constexpr std::size_t kPartsMax = 6;

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
      slots_(options.slots),
      reader_count_(std::min(options.reads_in_flight, options.big_buffers)) {
    GEMEL_ASSERT(device >= 0);
    GEMEL_ASSERT(options.slots > 0 && reader_count_ > 0);
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
    readers_ = std::make_unique<Reader[]>(reader_count_);
    for (std::size_t i = 0; i < reader_count_; ++i) readers_[i].transport = this;
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
    bool in_flight = false;
    for (std::size_t i = 0; i < reader_count_; ++i) {
        if (!readers_[i].in_flight) continue;
        in_flight = true;
        loop_.cancel(readers_[i]);
    }
    if (!in_flight) loop_.post([this] { report_closed(); });
}

void DevFuseTransport::report_closed() noexcept {
    if (closed_) return;
    closed_ = true;
    // Parked requests are dropped: the kernel has answered their callers itself.
    for (std::size_t i = 0; i < reader_count_; ++i) readers_[i].parked_size = 0;
    receiver_->on_closed(reason_);
}

void DevFuseTransport::Reader::on_complete(Status status, std::size_t count) noexcept {
    transport->read_done(*this, status, count);
}

void DevFuseTransport::read_done(Reader& reader, Status status, std::size_t count) noexcept {
    reader.in_flight = false;
    if (closing_) {
        for (std::size_t i = 0; i < reader_count_; ++i) {
            if (readers_[i].in_flight) return;
        }
        report_closed();
        return;
    }
    if (!status.ok()) {
        // ENOENT: the request was interrupted before it was read (fs/fuse/dev.c,
        // fuse_dev_do_read). ENODEV: unmounted; ECONNABORTED: aborted.
        const bool again =
            status.is_errno(EAGAIN) || status.is_errno(EINTR) || status.is_errno(ENOENT);
        if (!again) {
            const bool gone = status.is_errno(ENODEV) || status.is_errno(ECONNABORTED);
            fail(gone ? Status(Code::disconnected) : status);
            return;
        }
    } else if (!deliver(reader, count)) {
        reader.parked_size = count;
    }
    advance();
}

// False: no slot is free. Takes the reader's buffer away when the request is large.
bool DevFuseTransport::deliver(Reader& reader, std::size_t size) noexcept {
    const MutableBytes raw = big_bytes(reader.big);
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
        slot.big = std::exchange(reader.big, kNoBuffer);
        slot.message = raw.first(size);
    }
    receiver_->on_request(slot);
    return true;
}

// Delivers what waits for slots and keeps the reads going. Not re-entered: answers given inside
// on_request come back here through the outermost call.
void DevFuseTransport::advance() noexcept {
    if (advancing_) return;
    advancing_ = true;
    for (std::size_t i = 0; i < reader_count_ && !closing_; ++i) {
        Reader& reader = readers_[i];
        if (reader.in_flight) continue;
        if (reader.parked_size != 0) {
            if (!deliver(reader, reader.parked_size)) continue;
            reader.parked_size = 0;
        }
        if (!closing_) submit(reader);
    }
    advancing_ = false;
}

void DevFuseTransport::submit(Reader& reader) noexcept {
    if (reader.big == kNoBuffer) {
        if (free_bigs_.empty()) {
            GEMEL_PROBE("fuse: no big buffer is free");
            return;
        }
        reader.big = free_bigs_.back();
        free_bigs_.pop_back();
    }
    reader.in_flight = true;
    loop_.read(reader, Fd{device_}, big_bytes(reader.big), Loop::kNoOffset);
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
