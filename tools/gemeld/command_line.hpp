// SPDX-License-Identifier: Apache-2.0
// gemeld's command line (product contract: gemeld(8)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gemel {

enum class DaemonMode : unsigned char { node, witness, guard };

struct DaemonOptions {
    DaemonMode mode = DaemonMode::node;
    std::string config_file;
    std::string node;  // the host's name by default
    std::string state_directory;
    std::string run_directory;
    std::int64_t spin_us = 600;  // a sync of a disk and a bit; 0: sleep at once
    bool debug = false;
};

// None: `exit_status` is what to leave with (0 after --help, 2 for wrong usage); all has been said.
std::optional<DaemonOptions> parse_command_line(int argc, char** argv, int& exit_status);

}  // namespace gemel
