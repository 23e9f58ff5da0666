// SPDX-License-Identifier: Apache-2.0
// The JSON of the control socket's status answers (controller/status_model.hpp), both ways.
#pragma once

#include "controller/status_model.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

// One JSON object in one line.
std::string to_json(const NodeStatus& status);

// Reads what to_json wrote, of this or a later version: unknown keys are ignored. None when a key
// of the contract is missing or of another type.
std::optional<NodeStatus> parse_node_status(std::string_view json);

// The answer of GET /v1/mirrors/MIRROR/verify: the object of status' `verify`, and `differences` of
// the run under way or the last one; and back, none as above.
std::string to_json(const VerifyStatus& verify, const std::vector<VerifyFinding>& findings);
struct VerifyFindings {
    VerifyStatus status;
    std::vector<VerifyFinding> findings;
};
std::optional<VerifyFindings> parse_verify_report(std::string_view json);

// "2026-11-22T10:49:59.125Z"; and back, none for anything else.
std::string format_wall_time(WallTime time);
std::optional<WallTime> parse_wall_time(std::string_view text);

}  // namespace gemel
