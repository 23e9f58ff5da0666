// SPDX-License-Identifier: Apache-2.0
// Where the engine says what happened. The program gives a sink at start (tools use spdlog, the
// simulation keeps a trace with simulated times); nothing below the tools chooses a destination.
#pragma once

#include <cstdint>
#include <string_view>

namespace gemel {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

// May be called from any thread unless the implementation says otherwise.
class LogSink {
   public:
    virtual ~LogSink() = default;
    // `text` is one line without its newline; not kept after the call.
    virtual void log(LogLevel level, std::string_view text) noexcept = 0;
};

}  // namespace gemel
