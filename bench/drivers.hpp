// SPDX-License-Identifier: Apache-2.0
// The benchmarks of the whole are Python (mirror.py, memory.py): they drive two nodes by the same
// lab.py as the tests do. These stand in the source tree or under share/gemel of the installation.
#pragma once

#include <string>
#include <vector>

namespace gemel::bench {

// Becomes the driver bench/NAME.py; the binaries beside this one are what it measures. Returns only
// by throwing.
[[noreturn]] void run_driver(const std::string& name, const std::vector<std::string>& arguments);

}  // namespace gemel::bench
