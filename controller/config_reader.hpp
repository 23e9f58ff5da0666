// SPDX-License-Identifier: Apache-2.0
// Takes the keys of one table of the configuration one after the other, and reports what is
// missing, unknown, of a wrong type or out of range. Internal to config_*.cpp.
#pragma once

#include "controller/config_value.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

class ConfigReader {
   public:
    // `path`: "mirror.db"; titles "[mirror.db]" and places "mirror.db.KEY" are made of it. `place`
    // is where a missing key is reported.
    // Requires: all references outlive it.
    ConfigReader(ConfigDraft& draft, const ConfigValue& table, std::string path, ConfigPlace place);
    // Reports keys that nobody asked for.
    ~ConfigReader();
    ConfigReader(const ConfigReader&) = delete;
    ConfigReader& operator=(const ConfigReader&) = delete;

    // Each gives nothing when the key is absent or wrong; what is wrong has been reported.
    std::optional<std::string> text(std::string_view key);
    std::optional<Duration> time(std::string_view key, Duration min, Duration max);
    std::optional<std::uint64_t> size(std::string_view key);
    // The index of the text among `choices`.
    std::optional<std::size_t> choice(std::string_view key,
                                      std::span<const std::string_view> choices);
    std::optional<SocketAddress> address(std::string_view key);
    // One address, or a list of them; with a port each, or without: then their port is 0.
    enum class Port : std::uint8_t { needed, none };
    std::vector<SocketAddress> addresses(std::string_view key, Port port);
    // Texts that are not empty; places are noted as "PATH.KEY.INDEX".
    std::vector<std::string> texts(std::string_view key);
    // A key that holds tables: {"a" = table, ...}. `what` names one: "a table for each node".
    const ConfigValue* tables(std::string_view key, std::string_view what);
    // A list of tables.
    const ConfigValue* table_list(std::string_view key);

    void require(std::string_view key);
    [[nodiscard]] bool has(std::string_view key) const;
    // At the value of `key`.
    void error(std::string_view key, std::string sentence);
    // "'key' in [path]"
    [[nodiscard]] std::string name(std::string_view key) const;
    [[nodiscard]] std::string title() const { return "[" + path_ + "]"; }

   private:
    // Null when the key is absent.
    [[nodiscard]] const ConfigEntry* find(std::string_view key) const;
    // Marks the key as known; notes its place.
    const ConfigEntry* take(std::string_view key);
    const ConfigValue* take(std::string_view key, ConfigValue::Kind kind,
                            std::string_view expected);

    ConfigDraft& draft_;
    const ConfigValue& table_;
    std::string path_;
    ConfigPlace place_;
    std::vector<std::string_view> known_;
};

// A numeric address that one can connect to, without a port.
std::optional<SocketAddress> parse_ip(std::string_view text);
// Port and a numeric address that one can connect to.
std::optional<SocketAddress> parse_address(std::string_view text);

}  // namespace gemel
