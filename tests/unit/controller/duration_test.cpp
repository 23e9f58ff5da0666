// SPDX-License-Identifier: Apache-2.0
// Goal: times, sizes and suggestions mean what a person means by them, and nothing else passes.
#include "controller/duration.hpp"

#include "controller/config_suggest.hpp"
#include "controller/rate_range.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gemel {
namespace {

TEST(Duration, ReadsWhatPeopleWrite) {
    EXPECT_EQ(parse_duration("100ms"), Duration::milliseconds(100));
    EXPECT_EQ(parse_duration("1s"), Duration::seconds(1));
    EXPECT_EQ(parse_duration("1.5s"), Duration::milliseconds(1500));
    EXPECT_EQ(parse_duration("2min"), Duration::seconds(120));
    EXPECT_EQ(parse_duration("2 min"), Duration::seconds(120));
    EXPECT_EQ(parse_duration("0s"), Duration{});
}

TEST(Duration, RefusesWhatHasNoUnitSignOrSense) {
    for (const char* text : {"", "s", "10", "10sec", "-1s", "1e3s", "1 s ", "0x1s", "inf s",
                             "nan s", "1,5s", "99999999999999999999min", "1h", " 1s"}) {
        EXPECT_EQ(parse_duration(text), std::nullopt) << text;
    }
}

TEST(Duration, IsWrittenInTheFormThatIsRead) {
    for (const char* text : {"0s", "1ms", "1500ms", "1s", "90s", "2min", "60min"}) {
        EXPECT_EQ(format_duration(*parse_duration(text)), text);
    }
    EXPECT_EQ(format_duration(*parse_duration("1000ms")), "1s");
}

TEST(Period, ReadsWordsAndLongUnits) {
    EXPECT_EQ(parse_period("off"), Duration{});
    EXPECT_EQ(parse_period("daily"), Duration::seconds(86'400));
    EXPECT_EQ(parse_period("weekly"), Duration::seconds(7 * 86'400));
    EXPECT_EQ(parse_period("monthly"), Duration::seconds(30 * 86'400));
    EXPECT_EQ(parse_period("12h"), Duration::seconds(12 * 3'600));
    EXPECT_EQ(parse_period("1.5d"), Duration::seconds(36 * 3'600));
    EXPECT_EQ(parse_period("30min"), Duration::seconds(1'800));
    for (const char* text : {"", "weekl", "7", "0s", "500ms", "0.5s", "-1d", "1 week", "Daily"}) {
        EXPECT_EQ(parse_period(text), std::nullopt) << text;
    }
}

TEST(Size, ReadsBinaryUnitsAlone) {
    EXPECT_EQ(parse_size("64KiB"), 64 * kKiB);
    EXPECT_EQ(parse_size("1.5GiB"), 1536 * kMiB);
    EXPECT_EQ(parse_size("2TiB"), 2048 * kGiB);
    for (const char* text : {"", "20", "20GB", "20G", "-1KiB", "99999999TiB"}) {
        EXPECT_EQ(parse_size(text), std::nullopt) << text;
    }
}

TEST(Size, IsRoundedForPeople) {
    EXPECT_EQ(format_size(0), "0 B");
    EXPECT_EQ(format_size(1023), "1023 B");
    EXPECT_EQ(format_size(1024), "1.0 KiB");
    EXPECT_EQ(format_size(kMiB - 1), "1.0 MiB");
    EXPECT_EQ(format_size(1300 * kMiB), "1.3 GiB");
    EXPECT_EQ(format_size(~std::uint64_t{0}), "16.0 EiB");
}

TEST(Age, KeepsTwoUnits) {
    EXPECT_EQ(format_age(0), "0 s");
    EXPECT_EQ(format_age(59), "59 s");
    EXPECT_EQ(format_age(60), "1 min");
    EXPECT_EQ(format_age(130), "2 min 10 s");
    EXPECT_EQ(format_age(3600 * 3 + 60 * 4 + 5), "3 h 4 min");
    EXPECT_EQ(format_age(86400 * 12 + 3600 * 3), "12 d 3 h");
}

TEST(Suggestion, CountsEditsAndSwappedNeighbours) {
    EXPECT_EQ(edit_distance("", "abc"), 3u);
    EXPECT_EQ(edit_distance("abc", "abc"), 0u);
    EXPECT_EQ(edit_distance("wirte", "write"), 1u);
    EXPECT_EQ(edit_distance("directorys", "directories"), 2u);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Suggestion, StaysSilentWhenNothingIsNear) {
    constexpr std::array<std::string_view, 4> kKnown{"name", "key", "nodes", "directories"};
    EXPECT_EQ(suggest("nmae", kKnown), "name");
    EXPECT_EQ(suggest("kye", kKnown), "key");
    EXPECT_EQ(suggest("node", kKnown), "nodes");
    EXPECT_EQ(suggest("directory", kKnown), "directories");
    EXPECT_EQ(suggest("colour", kKnown), "");
    EXPECT_EQ(suggestion("kay", kKnown), "; did you mean 'key'?");
    EXPECT_EQ(suggestion("zzz", kKnown), "");
}

TEST(RateRange, HasTwoEndsOrOne) {
    constexpr std::uint64_t kUnlimited = ResyncRateRange::kUnlimited;
    const std::pair<const char*, ResyncRateRange> good[] = {
        {"10MiB..1GiB", {10 * kMiB, kGiB}},
        {"64KiB..64KiB", {64 * kKiB, 64 * kKiB}},
        {"20MiB..", {20 * kMiB, kUnlimited}},
        {"20MiB..unlimited", {20 * kMiB, kUnlimited}},
        {"..1GiB", {10 * kMiB, kGiB}},
        {"..1MiB", {kMiB, kMiB}},
        {" 1.5MiB .. 2 MiB ", {3 * kMiB / 2, 2 * kMiB}},
    };
    for (const auto& [text, expected] : good) {
        ResyncRateRange range;
        EXPECT_EQ(parse_rate_range(text, range), "") << text;
        EXPECT_EQ(range, expected) << text;
    }
    for (const char* text :
         {"", "..", "10MiB", "10..20", "1MiB...2MiB", "unlimited..", "-1MiB..", "2MiB..1MiB",
          "63KiB..1MiB", "..1KiB", "0KiB..1MiB", "1MiB..2MiB..3MiB"}) {
        ResyncRateRange range{kMiB, 5 * kMiB};
        EXPECT_NE(parse_rate_range(text, range), "") << text;
        EXPECT_EQ(range, (ResyncRateRange{kMiB, 5 * kMiB})) << text;
    }
    EXPECT_EQ(describe_rate_range({kMiB, kUnlimited}), "at least 1.0 MiB/s, no upper limit");
    EXPECT_EQ(describe_rate_range({kMiB, kGiB}), "at least 1.0 MiB/s, at most 1.0 GiB/s");
}

}  // namespace
}  // namespace gemel
