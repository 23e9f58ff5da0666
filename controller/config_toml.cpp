// SPDX-License-Identifier: Apache-2.0
// The only file that knows toml++: its header takes longer to compile than the rest of the folder.
#include "controller/config_value.hpp"

#include <toml++/toml.h>

#include <algorithm>

namespace gemel {
namespace {

ConfigPlace place_of(const toml::source_region& region) {
    return {region.begin.line, region.begin.column};
}

ConfigValue value_of(const toml::node& node);

ConfigValue table_of(const toml::table& table) {
    ConfigValue value;
    for (const auto& [key, child] : table) {
        value.entries.push_back({std::string(key.str()), place_of(key.source()), value_of(child)});
    }
    // toml++ keeps tables sorted by key.
    std::stable_sort(value.entries.begin(), value.entries.end(),
                     [](const ConfigEntry& a, const ConfigEntry& b) { return a.place < b.place; });
    return value;
}

ConfigValue value_of(const toml::node& node) {
    ConfigValue value;
    using Kind = ConfigValue::Kind;
    if (const toml::table* table = node.as_table()) {
        value = table_of(*table);
    } else if (const toml::array* array = node.as_array()) {
        value.kind = Kind::list;
        for (const toml::node& item : *array) value.items.push_back(value_of(item));
    } else if (const auto* text = node.as_string()) {
        value.kind = Kind::text;
        value.text = text->get();
    } else if (node.is_number()) {
        value.kind = Kind::number;
    } else if (node.is_boolean()) {
        value.kind = Kind::boolean;
    } else {
        value.kind = Kind::date;
    }
    value.place = place_of(node.source());
    return value;
}

}  // namespace

ConfigValue parse_toml(std::string_view text, ConfigDraft& draft) {
    try {
        return table_of(toml::parse(text, draft.file));
    } catch (const toml::parse_error& error) {
        std::string sentence(error.description());
        std::replace(sentence.begin(), sentence.end(), '\n', ' ');
        draft.error(place_of(error.source()), std::move(sentence));
        return {};
    }
}

}  // namespace gemel
