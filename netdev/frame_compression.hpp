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
    // `backlog`: bytes that wait to be sent. While they stay many the link is what everybody waits
    // for, and the level rises to kLevelMax; when few wait it falls to 1 again.
    Bytes compress(Bytes body, std::size_t backlog) noexcept;

    static constexpr int kLevelMax = 4;
    static constexpr std::size_t kBacklogMany = 3 * 1024 * 1024;
    static constexpr std::size_t kBacklogFew = 512 * 1024;
    [[nodiscard]] int level() const noexcept { return level_; }

   private:
    struct Context;
    // Compresses into packed_; false when that saves less than a tenth.
    bool try_compress(Bytes data) noexcept;
    void note(bool paid) noexcept;

    std::unique_ptr<Context> context_;
    void follow(std::size_t backlog) noexcept;

    static constexpr int kPatience = 16;  // bodies in a row before the level rises
    ByteBuffer packed_;
    int level_ = 1;
    int many_in_a_row_ = 0;
    std::uint32_t skip_left_ = 0;  // bodies not even to be tried
    std::uint32_t skip_next_ = 1;  // how many, after the next failure
};

}  // namespace gemel
