// SPDX-License-Identifier: Apache-2.0
// "did you mean ...?" for words of which there is a known list.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace gemel {

// How many letters have to be inserted, removed, replaced or swapped with their neighbour to turn
// one word into the other (optimal string alignment, a restricted Damerau-Levenshtein distance).
std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of the known words, or empty when none is near: more than a third of the letters
// would have to change. The first of equally near ones.
std::string_view suggest(std::string_view word, std::span<const std::string_view> known);

// "; did you mean 'x'?", or empty.
std::string suggestion(std::string_view word, std::span<const std::string_view> known);

}  // namespace gemel
