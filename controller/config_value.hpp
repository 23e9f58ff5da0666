// SPDX-License-Identifier: Apache-2.0
// A parsed TOML file as plain values with their places, and what the loading of a configuration
// collects. Internal to the loading (config_*.cpp); what others use is config.hpp.
#pragma once

#include "controller/config.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

struct ConfigPlace {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    friend auto operator<=>(const ConfigPlace&, const ConfigPlace&) = default;
};

struct ConfigEntry;
struct ConfigValue {
    enum class Kind : std::uint8_t { text, number, boolean, date, list, table };
    Kind kind = Kind::table;
    ConfigPlace place;
    std::string text;                  // Kind::text
    std::vector<ConfigValue> items;    // Kind::list
    std::vector<ConfigEntry> entries;  // Kind::table, in the order of the file
};
struct ConfigEntry {
    std::string key;
    ConfigPlace place;  // of the key
    ConfigValue value;
};

// What is known of a file while it is being read: as much of the configuration as made sense,
// where its parts stand, and the mistakes.
struct ConfigDraft {
    Config config;
    std::string file;
    // "mirror.db.directories.0" -> where it stands.
    std::map<std::string, ConfigPlace, std::less<>> places;
    std::vector<ConfigError> errors;

    void error(ConfigPlace place, std::string sentence) {
        errors.push_back({file, place.line, place.column, std::move(sentence)});
    }
    // The place is where `path` stands; none for a path that is not in the file.
    void error_at(std::string_view path, std::string sentence) {
        const auto found = places.find(path);
        error(found == places.end() ? ConfigPlace{} : found->second, std::move(sentence));
    }
};

// TOML 1.0. A file that is none adds one error and gives an empty table.
ConfigValue parse_toml(std::string_view text, ConfigDraft& draft);
// Turns values into config and places: keys, types, ranges.
void read_config(const ConfigValue& root, ConfigDraft& draft);
// What the parts of a configuration demand of each other.
void check_config(ConfigDraft& draft, const ConfigContext& context);

}  // namespace gemel
