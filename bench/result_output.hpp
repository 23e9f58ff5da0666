// SPDX-License-Identifier: Apache-2.0
// What a measurement has found, on standard output: for programs as JSON, for people as text.
#pragma once

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace gemel::bench {

// `print_text` writes the same for people. Returns the exit status.
inline int print_result(const nlohmann::ordered_json& object, bool as_json,
                        void (*print_text)(const nlohmann::ordered_json&)) {
    if (as_json) {
        fmt::print("{}\n", object.dump());
    } else {
        print_text(object);
    }
    return 0;
}

}  // namespace gemel::bench
