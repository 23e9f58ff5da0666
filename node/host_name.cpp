// SPDX-License-Identifier: Apache-2.0
#include "node/host_name.hpp"

#include <array>
#include <unistd.h>

namespace gemel {

std::string host_name() {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0) return {};
    return name.data();
}

}  // namespace gemel
