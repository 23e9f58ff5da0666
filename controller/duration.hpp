// SPDX-License-Identifier: Apache-2.0
// Times and sizes as people write and read them: "100ms", "1.5s", "2min"; "64KiB", "20GiB".
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gemel {

// A number, with decimals if you like, and ms, s or min behind it. None for anything else, for
// negative times and for more than a hundred years.
std::optional<Duration> parse_duration(std::string_view text);
// The shortest exact form that parse_duration reads: "1500ms", "90s", "2min".
std::string format_duration(Duration duration);

// How often: "daily", "weekly", "monthly" (30 days), or a number and s, min, h or d; "off" is 0.
// None for anything else, for less than a second and more than a hundred years.
std::optional<Duration> parse_period(std::string_view text);

// A number, with decimals if you like, and KiB, MiB, GiB or TiB behind it, as bytes.
std::optional<std::uint64_t> parse_size(std::string_view text);

// For people, rounded: "0 B", "812 B", "1.2 GiB"; "5 s", "2 min 10 s", "3 h 4 min", "12 d 3 h".
std::string format_size(std::uint64_t bytes);
std::string format_age(std::uint64_t seconds);

}  // namespace gemel
