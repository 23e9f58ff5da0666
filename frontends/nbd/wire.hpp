// SPDX-License-Identifier: Apache-2.0
// Big-endian integers in byte buffers. A reader never reads past its end: after the first short
// read it stays failed and returns zeros, so a parser checks ok() once, at its end.
#pragma once

#include "engine/base/bytes.hpp"

#include <concepts>
#include <type_traits>

namespace gemel::nbd {

class WireWriter {
   public:
    explicit WireWriter(ByteBuffer& buffer) noexcept : buffer_(buffer) {}

    template <typename T>
        requires std::is_integral_v<T> || std::is_enum_v<T>
    void put(T value) {
        auto number = static_cast<std::uint64_t>(value);
        std::byte raw[sizeof value];
        for (std::size_t i = sizeof value; i-- > 0; number >>= 8) {
            raw[i] = static_cast<std::byte>(number & 0xff);
        }
        bytes(raw);
    }
    void bytes(Bytes data) { buffer_.insert(buffer_.end(), data.begin(), data.end()); }
    void text(std::string_view data) { bytes(as_bytes(data)); }
    void zeros(std::size_t count) { buffer_.resize(buffer_.size() + count); }

   private:
    ByteBuffer& buffer_;
};

class WireReader {
   public:
    explicit WireReader(Bytes data) noexcept : data_(data) {}

    template <std::unsigned_integral T>
    T get() noexcept {
        std::uint64_t value = 0;
        for (const std::byte byte : bytes(sizeof(T))) {
            value = value << 8 | std::to_integer<std::uint64_t>(byte);
        }
        return static_cast<T>(value);
    }
    // Exactly `size` bytes inside the underlying data, or none after a failure.
    Bytes bytes(std::size_t size) noexcept {
        if (failed_ || size > data_.size()) {
            failed_ = true;
            return {};
        }
        const Bytes result = data_.first(size);
        data_ = data_.subspan(size);
        return result;
    }
    // A 32-bit length and that many bytes.
    std::string_view text() noexcept { return as_text(bytes(get<std::uint32_t>())); }
    [[nodiscard]] bool ok() const noexcept { return !failed_; }
    [[nodiscard]] bool at_end() const noexcept { return !failed_ && data_.empty(); }
    [[nodiscard]] std::size_t remaining() const noexcept { return data_.size(); }

   private:
    Bytes data_;
    bool failed_ = false;
};

}  // namespace gemel::nbd
