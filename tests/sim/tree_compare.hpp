// SPDX-License-Identifier: Apache-2.0
// Compares two directories of simulated file systems wholly: names, types, content, holes, links,
// owners, modes, modification times, attributes. What gemel keeps for itself is left out.
#pragma once

#include "engine/io/sim/file_system.hpp"

#include <string>
#include <vector>

namespace gemel::sim {

// Sentences, one a difference, at most `count_max`; none: the trees are equal.
std::vector<std::string> compare_trees(FileSystem& left, std::string_view left_path,
                                       FileSystem& right, std::string_view right_path,
                                       std::size_t count_max = 20);

}  // namespace gemel::sim
