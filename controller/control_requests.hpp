// SPDX-License-Identifier: Apache-2.0
// What the routes of the control socket mean (control_server.hpp lists them), apart from HTTP.
#pragma once

#include "controller/control_server.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace gemel {

struct ControlRequest {
    enum class Kind : std::uint8_t { status, events, command } kind = Kind::status;
    ControlCommand command;  // its mirror for status, too; empty: all
    std::uint64_t since = 0;
    unsigned wait_s = 0;
};

// Understands a request. Gives the reply when there is nothing to ask the daemon for: a mistake, or
// a question that needs no daemon; else fills `request`. `argument` gives a value of the query, or
// empty.
std::optional<ControlReply> parse_control_request(
    std::string_view method, std::string_view path, std::string_view body,
    const std::function<std::string(const char*)>& argument, ControlRequest& request);

}  // namespace gemel
