// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd/memory_export.hpp"

#include <algorithm>
#include <cstring>

namespace gemel::test {
namespace {

bool is_change(ExportRequestKind kind) noexcept {
    return kind == ExportRequestKind::write || kind == ExportRequestKind::zero ||
           kind == ExportRequestKind::trim;
}

// Calls visit(chunk number, offset in it, size) for each part of the range.
template <typename Visit>
void for_each_part(std::uint64_t offset, std::uint64_t size, Visit visit) {
    while (size > 0) {
        const std::uint64_t inside = offset % MemoryExport::kChunk;
        const std::uint64_t part = std::min(size, MemoryExport::kChunk - inside);
        visit(offset / MemoryExport::kChunk, inside, part);
        offset += part;
        size -= part;
    }
}

}  // namespace

MemoryExport::MemoryExport(Loop& loop, std::string name, std::uint64_t size)
    : loop_(loop), prng_(loop.prng().fork()), name_(std::move(name)), size_(size) {}

MemoryExport::~MemoryExport() { GEMEL_ASSERT(pending_.empty() && buffers_.empty()); }

void MemoryExport::submit(ExportRequest& request) noexcept {
    check(request);
    ++counts_[static_cast<std::size_t>(request.kind)];
    pending_.push_back(request);
    if (!holds) post_next();
}

void MemoryExport::check(const ExportRequest& request) const noexcept {
    const std::uint64_t mask = own_limits.minimum_block - 1;
    GEMEL_ASSERT(((request.offset | request.size) & mask) == 0);
    GEMEL_ASSERT(request.offset <= size_ && request.size <= size_ - request.offset);
    GEMEL_ASSERT(!is_change(request.kind) || !read_only);
    GEMEL_ASSERT((request.size == 0) == (request.kind == ExportRequestKind::flush));
    const bool has_data =
        request.kind == ExportRequestKind::read || request.kind == ExportRequestKind::write;
    GEMEL_ASSERT(request.data.size() == (has_data ? request.size : 0));
    if (!has_data) return;
    GEMEL_ASSERT(request.size <= own_limits.maximum_payload);
    const auto buffer = buffers_.find(request.data.data());
    GEMEL_ASSERT(buffer != buffers_.end() && buffer->second == request.size);
}

void MemoryExport::post_next() noexcept {
    loop_.post([this] { complete_one(); });
}

void MemoryExport::release() noexcept {
    holds = false;
    for (std::size_t i = pending_.size(); i > 0; --i) post_next();
}

void MemoryExport::fail_pending(Status status) noexcept {
    IntrusiveList<ExportRequest> failed;
    while (ExportRequest* request = pending_.pop_front()) failed.push_back(*request);
    while (ExportRequest* request = failed.pop_front()) request->on_complete(status);
}

void MemoryExport::refuse(std::string why) noexcept {
    reason = std::move(why);
    if (events_ != nullptr) events_->on_availability_changed();
}

void MemoryExport::grow(std::uint64_t size) noexcept {
    GEMEL_ASSERT(size >= size_);
    size_ = size;
    if (events_ != nullptr) events_->on_size_changed();
}

// One of the first few, at random.
void MemoryExport::complete_one() noexcept {
    if (pending_.empty() || holds) return;
    ExportRequest* request = pending_.front();
    for (std::uint64_t skip = prng_.below(std::min<std::size_t>(pending_.size(), 8)); skip > 0;
         --skip) {
        request = pending_.next(*request);
    }
    pending_.remove(*request);
    Status status = next_failure;
    next_failure = Status();
    if (status.ok()) status = carry_out(*request);
    request->on_complete(status);
}

Status MemoryExport::carry_out(ExportRequest& request) noexcept {
    switch (request.kind) {
        case ExportRequestKind::read:
            read(request.offset, request.data);
            break;
        case ExportRequestKind::write:
            write(request.offset, request.data);
            break;
        case ExportRequestKind::zero:
            if (request.fast_zero && slow_zero) return Status::from_errno(EOPNOTSUPP);
            zero(request.offset, request.size, request.no_hole);
            break;
        case ExportRequestKind::trim:
            zero(request.offset, request.size, false);
            break;
        case ExportRequestKind::flush:
            volatile_changes_ = 0;
            break;
        case ExportRequestKind::cache:
            break;
        case ExportRequestKind::status:
            find_extents(request);
            break;
    }
    if (is_change(request.kind) && !request.fua) ++volatile_changes_;
    return Status();
}

void MemoryExport::write(std::uint64_t offset, Bytes data) noexcept {
    for_each_part(offset, data.size(), [&](auto number, auto inside, auto part) {
        std::unique_ptr<Chunk>& chunk = chunks_[number];
        if (chunk == nullptr) chunk = std::make_unique<Chunk>();
        std::memcpy(&(*chunk)[inside], data.data(), part);
        data = data.subspan(part);
        dirty_.insert(number);
    });
}

void MemoryExport::read(std::uint64_t offset, MutableBytes data) const noexcept {
    for_each_part(offset, data.size(), [&](auto number, auto inside, auto part) {
        const auto chunk = chunks_.find(number);
        if (chunk == chunks_.end()) {
            std::memset(data.data(), 0, part);
        } else {
            std::memcpy(data.data(), &(*chunk->second)[inside], part);
        }
        data = data.subspan(part);
    });
}

void MemoryExport::zero(std::uint64_t offset, std::uint64_t size, bool keep) noexcept {
    for_each_part(offset, size, [&](auto number, auto inside, auto part) {
        dirty_.insert(number);
        if (part == kChunk && !keep) {
            chunks_.erase(number);
            return;
        }
        std::unique_ptr<Chunk>& chunk = chunks_[number];
        if (chunk == nullptr) chunk = std::make_unique<Chunk>();
        std::memset(&(*chunk)[inside], 0, part);
    });
}

void MemoryExport::find_extents(ExportRequest& request) const noexcept {
    std::vector<Extent>& extents = request.extents;
    bool full = false;
    for_each_part(request.offset, request.size, [&](auto number, auto, auto part) {
        std::uint32_t flags = 0;
        if (request.context == ExportContext::dirty) {
            if (dirty_.count(number) > 0) flags = kExtentDirty;
        } else if (chunks_.count(number) == 0) {
            flags = kExtentHole | kExtentZero;
        }
        const bool grows = !extents.empty() && extents.back().flags == flags;
        full = full || (!grows && extents.size() == request.extents_max);
        if (full) return;
        if (grows) {
            extents.back().size += part;
        } else {
            extents.push_back({part, flags});
        }
    });
}

std::string MemoryExport::read_back(std::uint64_t offset, std::size_t size) const {
    std::string text(size, '\0');
    read(offset, {reinterpret_cast<std::byte*>(text.data()), size});
    return text;
}

MutableBytes MemoryExport::take_buffer(std::size_t size) noexcept {
    GEMEL_ASSERT(size > 0 && size <= own_limits.maximum_payload);
    const MutableBytes buffer = Export::take_buffer(size);
    buffers_[buffer.data()] = size;
    buffer_bytes_ += size;
    buffer_bytes_max_ = std::max(buffer_bytes_max_, buffer_bytes_);
    return buffer;
}

void MemoryExport::return_buffer(MutableBytes buffer) noexcept {
    const auto entry = buffers_.find(buffer.data());
    GEMEL_ASSERT(entry != buffers_.end() && entry->second == buffer.size());
    buffers_.erase(entry);
    buffer_bytes_ -= buffer.size();
    Export::return_buffer(buffer);
}

}  // namespace gemel::test
