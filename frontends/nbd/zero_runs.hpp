// SPDX-License-Identifier: Apache-2.0
// Where content that was read is zeros for long enough to say so instead of sending them.
#pragma once

#include "engine/base/bytes.hpp"

#include <cstdint>

namespace gemel::nbd {

struct ContentRun {
    std::size_t size = 0;
    bool is_zero = false;
};

// The run at the front of `data`: zeros of at least kZeroRunMin bytes (or all of `data`), or what
// lies before the next such zeros. Requires: `data` is not empty.
inline constexpr std::size_t kZeroRunMin = 32 * 1024;
ContentRun front_run(Bytes data) noexcept;

}  // namespace gemel::nbd
