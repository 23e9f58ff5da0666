// SPDX-License-Identifier: Apache-2.0
// DirtyRanges and DirtyMap against naive models: exhaustively over a small object, then at random.
#include "engine/store/dirty_map.hpp"

#include "engine/base/prng.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <set>
#include <vector>

namespace gemel {
namespace {

constexpr std::uint64_t kEnd = DirtyRange::kEndOfObject;

// One bit a unit; the last bit stands for everything from there to the end of the object.
constexpr std::size_t kUnits = 64;
using UnitSet = std::bitset<kUnits>;

UnitSet units_of(const DirtyRanges& ranges) {
    UnitSet units;
    for (const DirtyRange& range : ranges.ranges()) {
        for (std::size_t unit = 0; unit < kUnits; ++unit) {
            const std::uint64_t begin = unit * kDirtyUnit;
            if (range.begin <= begin && begin < range.end) units.set(unit);
        }
    }
    return units;
}

UnitSet span_of(std::uint64_t begin, std::uint64_t end) {
    UnitSet units;
    for (std::size_t unit = 0; unit < kUnits; ++unit) {
        const std::uint64_t unit_begin = unit * kDirtyUnit;
        const std::uint64_t unit_end = unit + 1 == kUnits ? kEnd : unit_begin + kDirtyUnit;
        if (begin < unit_end && unit_begin < end) units.set(unit);
    }
    return units;
}

void expect_canonical(const DirtyRanges& ranges, std::size_t room = DirtyRanges::kRangesMax) {
    ASSERT_LE(ranges.count(), room);
    ASSERT_EQ(ranges.ranges().size(), ranges.count());
    std::uint64_t previous_end = 0;
    bool first = true;
    for (const DirtyRange& range : ranges.ranges()) {
        ASSERT_LT(range.begin, range.end);
        ASSERT_EQ(range.begin % kDirtyUnit, 0U);
        ASSERT_TRUE(range.end % kDirtyUnit == 0 || range.end == kEnd);
        if (!first) {
            ASSERT_GT(range.begin, previous_end) << "overlapping or adjacent";
        }
        previous_end = range.end;
        first = false;
    }
}

TEST(DirtyRanges, RoundOutwards) {
    DirtyRanges ranges;
    ranges.add(kDirtyUnit - 1, 2);
    ASSERT_EQ(ranges.ranges().size(), 1U);
    EXPECT_EQ(ranges.ranges()[0], (DirtyRange{0, 2 * kDirtyUnit}));
}

TEST(DirtyRanges, SurviveTheEndOfSixtyFourBits) {
    DirtyRanges ranges;
    ranges.add(kEnd - 5, 100);
    ASSERT_EQ(ranges.ranges().size(), 1U);
    EXPECT_EQ(ranges.ranges()[0].end, kEnd);
    EXPECT_TRUE(ranges.intersects(kEnd - 1, 1));
    ranges.remove(kEnd - kEnd % kDirtyUnit, kEnd);
    EXPECT_TRUE(ranges.empty());
}

TEST(DirtyRanges, OpenEndCountsUpToTheObjectsSize) {
    DirtyRanges ranges;
    ranges.add_all();
    ranges.remove(0, 2 * kDirtyUnit);
    EXPECT_EQ(ranges.bytes(5 * kDirtyUnit), 3 * kDirtyUnit);
    EXPECT_EQ(ranges.bytes(kDirtyUnit), 0U);
}

TEST(DirtyRanges, EmptyQueryIntersectsNothing) {
    DirtyRanges ranges;
    ranges.add(0, kDirtyUnit);
    EXPECT_FALSE(ranges.intersects(10, 0));
    EXPECT_TRUE(ranges.intersects(kDirtyUnit - 1, 1));
    EXPECT_FALSE(ranges.intersects(kDirtyUnit, 1));
}

TEST(DirtyRanges, MergeTheTwoNearestBeyondTheLimit) {
    DirtyRanges ranges;
    for (std::uint64_t i = 0; i < DirtyRanges::kRangesMax; ++i) {
        ranges.add(i * 100 * kDirtyUnit, kDirtyUnit);
    }
    ranges.add(203 * kDirtyUnit, kDirtyUnit);
    expect_canonical(ranges);
    EXPECT_TRUE(ranges.intersects(201 * kDirtyUnit, 2 * kDirtyUnit)) << "gap of 2 was nearest";
    EXPECT_FALSE(ranges.intersects(101 * kDirtyUnit, kDirtyUnit));
}

// Every sequence of two adds and one remove over 8 units agrees with the bit model.
TEST(DirtyRanges, AgreeWithTheModelExhaustively) {
    constexpr std::uint64_t kCount = 8;
    std::vector<DirtyRange> spans;
    for (std::uint64_t begin = 0; begin < kCount; ++begin) {
        for (std::uint64_t end = begin + 1; end <= kCount; ++end) {
            spans.push_back({begin * kDirtyUnit, end == kCount ? kEnd : end * kDirtyUnit});
        }
    }
    for (const DirtyRange& a : spans) {
        for (const DirtyRange& b : spans) {
            for (const DirtyRange& hole : spans) {
                DirtyRanges ranges;
                ranges.add(a.begin, a.end - a.begin);
                ranges.add(b.begin, b.end - b.begin);
                ranges.remove(hole.begin, hole.end);
                const UnitSet model = (span_of(a.begin, a.end) | span_of(b.begin, b.end)) &
                                      ~span_of(hole.begin, hole.end);
                expect_canonical(ranges);
                ASSERT_EQ(units_of(ranges), model);
                for (const DirtyRange& query : spans) {
                    const bool hit = ranges.intersects(query.begin, query.end - query.begin);
                    ASSERT_EQ(hit, (model & span_of(query.begin, query.end)).any());
                }
            }
        }
    }
}

// Random adds and removes: always a superset of the exact model, and never larger than the model
// with its gaps filled.
TEST(DirtyRanges, StayASupersetAtRandom) {
    Prng prng(7);
    for (int round = 0; round < 300; ++round) {
        DirtyRanges ranges;
        UnitSet exact;
        for (int step = 0; step < 60; ++step) {
            const std::uint64_t begin = prng.below(kUnits), end = prng.between(begin + 1, kUnits);
            const std::uint64_t limit = end == kUnits ? kEnd : end * kDirtyUnit;
            const UnitSet before = units_of(ranges);
            if (prng.one_in(3)) {
                ranges.remove(begin * kDirtyUnit, limit);
                exact &= ~span_of(begin * kDirtyUnit, limit);
                ASSERT_EQ(units_of(ranges) & ~before, UnitSet()) << "a removal marked something";
            } else {
                const std::uint64_t size = prng.between(1, 3 * kDirtyUnit);
                ranges.add(begin * kDirtyUnit, size);
                exact |= span_of(begin * kDirtyUnit, begin * kDirtyUnit + size);
            }
            expect_canonical(ranges);
            ASSERT_EQ(exact & ~units_of(ranges), UnitSet()) << "lost a dirty unit";
            ASSERT_EQ(ranges.empty(), units_of(ranges).none());
        }
    }
}

// With room for all of them nothing is merged: the set is the model, through every change between a
// few ranges and many, and every way of asking agrees.
TEST(DirtyRanges, AreExactWhereThereIsRoom) {
    constexpr std::size_t kRoom = kUnits;
    Prng prng(8);
    for (int round = 0; round < 200; ++round) {
        DirtyRanges ranges;
        UnitSet exact;
        for (int step = 0; step < 200; ++step) {
            const std::uint64_t begin = prng.below(kUnits);
            const std::uint64_t end = std::min<std::uint64_t>(begin + prng.between(1, 4), kUnits);
            const std::uint64_t limit = end == kUnits ? kEnd : end * kDirtyUnit;
            const UnitSet span = span_of(begin * kDirtyUnit, limit);
            // Of a full set of few nothing is taken out of the middle.
            const bool has_many = ranges.count() > DirtyRanges::kRangesMax;
            const bool removes = has_many ? prng.one_in(2) : prng.one_in(20);
            if (removes && ranges.count() != DirtyRanges::kRangesMax) {
                ranges.remove(begin * kDirtyUnit, limit);
                exact &= ~span;
            } else {
                const std::uint64_t size = limit == kEnd ? kEnd : limit - begin * kDirtyUnit;
                ranges.add(begin * kDirtyUnit, size, kRoom);
                exact |= span;
            }
            expect_canonical(ranges, kRoom);
            ASSERT_EQ(units_of(ranges), exact);
            ASSERT_EQ(ranges.intersects(begin * kDirtyUnit, 1), exact.test(begin));
            const DirtyRange next = ranges.first_behind(begin * kDirtyUnit);
            const UnitSet behind = exact >> begin;
            ASSERT_EQ(next.begin < next.end, behind.any());
            if (behind.any()) {
                const std::uint64_t first = begin + behind._Find_first();
                ASSERT_EQ(std::max(next.begin, begin * kDirtyUnit), first * kDirtyUnit);
            }
            ASSERT_EQ(ranges.bytes(kUnits * kDirtyUnit), exact.count() * kDirtyUnit);
        }
    }
}

TEST(DirtyRanges, MergeTheNarrowestGapsBeyondTheirRoom) {
    constexpr std::size_t kRoom = 1000;
    DirtyRanges ranges;
    for (std::uint64_t i = 0; i <= kRoom; ++i) {
        const std::uint64_t pair = i / 2, second = i % 2;
        ranges.add((pair * 1000 + second * 3) * kDirtyUnit, kDirtyUnit, kRoom);
    }
    // All pairs have become one range each, and the first two of these one.
    EXPECT_EQ(ranges.count(), kRoom / 2);
    for (std::uint64_t pair = 0; pair < kRoom / 2; ++pair) {
        EXPECT_TRUE(ranges.intersects((pair * 1000 + 1) * kDirtyUnit, 1));
        EXPECT_EQ(ranges.intersects((pair * 1000 + 4) * kDirtyUnit, 900 * kDirtyUnit), pair == 0);
    }
}

TEST(DirtyRanges, FrontToBackClearingAlwaysEnds) {
    DirtyRanges ranges;
    for (std::uint64_t i = 0; i < 50; ++i) ranges.add(i * 7 * kDirtyUnit, 3 * kDirtyUnit);
    int steps = 0;
    while (!ranges.empty()) {
        const DirtyRange first = ranges.ranges().front();
        ranges.remove(first.begin, first.begin + kDirtyUnit);
        ASSERT_LT(++steps, 1000);
    }
}

constexpr ObjectId kFile{100}, kOther{200};

TEST(DirtyMap, ForgetsAnObjectWithItsLastAspect) {
    DirtyMap map;
    map.mark_absent(kFile);
    EXPECT_TRUE(map.is_absent(kFile));
    EXPECT_TRUE(map.names_dirty(kFile));
    EXPECT_TRUE(map.attributes_dirty(kFile));
    EXPECT_TRUE(map.content_dirty(kFile, 12345, 1));
    map.clear_absent(kFile);
    map.clear_names(kFile);
    map.clear_attributes(kFile);
    EXPECT_FALSE(map.empty());
    map.clear_content(kFile, 0, kEnd);
    EXPECT_TRUE(map.empty());
    EXPECT_EQ(map.find(kFile), nullptr);
}

TEST(DirtyMap, WalksObjectsInIdOrder) {
    DirtyMap map;
    map.mark_names(kOther);
    map.mark_content(kFile, 0, 1);
    map.mark_content(kFile, 0, 0);
    EXPECT_EQ(map.next_after(kNoObject), kFile);
    EXPECT_EQ(map.next_after(kFile), kOther);
    EXPECT_EQ(map.next_after(kOther), kNoObject);
    map.forget(kFile);
    EXPECT_EQ(map.next_after(kNoObject), kOther);
}

// However many objects are changed all over, their ranges stay within the room that they share.
TEST(DirtyMap, SharesItsRoomAmongObjects) {
    DirtyMap map;
    constexpr std::uint64_t kObjects = 4, kRanges = DirtyMap::kManyRangesMax / 3;
    for (std::uint64_t i = 0; i < kRanges; ++i) {
        for (std::uint64_t id = 0; id < kObjects; ++id) {
            map.mark_content(ObjectId{100 + id}, i * 3 * kDirtyUnit, 1);
        }
    }
    std::size_t sum = 0;
    for (std::uint64_t id = 0; id < kObjects; ++id) {
        const DirtyRanges& content = map.find(ObjectId{100 + id})->content;
        sum += content.count();
        for (std::uint64_t i = 0; i < kRanges; i += 997) {
            ASSERT_TRUE(content.intersects(i * 3 * kDirtyUnit, 1));
        }
    }
    EXPECT_LE(sum, DirtyMap::kManyRangesMax + kObjects);
    EXPECT_GT(sum, DirtyMap::kManyRangesMax / 4);
    // What is given back can be used again.
    for (std::uint64_t id = 0; id < kObjects; ++id) map.forget(ObjectId{100 + id});
    for (std::uint64_t i = 0; i < kRanges; ++i) map.mark_content(kFile, i * 3 * kDirtyUnit, 1);
    EXPECT_EQ(map.find(kFile)->content.count(), kRanges);
}

TEST(DirtyMap, EmptyContentMarksNothing) {
    DirtyMap map;
    map.mark_content(kFile, 10, 0);
    EXPECT_TRUE(map.empty());
}

TEST(DirtyMap, FullModeHoldsEverythingDirtyUntilKnown) {
    DirtyMap map;
    map.begin_full();
    EXPECT_TRUE(map.is_absent(kFile));
    EXPECT_TRUE(map.any_content_dirty(kFile));
    EXPECT_FALSE(map.empty());

    map.mark_absent(kFile);
    map.set_known(kFile, true);
    EXPECT_FALSE(map.is_absent(kFile)) << "its skeleton is in the stream";
    EXPECT_TRUE(map.names_dirty(kFile));
    EXPECT_TRUE(map.attributes_dirty(kFile));
    EXPECT_TRUE(map.content_dirty(kFile, 0, 1));

    map.set_known(kOther, false);
    EXPECT_FALSE(map.is_absent(kOther));
    EXPECT_FALSE(map.names_dirty(kOther));
    EXPECT_FALSE(map.any_content_dirty(kOther));
    EXPECT_TRUE(map.is_absent(ObjectId{201})) << "a neighbour's bit";

    map.end_full();
    EXPECT_FALSE(map.is_absent(ObjectId{201}));
    EXPECT_TRUE(map.names_dirty(kFile)) << "marks outlive full mode";
}

TEST(DirtyMap, FullModeTakesIdsOfAnyTag) {
    DirtyMap map;
    map.begin_full();
    Prng prng(3);
    std::set<std::uint64_t> known;
    for (int i = 0; i < 2000; ++i) {
        const auto id = ObjectId::make(static_cast<std::uint32_t>(prng.below(1U << 24)),
                                       prng.below(std::uint64_t{1} << 40) | 1);
        if (prng.one_in(2)) {
            map.set_known(id, false);
            known.insert(id.value);
        }
        ASSERT_EQ(map.is_known(id), known.contains(id.value));
    }
}

TEST(DirtyMap, BeginFullForgetsWhatWasKnown) {
    DirtyMap map;
    map.mark_names(kFile);
    map.begin_full();
    map.set_known(kFile, false);
    EXPECT_FALSE(map.names_dirty(kFile));
    map.begin_full();
    EXPECT_TRUE(map.names_dirty(kFile));
}

}  // namespace
}  // namespace gemel
