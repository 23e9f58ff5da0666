// SPDX-License-Identifier: Apache-2.0
#include "controller/config_reader.hpp"

#include "controller/config_suggest.hpp"
#include "controller/duration.hpp"

#include <algorithm>
#include <utility>

namespace gemel {
namespace {

std::string_view kind_name(ConfigValue::Kind kind) {
    switch (kind) {
        case ConfigValue::Kind::text:
            return "a text";
        case ConfigValue::Kind::number:
            return "a number";
        case ConfigValue::Kind::boolean:
            return "true or false";
        case ConfigValue::Kind::date:
            return "a date or time";
        case ConfigValue::Kind::list:
            return "a list";
        case ConfigValue::Kind::table:
            return "a table";
    }
    return "something else";
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

constexpr const char* kAddressExpected =
    " has to be a numeric address with a port, like \"10.0.0.1:7800\" or \"[fd00::1]:7800\", not ";

constexpr const char* kIpExpected =
    " has to be a numeric address, like \"10.0.0.254\" or \"fd00::fe\", not ";

bool is_unspecified(const SocketAddress& address) {
    return std::all_of(address.ip.begin(), address.ip.end(),
                       [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace

ConfigReader::ConfigReader(ConfigDraft& draft, const ConfigValue& table, std::string path,
                           ConfigPlace place)
    : draft_(draft), table_(table), path_(std::move(path)), place_(place) {}

ConfigReader::~ConfigReader() {
    for (const ConfigEntry& entry : table_.entries) {
        if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
        draft_.error(entry.place, "unknown key " + name(entry.key) + suggestion(entry.key, known_));
    }
}

std::string ConfigReader::name(std::string_view key) const {
    return path_.empty() ? quoted(key) : quoted(key) + " in " + title();
}

const ConfigEntry* ConfigReader::find(std::string_view key) const {
    const auto found = std::find_if(table_.entries.begin(), table_.entries.end(),
                                    [&](const ConfigEntry& entry) { return entry.key == key; });
    return found == table_.entries.end() ? nullptr : &*found;
}

const ConfigEntry* ConfigReader::take(std::string_view key) {
    known_.push_back(key);
    const ConfigEntry* entry = find(key);
    if (entry == nullptr) return nullptr;
    const std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
    draft_.places[path] = entry->value.place;
    return entry;
}

const ConfigValue* ConfigReader::take(std::string_view key, ConfigValue::Kind kind,
                                      std::string_view expected) {
    const ConfigEntry* entry = take(key);
    if (entry == nullptr) return nullptr;
    if (entry->value.kind == kind) return &entry->value;
    error(key, name(key) + " has to be " + std::string(expected) + ", not " +
                   std::string(kind_name(entry->value.kind)));
    return nullptr;
}

void ConfigReader::error(std::string_view key, std::string sentence) {
    for (const ConfigEntry& entry : table_.entries) {
        if (entry.key == key) return draft_.error(entry.value.place, std::move(sentence));
    }
    draft_.error(place_, std::move(sentence));
}

bool ConfigReader::has(std::string_view key) const { return find(key) != nullptr; }

void ConfigReader::require(std::string_view key) {
    if (!has(key)) draft_.error(place_, title() + " lacks " + quoted(key));
}

std::optional<std::string> ConfigReader::text(std::string_view key) {
    const ConfigValue* value = take(key, ConfigValue::Kind::text, "a text");
    if (value == nullptr) return std::nullopt;
    if (value->text.empty()) {
        error(key, name(key) + " is empty");
        return std::nullopt;
    }
    if (value->text.find('\0') != std::string::npos) {
        error(key, name(key) + " contains a NUL character");
        return std::nullopt;
    }
    return value->text;
}

std::optional<Duration> ConfigReader::time(std::string_view key, Duration min, Duration max) {
    constexpr std::string_view kExpected = "a time like \"500ms\", \"10s\" or \"2min\"";
    const ConfigValue* value = take(key, ConfigValue::Kind::text, kExpected);
    if (value == nullptr) return std::nullopt;
    const std::optional<Duration> duration = parse_duration(value->text);
    if (!duration) {
        error(key,
              name(key) + " has to be " + std::string(kExpected) + ", not " + quoted(value->text));
        return std::nullopt;
    }
    if (*duration < min || *duration > max) {
        error(key, name(key) + " has to lie between " + format_duration(min) + " and " +
                       format_duration(max));
        return std::nullopt;
    }
    return duration;
}

std::optional<std::uint64_t> ConfigReader::size(std::string_view key) {
    constexpr std::string_view kExpected = "a size like \"64KiB\", \"500MiB\" or \"20GiB\"";
    const ConfigValue* value = take(key, ConfigValue::Kind::text, kExpected);
    if (value == nullptr) return std::nullopt;
    const std::optional<std::uint64_t> bytes = parse_size(value->text);
    if (!bytes) {
        error(key,
              name(key) + " has to be " + std::string(kExpected) + ", not " + quoted(value->text));
    }
    return bytes;
}

std::optional<std::size_t> ConfigReader::choice(std::string_view key,
                                                std::span<const std::string_view> choices) {
    std::string list;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        if (i != 0) list += i + 1 == choices.size() ? " or " : ", ";
        list += quoted(choices[i]);
    }
    const ConfigValue* value = take(key, ConfigValue::Kind::text, list);
    if (value == nullptr) return std::nullopt;
    const auto found = std::find(choices.begin(), choices.end(), value->text);
    if (found != choices.end()) return static_cast<std::size_t>(found - choices.begin());
    error(key, name(key) + " has to be " + list + ", not " + quoted(value->text) +
                   suggestion(value->text, choices));
    return std::nullopt;
}

std::optional<SocketAddress> ConfigReader::address(std::string_view key) {
    const std::optional<std::string> value = text(key);
    if (!value) return std::nullopt;
    std::optional<SocketAddress> address = parse_address(*value);
    if (!address) error(key, name(key) + kAddressExpected + quoted(*value));
    return address;
}

std::vector<SocketAddress> ConfigReader::addresses(std::string_view key, Port port) {
    std::vector<SocketAddress> result;
    const auto parse = [port](std::string_view text) {
        return port == Port::needed ? parse_address(text) : parse_ip(text);
    };
    const char* expected = port == Port::needed ? kAddressExpected : kIpExpected;
    const ConfigEntry* entry = find(key);
    if (entry == nullptr || entry->value.kind != ConfigValue::Kind::list) {
        const std::optional<std::string> value = text(key);
        if (!value) return result;
        if (const auto one = parse(*value)) return {*one};
        error(key, name(key) + expected + quoted(*value));
        return result;
    }
    const std::vector<std::string> items = texts(key);
    if (entry->value.items.empty()) error(key, name(key) + " is empty");
    for (std::size_t i = 0; i < items.size(); ++i) {
        const std::string place = path_ + "." + std::string(key) + "." + std::to_string(i);
        const std::optional<SocketAddress> one = parse(items[i]);
        if (!one) {
            draft_.error_at(place, name(key) + expected + quoted(items[i]));
        } else if (std::find(result.begin(), result.end(), *one) != result.end()) {
            draft_.error_at(place, name(key) + " names " + quoted(items[i]) + " twice");
        } else {
            result.push_back(*one);
        }
    }
    return result;
}

std::vector<std::string> ConfigReader::texts(std::string_view key) {
    std::vector<std::string> result;
    const ConfigValue* list = take(key, ConfigValue::Kind::list, "a list of texts");
    if (list == nullptr) return result;
    for (const ConfigValue& item : list->items) {
        if (item.kind != ConfigValue::Kind::text) {
            draft_.error(item.place, name(key) + " has to be a list of texts, not of " +
                                         std::string(kind_name(item.kind)));
        } else if (item.text.empty() || item.text.find('\0') != std::string::npos) {
            draft_.error(item.place, name(key) + " has an empty text or one with a NUL in it");
        } else {
            draft_.places[path_ + "." + std::string(key) + "." + std::to_string(result.size())] =
                item.place;
            result.push_back(item.text);
        }
    }
    return result;
}

const ConfigValue* ConfigReader::tables(std::string_view key, std::string_view what) {
    return take(key, ConfigValue::Kind::table, what);
}

const ConfigValue* ConfigReader::table_list(std::string_view key) {
    const std::string expected =
        "a list of tables, each under [[" + path_ + "." + std::string(key) + "]]";
    const ConfigValue* list = take(key, ConfigValue::Kind::list, expected);
    if (list == nullptr) return nullptr;
    for (const ConfigValue& item : list->items) {
        if (item.kind == ConfigValue::Kind::table) continue;
        draft_.error(item.place, name(key) + " has to be " + expected);
        return nullptr;
    }
    return list;
}

std::optional<SocketAddress> parse_ip(std::string_view text) {
    const bool is_v6 = text.find(':') != std::string_view::npos;
    const std::string with_port = (is_v6 ? "[" : "") + std::string(text) + (is_v6 ? "]:1" : ":1");
    Result<SocketAddress> address = SocketAddress::parse(with_port);
    if (!address.ok() || is_unspecified(address.value())) return std::nullopt;
    address->port = 0;
    return std::move(address).value();
}

std::optional<SocketAddress> parse_address(std::string_view text) {
    Result<SocketAddress> address = SocketAddress::parse(text);
    if (!address.ok() || address->port == 0 || is_unspecified(address.value())) {
        return std::nullopt;
    }
    return std::move(address).value();
}

}  // namespace gemel
