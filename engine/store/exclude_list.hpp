// SPDX-License-Identifier: Apache-2.0
// The `exclude` patterns of a mirror: which names are kept per node (docs/exclude.md).
//
// A pattern is a list of components between slashes. With a slash in front or in its middle it is
// anchored at the volume's root, else it is about names at any depth; with a slash at its end it is
// about directories only. `*`, `?` and `[...]` stand for bytes of one component, whatever the
// locale, dots in front included; the component `**` for any number of components. What lies below
// an excluded directory is excluded.
//
// Whether a name is excluded depends on nothing but its path: a Place is what has to be known of
// the directory that it stands in. Two directories of equal place exclude the same names below
// them.
#pragma once

#include "engine/base/checksum.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

class ExcludeList {
   public:
    static constexpr std::size_t kPatternsMax = 256;
    static constexpr std::size_t kComponentsMax = 60;

    // Of a directory that is not excluded itself: for each anchored pattern, which of its
    // components may come next, a bit each. Empty where no pattern is anchored.
    using Place = std::vector<std::uint64_t>;

    // Nothing is excluded.
    ExcludeList() = default;
    // Adds a pattern. Returns what is wrong with it, to be read behind its text ("has ..."), and
    // leaves the list as it was; empty when nothing is.
    std::string add(std::string_view pattern);

    [[nodiscard]] bool empty() const noexcept { return floating_.empty() && anchored_.empty(); }
    // Every directory has the same place.
    [[nodiscard]] bool is_placeless() const noexcept { return anchored_.empty(); }
    // Some pattern is about directories only: of one name a directory may be excluded, and another
    // object not.
    [[nodiscard]] bool tells_types() const noexcept;
    [[nodiscard]] Place root() const;
    // Of the directory `name` in a directory of this place. Requires: it is not excluded.
    [[nodiscard]] Place below(const Place& place, std::string_view name) const;
    [[nodiscard]] bool excludes(const Place& place, std::string_view name,
                                bool is_directory) const noexcept;
    // Equal for equal lists of patterns in the same order; all zeros for none.
    [[nodiscard]] Digest128 digest() const;

   private:
    struct Pattern {
        std::vector<std::string> components;  // never empty; not "**" for a floating one
        bool directories_only = false;
    };

    [[nodiscard]] static std::uint64_t closure(const Pattern& pattern, std::uint64_t state);
    [[nodiscard]] static std::uint64_t step(const Pattern& pattern, std::uint64_t state,
                                            std::string_view name);

    std::vector<Pattern> floating_;  // one component each, at any depth
    std::vector<Pattern> anchored_;
    std::vector<std::string> texts_;
};

// Whether a pattern of one component matches the whole name. Requires: the pattern is valid.
[[nodiscard]] bool matches_name(std::string_view pattern, std::string_view name) noexcept;

}  // namespace gemel
