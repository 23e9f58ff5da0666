// SPDX-License-Identifier: Apache-2.0
// The daemon's log: lines on standard error, with the priority prefixes of sd-daemon(3) when it is
// the journal that reads them, with time and level for people.
#pragma once

#include "engine/base/log.hpp"

#include <memory>

namespace gemel {

// May be called from any thread.
std::unique_ptr<LogSink> make_stderr_log(bool debug);

}  // namespace gemel
