// SPDX-License-Identifier: Apache-2.0
// Changes and reads of a block volume while they are under way. A change waits for the earlier ones
// that overlap it and for nothing else: each knows how many of them are not done.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/block_volume.hpp"

#include <cstring>

namespace gemel {

namespace {

// Buffers of larger changes are given back to the heap.
constexpr std::size_t kKeptBufferMax = 128 * kKiB;

std::uint64_t block_down(std::uint64_t offset) noexcept { return offset / kBlockUnit * kBlockUnit; }

}  // namespace

// With its loop's end.
BlockChange::~BlockChange() {
    if (is_linked()) volume_->in_flight_.remove(*this);
}

void BlockChange::Io::on_complete(Status status, std::size_t count) noexcept {
    change.volume_->advance(change, status, count);
}

void BlockChange::Work::run() noexcept {
    BlockVolume& volume = *change.volume_;
    if (change.step_ == Step::awaiting_space) {
        status = volume.vfs_.finish_closing() ? Status() : Status::from_errno(ENOSPC);
    } else {
        status = volume.zero(change.flags_, change.offset_, change.size_);
    }
}

void BlockChange::Work::done() noexcept {
    BlockVolume& volume = *change.volume_;
    if (status.ok() && change.step_ == Step::awaiting_space) {
        GEMEL_PROBE("block volume: waited for the space of removed files");
        volume.write_on(change);
    } else {
        volume.finish(change, status);
    }
}

void BlockRead::Io::on_complete(Status status, std::size_t count) noexcept {
    read.volume_->read_on(read, status, count);
}

void BlockVolume::submit(BlockChange& change, const Op& op) noexcept {
    GEMEL_ASSERT(is_valid(op) && !change.is_linked());
    change.volume_ = this;
    change.kind_ = op.kind;
    change.flags_ = op.flags;
    change.step_ = BlockChange::Step::waiting;
    change.offset_ = op.offset;
    change.size_ = op.size;
    change.begin_ = block_down(op.offset);
    change.end_ = block_end(op.offset + op.size);
    change.moved_ = 0;
    change.blockers_ = 0;
    change.awaited_space_ = false;
    if (op.kind == OpKind::write) {
        change.buffer_.resize(static_cast<std::size_t>(change.end_ - change.begin_));
        std::memcpy(change.buffer_.data() + (op.offset - change.begin_), op.data.data(),
                    op.data.size());
    }
    for (BlockChange* one = in_flight_.front(); one != nullptr; one = in_flight_.next(*one)) {
        if (one->begin_ < change.end_ && change.begin_ < one->end_) ++change.blockers_;
    }
    in_flight_.push_back(change);
    if (change.blockers_ == 0) {
        begin(change);
    } else {
        GEMEL_PROBE("block volume: a change waits for one that it overlaps");
    }
}

// Everything before it in its range is done.
void BlockVolume::begin(BlockChange& change) noexcept {
    if (change.kind_ == OpKind::allocate) {
        change.step_ = BlockChange::Step::zeroing;
        loop_.offload(change.job_);
    } else if (change.offset_ != change.begin_) {
        read_edge(change, BlockChange::Step::reading_head);
    } else if (change.offset_ + change.size_ != change.end_) {
        read_edge(change, BlockChange::Step::reading_tail);
    } else {
        write_on(change);
    }
}

// The first or the last block, which is changed in part only.
void BlockVolume::read_edge(BlockChange& change, BlockChange::Step step) noexcept {
    GEMEL_PROBE("block volume: a block is read to be changed in part");
    change.step_ = step;
    const bool head = step == BlockChange::Step::reading_head;
    const std::uint64_t begin = head ? change.begin_ : block_down(change.end_ - 1);
    change.edge_.resize(static_cast<std::size_t>(block_end(begin + 1) - begin));
    loop_.read(change.io_, file_, change.edge_, begin);
}

// Puts what stays of the block that has been read around what is to be written.
void BlockVolume::take_edge(BlockChange& change) noexcept {
    const std::uint64_t size = change.end_ - change.begin_;
    const std::uint64_t before = change.offset_ - change.begin_;
    const std::uint64_t behind = change.end_ - (change.offset_ + change.size_);
    const bool head = change.step_ == BlockChange::Step::reading_head;
    if (head) std::memcpy(change.buffer_.data(), change.edge_.data(), before);
    const bool is_last = size <= kBlockUnit || !head;
    if (is_last) {
        std::memcpy(change.buffer_.data() + (size - behind),
                    change.edge_.data() + (change.edge_.size() - behind), behind);
    }
    if (!is_last && behind != 0) {
        read_edge(change, BlockChange::Step::reading_tail);
    } else {
        write_on(change);
    }
}

void BlockVolume::write_on(BlockChange& change) noexcept {
    change.step_ = BlockChange::Step::writing;
    loop_.write(change.io_, file_, Bytes(change.buffer_).subspan(change.moved_),
                change.begin_ + change.moved_);
}

void BlockVolume::advance(BlockChange& change, Status status, std::size_t count) noexcept {
    const bool reads = change.step_ != BlockChange::Step::writing;
    if (status.ok() && (count == 0 || (reads && count != change.edge_.size()))) {
        status = Status::from_errno(EIO);
    }
    if (!reads && is_full(status) && !change.awaited_space_) {
        // A removed file may be giving its space back right now.
        change.awaited_space_ = true;
        change.step_ = BlockChange::Step::awaiting_space;
        loop_.offload(change.job_);
        return;
    }
    if (!status.ok()) {
        finish(change, as_disk_error(status));
        return;
    }
    if (reads) {
        take_edge(change);
        return;
    }
    change.moved_ += count;
    if (change.moved_ == change.buffer_.size()) {
        finish(change, Status());
    } else {
        write_on(change);
    }
}

void BlockVolume::finish(BlockChange& change, Status status) noexcept {
    BlockChange* later = in_flight_.next(change);
    in_flight_.remove(change);
    change.step_ = BlockChange::Step::waiting;
    if (change.buffer_.size() > kKeptBufferMax) change.buffer_ = AlignedBuffer();
    for (; later != nullptr; later = in_flight_.next(*later)) {
        if (later->begin_ >= change.end_ || change.begin_ >= later->end_) continue;
        GEMEL_ASSERT(later->blockers_ > 0);
        if (--later->blockers_ == 0) begin(*later);
    }
    if (is_sizing()) next_sizing();
    change.on_done(status);
}

bool BlockVolume::is_busy(std::uint64_t offset, std::uint64_t size) const noexcept {
    const std::uint64_t begin = block_down(offset);
    const std::uint64_t end = block_end(offset + size);
    for (const BlockChange* one = in_flight_.front(); one != nullptr; one = in_flight_.next(*one)) {
        if (one->begin_ < end && begin < one->end_) return true;
    }
    return false;
}

void BlockVolume::for_each_in_flight(
    const std::function<void(std::uint64_t offset, std::uint64_t size)>& visit) const noexcept {
    for (const BlockChange* one = in_flight_.front(); one != nullptr; one = in_flight_.next(*one)) {
        visit(one->begin_, one->end_ - one->begin_);
    }
}

void BlockVolume::read(BlockRead& read, std::uint64_t offset, MutableBytes data) noexcept {
    GEMEL_ASSERT(!data.empty() && offset <= size_ && data.size() <= size_ - offset);
    read.volume_ = this;
    read.offset_ = offset;
    read.data_ = data;
    read.begin_ = block_down(offset);
    read.moved_ = 0;
    const std::uint64_t size = block_end(offset + data.size()) - read.begin_;
    const auto address = reinterpret_cast<std::uintptr_t>(data.data());
    const bool direct = size == data.size() && address % kBufferAlignment == 0;
    if (!direct) read.bounce_.resize(static_cast<std::size_t>(size));
    read.target_ = direct ? data : MutableBytes(read.bounce_);
    loop_.read(read.io_, file_, read.target_, read.begin_);
}

void BlockVolume::read_on(BlockRead& read, Status status, std::size_t count) noexcept {
    status = as_disk_error(status);
    if (status.ok() && count == 0) status = Status::from_errno(EIO);
    read.moved_ += count;
    if (status.ok() && read.moved_ < read.target_.size()) {
        loop_.read(read.io_, file_, read.target_.subspan(read.moved_), read.begin_ + read.moved_);
        return;
    }
    if (status.ok() && read.target_.data() != read.data_.data()) {
        std::memcpy(read.data_.data(), read.target_.data() + (read.offset_ - read.begin_),
                    read.data_.size());
    }
    if (read.bounce_.size() > kKeptBufferMax) read.bounce_ = AlignedBuffer();
    read.on_done(status);
}

}  // namespace gemel
