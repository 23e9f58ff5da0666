// SPDX-License-Identifier: Apache-2.0
// What the line-driven examples share: a node from the command line, and one answer to each line of
// standard input, while this node serves.
#pragma once

#include <functional>
#include <gemel/node.hpp>
#include <string>

namespace examples {

// What a program does with the volume.
struct Shell {
    // This node serves since the last call: what is known of the volume is void. "" or why not.
    std::function<std::string(libgemel::Volume&)> open;
    // Answers a line, with one line or more. `lost`: the volume could not be used; it is opened
    // again before the next line.
    std::function<std::string(const std::string& line, bool& lost)> answer;
    // The volume is not used any more.
    std::function<void()> close;
};

// main() of `NAME CONFIG NODE STATE-DIRECTORY RUN-DIRECTORY`: the first volume of the first mirror.
// Ends at the end of standard input; returns the exit status.
int run_shell(int argc, char** argv, const Shell& shell);

}  // namespace examples
