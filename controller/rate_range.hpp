// SPDX-License-Identifier: Apache-2.0
// The range of a resync's rate as people write and read it: "10MiB..1GiB", bytes a second.
#pragma once

#include "resync/pacer.hpp"

#include <string>
#include <string_view>

namespace gemel {

// "10MiB..1GiB"; either end may be missing, and the highest be "unlimited": "20MiB..", "..1GiB".
// A least rate that is missing is the usual one, or the highest if that is lower. Returns what is
// wrong, as the rest of a sentence ("has to be ..."), and leaves `range` alone then; or nothing.
std::string parse_rate_range(std::string_view text, ResyncRateRange& range);

// "at least 10.0 MiB/s, at most 1.0 GiB/s"
std::string describe_rate_range(const ResyncRateRange& range);

}  // namespace gemel
