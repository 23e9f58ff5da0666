// SPDX-License-Identifier: Apache-2.0
// Little-endian encoding of our own formats. A reader never reads past its end: after the first
// short or invalid read it stays failed and returns zeros, so a decoder checks ok() once, at its
// end.
#pragma once

#include "engine/base/units.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace gemel {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;
using ByteBuffer = std::vector<std::byte>;

inline Bytes as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Appends to a buffer owned by the caller.
class ByteWriter {
   public:
    explicit ByteWriter(ByteBuffer& buffer) noexcept : buffer_(buffer) {}

    template <typename T>
        requires std::is_integral_v<T> || std::is_enum_v<T>
    void put(T value) {
        static_assert(std::endian::native == std::endian::little);
        bytes({reinterpret_cast<const std::byte*>(&value), sizeof value});
    }
    void bytes(Bytes data) { buffer_.insert(buffer_.end(), data.begin(), data.end()); }
    // 32-bit length, then the bytes.
    void sized(Bytes data) {
        put(static_cast<std::uint32_t>(data.size()));
        bytes(data);
    }
    void sized(std::string_view text) { sized(as_bytes(text)); }
    void put(ObjectId id) { put(id.value); }
    void put(const Uuid& id) { bytes(std::as_bytes(std::span(id.bytes))); }
    void put(WallTime time) {
        put(time.seconds);
        put(time.nanoseconds);
    }

   private:
    ByteBuffer& buffer_;
};

class ByteReader {
   public:
    explicit ByteReader(Bytes data) noexcept : data_(data) {}

    template <typename T>
        requires std::is_integral_v<T> || std::is_enum_v<T> T get()
    noexcept {
        T value{};
        const Bytes raw = bytes(sizeof value);
        if (raw.size() == sizeof value) std::memcpy(&value, raw.data(), sizeof value);
        return value;
    }
    // Exactly `size` bytes inside the underlying data, or none after a failure.
    Bytes bytes(std::size_t size) noexcept {
        if (failed_ || size > data_.size() - position_) {
            failed_ = true;
            return {};
        }
        const Bytes result = data_.subspan(position_, size);
        position_ += size;
        return result;
    }
    // 32-bit length and that many bytes; fails when the length exceeds `size_max`.
    Bytes sized(std::size_t size_max) noexcept {
        const auto size = get<std::uint32_t>();
        if (size > size_max) failed_ = true;
        return bytes(size);
    }
    ObjectId object_id() noexcept { return {get<std::uint64_t>()}; }
    Uuid uuid() noexcept {
        Uuid id;
        const Bytes raw = bytes(id.bytes.size());
        if (!raw.empty()) std::memcpy(id.bytes.data(), raw.data(), raw.size());
        return id;
    }
    WallTime wall_time() noexcept {
        WallTime time;
        time.seconds = get<std::int64_t>();
        time.nanoseconds = get<std::uint32_t>();
        return time;
    }
    // Marks the data as invalid, for a value the caller finds out of range.
    void fail() noexcept { failed_ = true; }
    [[nodiscard]] bool ok() const noexcept { return !failed_; }
    [[nodiscard]] bool at_end() const noexcept { return !failed_ && position_ == data_.size(); }
    [[nodiscard]] std::size_t remaining() const noexcept { return data_.size() - position_; }

   private:
    Bytes data_;
    std::size_t position_ = 0;
    bool failed_ = false;
};

}  // namespace gemel
