// SPDX-License-Identifier: Apache-2.0
// Compares two directories of simulated file systems wholly: names, types, content, holes, links,
// owners, modes, modification times, attributes. What gemel keeps for itself is left out.
#pragma once

#include "engine/io/sim/file_system.hpp"
#include "engine/store/exclude_list.hpp"

#include <string>
#include <vector>

namespace gemel::sim {

// Sentences, one a difference, at most `count_max`; none: the trees are equal. Names that `exclude`
// keeps per node are left out. Requires: its patterns are about names at any depth.
std::vector<std::string> compare_trees(FileSystem& left, std::string_view left_path,
                                       FileSystem& right, std::string_view right_path,
                                       const ExcludeList& exclude = {}, std::size_t count_max = 20);

}  // namespace gemel::sim
