// SPDX-License-Identifier: Apache-2.0
// A cluster given as values becomes the text of a gemel.toml, so that it is read and checked by the
// one code there is for that.
#pragma once

#include <gemel/node.hpp>
#include <string>

namespace gemel {

std::string cluster_text(const libgemel::ClusterOptions& cluster);

}  // namespace gemel
