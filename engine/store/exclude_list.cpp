// SPDX-License-Identifier: Apache-2.0
// An anchored pattern is a small automaton over the components of a path: bit i of its state says
// that components[i] may match the next name, the bit behind the last that the path so far matches.
#include "engine/store/exclude_list.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/bytes.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

namespace {

constexpr std::string_view kAnyDepth = "**";
constexpr std::size_t kNameSizeMax = 255;
static_assert(ExcludeList::kComponentsMax < 64);

unsigned byte_at(std::string_view text, std::size_t position) noexcept {
    return static_cast<unsigned char>(text[position]);
}

// The end of the set that begins with the bracket at `begin`: behind its closing bracket, or npos.
std::size_t set_end(std::string_view pattern, std::size_t begin) noexcept {
    std::size_t position = begin + 1;
    if (position < pattern.size() && (pattern[position] == '!' || pattern[position] == '^')) {
        ++position;
    }
    for (bool is_first = true; position < pattern.size(); is_first = false) {
        if (pattern[position] == ']' && !is_first) return position + 1;
        position += pattern[position] == '\\' ? 2U : 1U;
    }
    return std::string_view::npos;
}

// One member of a set, a backslash in front taken off.
unsigned set_byte(std::string_view pattern, std::size_t& position) noexcept {
    if (pattern[position] == '\\') ++position;
    return byte_at(pattern, position++);
}

bool set_matches(std::string_view set, unsigned byte) noexcept {
    std::size_t position = 1;
    const bool inverted = set[position] == '!' || set[position] == '^';
    if (inverted) ++position;
    bool found = false;
    while (position < set.size() - 1) {
        const unsigned low = set_byte(set, position);
        unsigned high = low;
        if (position + 2 < set.size() && set[position] == '-') {
            ++position;
            high = set_byte(set, position);
        }
        found = found || (low <= byte && byte <= high);
    }
    return found != inverted;
}

// Whether the pattern's element at `position`, which is no star, matches the byte; moves behind it.
bool element_matches(std::string_view pattern, std::size_t& position, unsigned byte) noexcept {
    const char element = pattern[position];
    if (element == '[') {
        const std::size_t end = set_end(pattern, position);
        GEMEL_ASSERT(end != std::string_view::npos);
        const bool matches = set_matches(pattern.substr(position, end - position), byte);
        position = end;
        return matches;
    }
    if (element == '\\') ++position;
    const bool matches = element == '?' || byte_at(pattern, position) == byte;
    ++position;
    return matches;
}

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> components;
    for (;;) {
        const std::size_t slash = path.find('/');
        components.emplace_back(path.substr(0, slash));
        if (slash == std::string_view::npos) return components;
        path.remove_prefix(slash + 1);
    }
}

// What is wrong with the wildcards of a component; empty when nothing is.
std::string component_mistake(std::string_view component) {
    if (component.empty()) return "has two slashes in a row";
    if (component == "." || component == "..") return "has a '.' or '..' in its path";
    if (component.size() > kNameSizeMax) return "has a part that is longer than any name";
    for (std::size_t position = 0; position < component.size();) {
        if (component[position] == '\0') return "has a zero byte in it";
        if (component[position] == '\\') {
            if (position + 1 == component.size()) return "ends a name with a backslash";
            position += 2;
        } else if (component[position] == '[') {
            const std::size_t end = set_end(component, position);
            if (end == std::string_view::npos) return "has a '[' without its ']'";
            const std::string_view set = component.substr(position, end - position);
            for (const std::string_view special : {"[:", "[.", "[="}) {
                if (set.find(special, 1) == std::string_view::npos) continue;
                return "has a class such as [:alpha:] in it: write the bytes, like [a-zA-Z]";
            }
            position = end;
        } else {
            ++position;
        }
    }
    return {};
}

// Matches every name there can be.
bool is_every_name(std::string_view component) noexcept {
    const auto stars = std::count(component.begin(), component.end(), '*');
    const auto marks = std::count(component.begin(), component.end(), '?');
    return stars > 0 && marks <= 1 && static_cast<std::size_t>(stars + marks) == component.size();
}

}  // namespace

bool matches_name(std::string_view pattern, std::string_view name) noexcept {
    std::size_t position = 0, done = 0;
    // Where to go on when what follows the last star does not match: the star takes a byte more.
    std::size_t behind_star = std::string_view::npos, star_done = 0;
    while (done < name.size() || position < pattern.size()) {
        if (position < pattern.size() && pattern[position] == '*') {
            behind_star = ++position;
            star_done = done;
            continue;
        }
        if (position < pattern.size() && done < name.size() &&
            element_matches(pattern, position, byte_at(name, done))) {
            ++done;
            continue;
        }
        if (behind_star == std::string_view::npos || star_done >= name.size()) return false;
        position = behind_star;
        done = ++star_done;
    }
    return true;
}

std::string ExcludeList::add(std::string_view text) {
    if (texts_.size() >= kPatternsMax) return "is one pattern too many";
    if (text.empty()) return "is no pattern";
    if (text.starts_with('!')) {
        return "would take something back in, which a list of exclusions cannot; write '\\!' for a "
               "name that begins with '!'";
    }
    Pattern pattern;
    std::string_view path = text;
    if (path.ends_with('/')) {
        pattern.directories_only = true;
        path.remove_suffix(1);
    }
    const bool is_anchored = path.find('/') != std::string_view::npos;
    if (path.starts_with('/')) path.remove_prefix(1);
    if (path.empty()) return "would exclude the volume's root";
    pattern.components = split(path);
    for (const std::string& component : pattern.components) {
        if (std::string mistake = component_mistake(component); !mistake.empty()) return mistake;
    }
    std::vector<std::string>& components = pattern.components;
    const auto is_any_depth = [](const std::string& component) { return component == kAnyDepth; };
    // In a row they mean no more than one.
    components.erase(std::unique(components.begin(), components.end(),
                                 [&](const std::string& a, const std::string& b) {
                                     return is_any_depth(a) && is_any_depth(b);
                                 }),
                     components.end());
    const bool is_deep = components.size() > 1 && is_any_depth(components.front());
    if (components.size() == (is_deep ? 2U : 1U) && is_every_name(components.back()) &&
        !pattern.directories_only) {
        return "would exclude everything";
    }
    if (components.size() > kComponentsMax) return "has too many parts";
    texts_.emplace_back(text);
    if (is_deep && components.size() == 2) components.erase(components.begin());
    const bool floats =
        components.size() == 1 && (is_deep || !is_anchored) && !is_any_depth(components.front());
    (floats ? floating_ : anchored_).push_back(std::move(pattern));
    return {};
}

bool ExcludeList::tells_types() const noexcept {
    const auto one = [](const Pattern& pattern) { return pattern.directories_only; };
    return std::any_of(floating_.begin(), floating_.end(), one) ||
           std::any_of(anchored_.begin(), anchored_.end(), one);
}

// `**` may stand for nothing, but for at least one component at the end of a pattern.
std::uint64_t ExcludeList::closure(const Pattern& pattern, std::uint64_t state) {
    for (std::size_t i = 0; i + 1 < pattern.components.size(); ++i) {
        if (((state >> i) & 1) != 0 && pattern.components[i] == kAnyDepth) {
            state |= std::uint64_t{1} << (i + 1);
        }
    }
    return state;
}

std::uint64_t ExcludeList::step(const Pattern& pattern, std::uint64_t state,
                                std::string_view name) {
    std::uint64_t next = 0;
    for (std::size_t i = 0; i < pattern.components.size(); ++i) {
        if (((state >> i) & 1) == 0) continue;
        const std::uint64_t behind = std::uint64_t{1} << (i + 1);
        if (pattern.components[i] == kAnyDepth) {
            next |= (std::uint64_t{1} << i) | behind;
        } else if (matches_name(pattern.components[i], name)) {
            next |= behind;
        }
    }
    return closure(pattern, next);
}

ExcludeList::Place ExcludeList::root() const {
    Place place;
    for (const Pattern& pattern : anchored_) place.push_back(closure(pattern, 1));
    return place;
}

ExcludeList::Place ExcludeList::below(const Place& place, std::string_view name) const {
    GEMEL_ASSERT(place.size() == anchored_.size());
    Place next;
    for (std::size_t i = 0; i < anchored_.size(); ++i) {
        const Pattern& pattern = anchored_[i];
        // The bit of a full match means nothing for what lies below.
        const std::uint64_t all = (std::uint64_t{1} << pattern.components.size()) - 1;
        next.push_back(step(pattern, place[i], name) & all);
    }
    return next;
}

bool ExcludeList::excludes(const Place& place, std::string_view name,
                           bool is_directory) const noexcept {
    for (const Pattern& pattern : floating_) {
        if (pattern.directories_only && !is_directory) continue;
        if (matches_name(pattern.components.front(), name)) return true;
    }
    GEMEL_ASSERT(place.size() == anchored_.size());
    for (std::size_t i = 0; i < anchored_.size(); ++i) {
        const Pattern& pattern = anchored_[i];
        if (pattern.directories_only && !is_directory) continue;
        if (((step(pattern, place[i], name) >> pattern.components.size()) & 1) != 0) return true;
    }
    return false;
}

Digest128 ExcludeList::digest() const {
    if (texts_.empty()) return {};
    ByteBuffer buffer;
    ByteWriter writer(buffer);
    for (const std::string& text : texts_) writer.sized(text);
    return digest128(buffer);
}

}  // namespace gemel
