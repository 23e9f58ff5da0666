// SPDX-License-Identifier: Apache-2.0
#include "netdev/frame_compression.hpp"

#include "engine/base/units.hpp"

#include <zstd.h>

#include <algorithm>

namespace gemel {

namespace {

constexpr std::size_t kSampleSize = 16 * kKiB;
constexpr std::uint32_t kSkipMax = 64;
constexpr std::size_t kKeptCapacity = 256 * kKiB;

}  // namespace

struct FrameCompressor::Context {
    ZSTD_CCtx* zstd = nullptr;

    Context() noexcept = default;
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() { ZSTD_freeCCtx(zstd); }
};

bool decompress_exactly(Bytes packed, MutableBytes plain) noexcept {
    const std::size_t size =
        ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size());
    return ZSTD_isError(size) == 0 && size == plain.size();
}

FrameCompressor::FrameCompressor() noexcept : context_(std::make_unique<Context>()) {}
FrameCompressor::~FrameCompressor() = default;

bool FrameCompressor::try_compress(Bytes data) noexcept {
    if (context_->zstd == nullptr) context_->zstd = ZSTD_createCCtx();
    if (context_->zstd == nullptr) return false;
    packed_.resize(data.size() - data.size() / 10);
    const std::size_t size = ZSTD_compressCCtx(context_->zstd, packed_.data(), packed_.size(),
                                               data.data(), data.size(), level_);
    if (ZSTD_isError(size) != 0) return false;  // it does not fit: not worth it
    packed_.resize(size);
    return true;
}

void FrameCompressor::note(bool paid) noexcept {
    if (paid) {
        skip_next_ = 1;
    } else {
        skip_left_ = skip_next_;
        skip_next_ = std::min(skip_next_ * 2, kSkipMax);
    }
}

void FrameCompressor::follow(std::size_t backlog) noexcept {
    many_in_a_row_ = backlog >= kBacklogMany ? many_in_a_row_ + 1 : 0;
    if (backlog < kBacklogFew) {
        level_ = 1;
    } else if (many_in_a_row_ == kPatience) {
        many_in_a_row_ = 0;
        level_ = std::min(level_ + 1, kLevelMax);
    }
}

Bytes FrameCompressor::compress(Bytes body, std::size_t backlog) noexcept {
    if (body.empty()) return {};
    follow(backlog);
    if (skip_left_ > 0) {
        --skip_left_;
        return {};
    }
    if (packed_.capacity() > kKeptCapacity) ByteBuffer().swap(packed_);
    if (body.size() >= 4 * kSampleSize) {
        const Bytes sample = body.subspan((body.size() - kSampleSize) / 2, kSampleSize);
        if (!try_compress(sample)) {
            note(false);
            return {};
        }
    }
    const bool paid = try_compress(body);
    note(paid);
    return paid ? Bytes(packed_) : Bytes();
}

}  // namespace gemel
