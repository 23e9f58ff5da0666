// SPDX-License-Identifier: Apache-2.0
// Names of nodes, mirrors and clusters as others send them: safe to print and to compare.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace gemel {

// 1 to `size_max` of letters, digits, '.', '_', '-'.
[[nodiscard]] inline bool is_plain_name(std::string_view name, std::size_t size_max) noexcept {
    if (name.empty() || name.size() > size_max) return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    });
}

}  // namespace gemel
