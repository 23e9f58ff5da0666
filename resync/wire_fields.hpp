// SPDX-License-Identifier: Apache-2.0
// Fields that frames of resyncs and of verifies have alike (docs/wire.md). What is out of range
// makes the reader fail.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/mirror/op_codec.hpp"

#include <cstdint>
#include <string_view>

namespace gemel {

// Largest offset of a file (loff_t).
inline constexpr std::uint64_t kFileSizeMax = ~std::uint64_t{0} >> 1;

// A flag is 0 or 1.
inline bool get_flag(ByteReader& in) noexcept {
    const auto value = in.get<std::uint8_t>();
    if (value > 1) in.fail();
    return value == 1;
}

// A name in a directory.
inline std::string_view get_name(ByteReader& in) noexcept {
    const std::string_view name = as_text(in.sized(kNameSizeMax));
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
        name.find('\0') != std::string_view::npos) {
        in.fail();
    }
    return name;
}

inline void put_digest(ByteWriter& out, const Digest128& digest) {
    out.put(digest.low);
    out.put(digest.high);
}

inline Digest128 get_digest(ByteReader& in) noexcept {
    Digest128 digest;
    digest.low = in.get<std::uint64_t>();
    digest.high = in.get<std::uint64_t>();
    return digest;
}

}  // namespace gemel
