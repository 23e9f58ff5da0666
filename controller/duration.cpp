// SPDX-License-Identifier: Apache-2.0
#include "controller/duration.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace gemel {
namespace {

struct Unit {
    std::string_view name;
    double factor;
};
constexpr std::array kTimeUnits{Unit{"ms", 1e6}, Unit{"s", 1e9}, Unit{"min", 60e9}};
constexpr std::array kSizeUnits{Unit{"KiB", 1024.0}, Unit{"MiB", 1048576.0},
                                Unit{"GiB", 1073741824.0}, Unit{"TiB", 1099511627776.0}};
// Below 2^62, so that a rounded double fits either integer; a hundred years are 3.2e18 ns.
constexpr double kLargest = 4.6e18;
constexpr double kLongestNs = 3.2e18;

template <std::size_t N>
std::optional<double> parse_quantity(std::string_view text, const std::array<Unit, N>& units,
                                     double largest) {
    double number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc() || text.front() == '-' || !std::isfinite(number)) return std::nullopt;
    std::string_view name(rest, static_cast<std::size_t>(end - rest));
    if (name.starts_with(' ')) name.remove_prefix(1);
    for (const Unit& unit : units) {
        if (unit.name == name && number * unit.factor <= largest) return number * unit.factor;
    }
    return std::nullopt;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
    const std::optional<double> ns = parse_quantity(text, kTimeUnits, kLongestNs);
    if (!ns) return std::nullopt;
    return Duration{std::llround(*ns)};
}

std::optional<Duration> parse_period(std::string_view text) {
    constexpr std::array kUnits{Unit{"s", 1e9}, Unit{"min", 60e9}, Unit{"h", 3600e9},
                                Unit{"d", 86400e9}};
    constexpr std::int64_t kDay = 86'400;
    if (text == "off") return Duration{};
    if (text == "daily") return Duration::seconds(kDay);
    if (text == "weekly") return Duration::seconds(7 * kDay);
    if (text == "monthly") return Duration::seconds(30 * kDay);
    const std::optional<double> ns = parse_quantity(text, kUnits, kLongestNs);
    if (!ns || *ns < 1e9) return std::nullopt;
    return Duration{std::llround(*ns)};
}

std::string format_duration(Duration duration) {
    const std::int64_t ms = duration.ns / 1'000'000;
    if (ms != 0 && ms % 60'000 == 0) return std::to_string(ms / 60'000) + "min";
    if (ms % 1'000 == 0) return std::to_string(ms / 1'000) + "s";
    return std::to_string(ms) + "ms";
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    const std::optional<double> bytes = parse_quantity(text, kSizeUnits, kLargest);
    if (!bytes) return std::nullopt;
    return static_cast<std::uint64_t>(std::llround(*bytes));
}

std::string format_size(std::uint64_t bytes) {
    if (bytes < 1024) return std::to_string(bytes) + " B";
    constexpr std::array kNames{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would be printed as 1024.0.
    for (; value >= 1023.95 && unit + 1 < kNames.size(); ++unit) value /= 1024;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f %s", value, kNames[unit]);
    return text.data();
}

std::string format_age(std::uint64_t seconds) {
    const auto two = [](std::uint64_t a, const char* a_unit, std::uint64_t b, const char* b_unit) {
        std::string text = std::to_string(a) + a_unit;
        if (b != 0) text += " " + std::to_string(b) + b_unit;
        return text;
    };
    if (seconds < 60) return std::to_string(seconds) + " s";
    if (seconds < 3600) return two(seconds / 60, " min", seconds % 60, " s");
    if (seconds < 86400) return two(seconds / 3600, " h", seconds % 3600 / 60, " min");
    return two(seconds / 86400, " d", seconds % 86400 / 3600, " h");
}

}  // namespace gemel
