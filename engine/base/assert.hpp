// SPDX-License-Identifier: Apache-2.0
// Assertions of our own invariants, on in every build. A node that stops on one is a single fault,
// which the mirror survives; a node that goes on with a broken invariant may not be.
#pragma once

namespace gemel {

// Prints the condition and its place to standard error and aborts.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace gemel

#define GEMEL_ASSERT(condition)                                        \
    do {                                                               \
        if (!(condition)) [[unlikely]]                                 \
            ::gemel::assertion_failed(#condition, __FILE__, __LINE__); \
    } while (false)
