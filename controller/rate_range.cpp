// SPDX-License-Identifier: Apache-2.0
#include "controller/rate_range.hpp"

#include "controller/duration.hpp"

#include <algorithm>
#include <optional>

namespace gemel {
namespace {

constexpr std::string_view kUnlimitedName = "unlimited";

std::string_view trimmed(std::string_view text) {
    while (text.starts_with(' ')) text.remove_prefix(1);
    while (text.ends_with(' ')) text.remove_suffix(1);
    return text;
}

}  // namespace

std::string parse_rate_range(std::string_view text, ResyncRateRange& range) {
    constexpr std::string_view kDots = "..";
    const std::string mistake =
        "has to be a range of sizes a second like \"10MiB..1GiB\", \"20MiB..\" or \"..1GiB\", not "
        "'" +
        std::string(text) + "'";
    const std::size_t dots = text.find(kDots);
    if (dots == std::string_view::npos) return mistake;
    const std::string_view low = trimmed(text.substr(0, dots));
    const std::string_view high = trimmed(text.substr(dots + kDots.size()));
    if (low.empty() && high.empty()) return mistake;
    ResyncRateRange parsed;
    if (!high.empty() && high != kUnlimitedName) {
        const std::optional<std::uint64_t> max = parse_size(high);
        if (!max) return mistake;
        parsed.max = *max;
    }
    parsed.min = std::min(parsed.min, parsed.max);
    if (!low.empty()) {
        const std::optional<std::uint64_t> min = parse_size(low);
        if (!min) return mistake;
        parsed.min = *min;
    }
    if (parsed.min < ResyncRateRange::kSmallest) {
        return "has to begin at 64KiB a second or more, so that a resync ends, not '" +
               std::string(text) + "'";
    }
    if (parsed.min > parsed.max) {
        return "has to have the lower rate first, not '" + std::string(text) + "'";
    }
    range = parsed;
    return {};
}

std::string describe_rate_range(const ResyncRateRange& range) {
    const std::string text = "at least " + format_size(range.min) + "/s, ";
    if (range.max == ResyncRateRange::kUnlimited) return text + "no upper limit";
    return text + "at most " + format_size(range.max) + "/s";
}

}  // namespace gemel
