// SPDX-License-Identifier: Apache-2.0
// A node's mirrors as a person reads them: one table, and below it what needs more words.
#pragma once

#include "controller/status_model.hpp"

#include <string>
#include <vector>

namespace gemel {

struct StatusTextOptions {
    bool colour = false;  // ANSI escape sequences, for terminals only
    WallTime now;         // ages are shown relative to it
};

// Ends with a line end. Texts from elsewhere (reasons, paths) are shown without control characters.
std::string status_text(const NodeStatus& status, const StatusTextOptions& options);

// What a verify has found, an object a line, and how it ended, which is the last line.
std::string verify_text(const VerifyResult& result, const std::vector<VerifyFinding>& findings,
                        const std::string& node, const std::string& peer);
// How far it has come, in one line without an end.
std::string verify_progress(const VerifyRunning& running);

// What promoting this node may lose, as sentences for the person who has to decide.
std::string promote_warning(const std::string& node, const MirrorStatus& mirror);

// "[######..............]" with `width` places; full only when all is done.
std::string progress_bar(std::uint64_t done, std::uint64_t total, unsigned width);

// The text with every control character replaced by '?'.
std::string printable(std::string_view text);

}  // namespace gemel
