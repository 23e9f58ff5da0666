// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/store/volume_fixture.hpp"

namespace gemel::volume_test {

std::vector<WorldKind> all_worlds() { return {{"posix", make_posix_world}}; }

}  // namespace gemel::volume_test
