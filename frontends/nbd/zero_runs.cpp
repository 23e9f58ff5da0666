// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/zero_runs.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>
#include <cstring>

namespace gemel::nbd {
namespace {

// Looked at as a whole; runs begin and end at its multiples, so a few zeros amid data cost nothing.
constexpr std::size_t kStep = 4096;
static_assert(kZeroRunMin % kStep == 0);

bool is_zero(Bytes data) noexcept {
    // Each byte equals the one before it, and the first is zero.
    return data[0] == std::byte{0} &&
           std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

std::size_t zeros_at_front(Bytes data) noexcept {
    std::size_t size = 0;
    while (size < data.size() && is_zero(data.subspan(size, std::min(kStep, data.size() - size)))) {
        size = std::min(size + kStep, data.size());
    }
    return size;
}

}  // namespace

ContentRun front_run(Bytes data) noexcept {
    GEMEL_ASSERT(!data.empty());
    std::size_t position = 0;
    while (position < data.size()) {
        const std::size_t zeros = zeros_at_front(data.subspan(position));
        if (zeros >= kZeroRunMin || zeros == data.size()) {
            return position == 0 ? ContentRun{zeros, true} : ContentRun{position, false};
        }
        position = std::min(position + zeros + kStep, data.size());
    }
    return {data.size(), false};
}

}  // namespace gemel::nbd
