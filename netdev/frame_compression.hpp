// SPDX-License-Identifier: Apache-2.0
// Zstandard for frame bodies, when it pays: a body is compressed only if a sample of it shrinks by
// a tenth, and after samples that did not, ever more bodies are sent as they are before the next
// try.
#pragma once

#include "engine/base/bytes.hpp"

#include <cstdint>
#include <memory>

namespace gemel {

// True when `packed` is one Zstandard frame of exactly plain.size() bytes, which are in `plain`
// then. Never writes beyond `plain`, whatever `packed` says.
[[nodiscard]] bool decompress_exactly(Bytes packed, MutableBytes plain) noexcept;

class FrameCompressor {
   public:
    FrameCompressor() noexcept;
    ~FrameCompressor();
    FrameCompressor(const FrameCompressor&) = delete;
    FrameCompressor& operator=(const FrameCompressor&) = delete;

    // The compressed body, valid until the next call; empty when the body should go as it is.
    Bytes compress(Bytes body) noexcept;

   private:
    struct Context;
    // Compresses into packed_; false when that saves less than a tenth.
    bool try_compress(Bytes data) noexcept;
    void note(bool paid) noexcept;

    std::unique_ptr<Context> context_;
    ByteBuffer packed_;
    std::uint32_t skip_left_ = 0;  // bodies not even to be tried
    std::uint32_t skip_next_ = 1;  // how many, after the next failure
};

}  // namespace gemel
