// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace gemel {

// What a node is called unless it is told: gethostname(2); empty when that fails.
std::string host_name();

}  // namespace gemel
