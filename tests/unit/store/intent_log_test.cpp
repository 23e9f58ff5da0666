// SPDX-License-Identifier: Apache-2.0
// The intent log's behaviour case by case. Crashes and random work: intent_log_crash_test.cpp.
#include "engine/store/intent_log.hpp"

#include "engine/store/intent_log_format.hpp"
#include "engine/store/intent_log_table.hpp"
#include "tests/unit/store/fake_disk.hpp"

#include <gtest/gtest.h>

#include <set>

namespace gemel {
namespace {

constexpr Fd kDirectory = FakeVfs::kDirectory;
constexpr IntentKey kA{{100}, 0, 0}, kB{{100}, 1, 0}, kC{{7}, IntentKey::kNames, 0};
constexpr IntentKey kWholeVolume{{0}, IntentKey::kVolume, 0};
constexpr IntentKey kRange{{5000}, IntentKey::kIdRange, 0};
constexpr IntentKey kInRange{{5000 + kIdRangeCount - 1}, 3, 0};

Uuid owner_of(std::uint8_t number) {
    Uuid owner;
    owner.bytes.fill(number);
    return owner;
}

struct IntentLogTest : testing::Test {
    IntentLogTest() { reopen(); }

    void reopen() {
        intents.reset();
        loop.run();
        auto opened = IntentLog::open(loop, quiet, kDirectory, owner_of(1));
        ASSERT_TRUE(opened.ok()) << opened.status().to_string();
        intents = std::move(opened).value();
    }
    Status reopen_status(std::uint8_t owner = 1) {
        intents.reset();
        loop.run();
        return IntentLog::open(loop, quiet, kDirectory, owner_of(owner)).status();
    }
    bool touch(const IntentKey& key) { return intents->touch({&key, 1}); }
    void clear(const IntentKey& key) { intents->clear({&key, 1}); }
    // Counts the call in done_count and keeps its status.
    void commit() {
        intents->commit([this](Status status) {
            ++done_count;
            last_status = status;
        });
    }
    void touch_durably(const IntentKey& key) {
        touch(key);
        commit();
        loop.run();
        ASSERT_TRUE(intents->covers(key));
    }
    std::set<IntentKey> live() {
        std::set<IntentKey> keys;
        intents->for_each([&](const IntentKey& key) { keys.insert(key); });
        EXPECT_EQ(keys.size(), intents->live_count());
        return keys;
    }
    // Completes the write of the batch in flight, not its sync.
    void write_only() { ASSERT_TRUE(loop.step()); }

    FakeLoop loop;
    QuietLog quiet;
    std::unique_ptr<IntentLog> intents;
    int done_count = 0;
    Status last_status;
};

TEST_F(IntentLogTest, NothingIsCoveredBeforeItIsDurable) {
    EXPECT_FALSE(touch(kA));
    EXPECT_FALSE(intents->covers(kA));
    commit();
    EXPECT_EQ(done_count, 0) << "completed inside the call";
    write_only();
    EXPECT_FALSE(intents->covers(kA)) << "written, not synced";
    EXPECT_EQ(done_count, 0);
    loop.run();
    EXPECT_EQ(done_count, 1);
    EXPECT_TRUE(intents->covers(kA));
    EXPECT_TRUE(touch(kA));
    EXPECT_FALSE(intents->covers(kB));
    reopen();
    EXPECT_EQ(live(), std::set{kA});
}

TEST_F(IntentLogTest, CommitWithNothingToWriteStillCallsBackFromTheLoop) {
    commit();
    EXPECT_EQ(done_count, 0);
    EXPECT_EQ(loop.in_flight(), 0U);
    loop.run();
    EXPECT_EQ(done_count, 1);
}

TEST_F(IntentLogTest, WaitersOfOneMomentShareOneWrite) {
    touch(kA);
    commit();
    const IntentKey both[] = {kB, kC};
    intents->touch(both);
    commit();
    commit();
    EXPECT_EQ(loop.in_flight(), 1U);
    loop.disk.events.clear();
    loop.run();
    EXPECT_EQ(done_count, 3);
    EXPECT_EQ(loop.disk.events.size(), 4U) << "two batches, each a write and a sync";
}

// The waiter has to wait for the batch that holds its key, not for the one in flight.
TEST_F(IntentLogTest, TouchDuringAWriteGoesWithTheNext) {
    touch(kA);
    commit();
    touch(kB);
    commit();
    write_only();
    ASSERT_TRUE(loop.step());
    EXPECT_EQ(done_count, 1);
    EXPECT_TRUE(intents->covers(kA));
    EXPECT_FALSE(intents->covers(kB));
    loop.run();
    EXPECT_TRUE(intents->covers(kB));
}

TEST_F(IntentLogTest, SecondWaiterOfAKeyInFlightWaitsForThatWrite) {
    touch(kA);
    commit();
    EXPECT_FALSE(touch(kA));
    commit();
    loop.disk.events.clear();
    loop.run();
    EXPECT_EQ(done_count, 2);
    EXPECT_EQ(loop.disk.events.size(), 2U) << "the key needs no second write";
}

TEST_F(IntentLogTest, ShortWritesAreContinued) {
    loop.disk.write_size_max = 1000;
    touch_durably(kA);
    reopen();
    EXPECT_EQ(live(), std::set{kA});
}

// ---- Clearing ---------------------------------------------------------------------------

TEST_F(IntentLogTest, RoundsClearOnlyWhatIsIdle) {
    touch_durably(kA);
    const auto first = intents->begin_round();
    touch_durably(kB);
    intents->clear_through(first, 0);
    EXPECT_EQ(live(), std::set{kB});
    const auto second = intents->begin_round();
    intents->clear_through(second, 5);
    EXPECT_EQ(live(), std::set{kB}) << "not idle for so long";
}

TEST_F(IntentLogTest, IdleRoundsKeepOnlyWhatWasTouchedNotOnlyOnce) {
    const IntentKey all[] = {kA, kB};
    EXPECT_FALSE(intents->touch_once(all));
    commit();
    loop.run();
    const auto first = intents->begin_round();
    EXPECT_TRUE(intents->touch_once({&kA, 1})) << "again, in the next round";
    intents->clear_through(first, 5);
    EXPECT_EQ(live(), std::set{kA});
    EXPECT_TRUE(touch(kA));
    intents->clear_through(intents->begin_round(), 5);
    EXPECT_EQ(live(), std::set{kA});
}

TEST_F(IntentLogTest, AKeyTouchedAgainOutlivesTheRound) {
    touch_durably(kA);
    const auto round = intents->begin_round();
    EXPECT_TRUE(touch(kA));
    intents->clear_through(round, 0);
    EXPECT_EQ(live(), std::set{kA});
}

// Who waits for a mark touches the region only once it is durable, whatever round it asked in.
TEST_F(IntentLogTest, AKeyWrittenDuringARoundBelongsToTheNext) {
    touch(kA);
    commit();
    const auto round = intents->begin_round();
    intents->clear_through(round, 0);
    loop.run();
    intents->clear_through(round, 0);
    EXPECT_EQ(live(), std::set{kA});
    EXPECT_TRUE(intents->covers(kA));
}

// An op that waits for one mark executes, and so touches its other regions, when the wait ends.
TEST_F(IntentLogTest, DurableKeysOfAWaitingOpBelongToTheRoundInWhichItsWaitEnds) {
    touch_durably(kA);
    const IntentKey both[] = {kA, kB};
    EXPECT_FALSE(intents->touch(both));
    commit();
    const auto round = intents->begin_round();
    intents->clear_through(round, 0);
    EXPECT_TRUE(live().contains(kA)) << "cleared while the op waits";
    loop.run();
    intents->clear_through(round, 0);
    EXPECT_TRUE(live().contains(kA)) << "cleared though the op came after the round";
    intents->clear_through(intents->begin_round(), 0);
    EXPECT_FALSE(live().contains(kA));
}

TEST_F(IntentLogTest, ClearingRidesWithTheNextCommit) {
    touch_durably(kA);
    touch_durably(kB);
    loop.disk.events.clear();
    clear(kA);
    EXPECT_EQ(loop.in_flight(), 0U) << "clearing costs no sync";
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kB})) << "the clear was never written";
    clear(kA);
    touch_durably(kC);
    reopen();
    EXPECT_EQ(live(), (std::set{kB, kC}));
}

TEST_F(IntentLogTest, ClearsAreWrittenWhenNobodyTouchesAnything) {
    touch_durably(kA);
    intents->begin_round();
    const auto round = intents->begin_round();
    intents->clear_through(round, 0);
    loop.run();
    reopen();
    EXPECT_TRUE(live().empty());
}

TEST_F(IntentLogTest, TouchRevivesAPendingClearWithoutAWrite) {
    touch_durably(kA);
    clear(kA);
    EXPECT_TRUE(live().empty());
    EXPECT_TRUE(touch(kA));
    EXPECT_EQ(live(), std::set{kA});
    touch_durably(kB);
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kB})) << "the revived key was cleared after all";
}

TEST_F(IntentLogTest, RevivedAndClearedAgainIsClearedOnce) {
    touch_durably(kA);
    for (int i = 0; i < 5; ++i) {
        clear(kA);
        EXPECT_TRUE(touch(kA));
    }
    clear(kA);
    touch_durably(kB);
    reopen();
    EXPECT_EQ(live(), std::set{kB});
}

// The clear may already be on the disk: the touch must wait for a new mark.
TEST_F(IntentLogTest, TouchDuringTheClearsWriteMarksAnew) {
    touch_durably(kA);
    clear(kA);
    touch(kB);
    commit();
    EXPECT_FALSE(intents->covers(kA));
    EXPECT_FALSE(touch(kA));
    EXPECT_TRUE(live().contains(kA));
    commit();
    loop.run();
    EXPECT_TRUE(intents->covers(kA));
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kB}));
}

TEST_F(IntentLogTest, ClearOfAKeyStillWaitedForIsIgnored) {
    touch(kA);
    commit();
    clear(kA);
    loop.run();
    EXPECT_TRUE(intents->covers(kA)) << "its waiter is about to touch it";
    touch(kB);
    clear(kB);
    commit();
    loop.run();
    EXPECT_TRUE(intents->covers(kB));
}

// ---- Broad keys -------------------------------------------------------------------------

TEST_F(IntentLogTest, BroadKeysCoverExactlyTheirOwn) {
    const IntentKey all_content{{100}, IntentKey::kAllContent, 0};
    touch_durably(all_content);
    EXPECT_TRUE(intents->covers(kA));
    EXPECT_FALSE(intents->covers({{100}, IntentKey::kAttributes, 0}));
    EXPECT_FALSE(intents->covers({{101}, 0, 0}));
    EXPECT_FALSE(intents->covers({{100}, 0, 1}));

    touch_durably(kRange);
    EXPECT_TRUE(intents->covers({{5000}, IntentKey::kNames, 0}));
    EXPECT_TRUE(intents->covers(kInRange));
    EXPECT_FALSE(intents->covers({{4999}, 0, 0}));
    EXPECT_FALSE(intents->covers({{5000 + kIdRangeCount}, 0, 0}));
    EXPECT_FALSE(intents->covers({{5000}, 0, 1}));

    touch_durably(kWholeVolume);
    EXPECT_TRUE(intents->covers({{424242}, IntentKey::kAttributes, 0}));
    EXPECT_FALSE(intents->covers({{424242}, IntentKey::kAttributes, 1}));
}

TEST_F(IntentLogTest, OverlappingRangesEachCount) {
    const IntentKey later{{5001}, IntentKey::kIdRange, 0};
    touch_durably(kRange);
    touch_durably(later);
    clear(later);
    touch_durably(kA);
    EXPECT_FALSE(intents->covers({{5000 + kIdRangeCount}, 0, 0}));
    EXPECT_TRUE(intents->covers({{5000 + kIdRangeCount - 1}, 0, 0}));
}

TEST_F(IntentLogTest, ObjectsOfALiveRangeCostNothing) {
    touch_durably(kRange);
    loop.disk.events.clear();
    EXPECT_TRUE(touch(kInRange));
    commit();
    loop.run();
    EXPECT_TRUE(loop.disk.events.empty());
    EXPECT_EQ(live(), std::set{kRange});
}

TEST_F(IntentLogTest, TouchInARangeKeepsTheRange) {
    touch_durably(kRange);
    const auto round = intents->begin_round();
    EXPECT_TRUE(touch(kInRange));
    intents->clear_through(round, 0);
    EXPECT_EQ(live(), std::set{kRange});
    clear(kRange);
    EXPECT_TRUE(touch(kInRange)) << "a pending clear is revived";
    EXPECT_EQ(live(), std::set{kRange});
}

TEST_F(IntentLogTest, ObjectOfARangeBeingClearedMarksItself) {
    touch_durably(kRange);
    clear(kRange);
    touch(kA);
    commit();
    EXPECT_FALSE(touch(kInRange));
    commit();
    loop.run();
    EXPECT_TRUE(intents->covers(kInRange));
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kInRange}));
}

TEST_F(IntentLogTest, ObjectOfARangeNotYetDurableWaitsForTheRange) {
    touch(kRange);
    EXPECT_FALSE(touch(kInRange));
    commit();
    loop.run();
    EXPECT_TRUE(intents->covers(kInRange));
    EXPECT_EQ(live(), std::set{kRange});
}

// Nobody waits under a marked volume, but when that mark goes, what was touched stays marked.
TEST_F(IntentLogTest, KeysTouchedUnderAMarkedVolumeOutliveIt) {
    touch_durably(kWholeVolume);
    EXPECT_TRUE(touch(kA));
    clear(kWholeVolume);
    EXPECT_EQ(live(), std::set{kA});
    commit();
    loop.run();
    reopen();
    EXPECT_EQ(live(), std::set{kA});
}

// ---- Errors and lifetime ------------------------------------------------------------------

TEST_F(IntentLogTest, ErrorReachesEveryWaiterAndStays) {
    touch(kA);
    commit();
    touch(kB);
    commit();
    loop.next_io = Status::from_errno(EIO);
    loop.run();
    EXPECT_EQ(done_count, 2);
    EXPECT_TRUE(last_status.is_errno(EIO));
    EXPECT_TRUE(intents->is_failed());
    commit();
    EXPECT_EQ(done_count, 2);
    loop.run();
    EXPECT_EQ(done_count, 3);
    EXPECT_TRUE(last_status.is_errno(EIO));
    EXPECT_FALSE(touch(kA));
    EXPECT_EQ(quiet.lines.size(), 1U);
}

TEST_F(IntentLogTest, GoesOnAfterAFailureWithEverythingThatWasMarked) {
    touch(kA);
    commit();
    loop.run();
    touch(kB);
    commit();
    loop.next_io = Status::from_errno(EIO);
    loop.run();
    ASSERT_TRUE(intents->is_failed());
    intents->recover();
    EXPECT_FALSE(intents->is_failed());
    EXPECT_TRUE(intents->covers(kA));
    EXPECT_FALSE(intents->covers(kB)) << "its write failed";
    EXPECT_FALSE(touch(kB));
    commit();
    loop.run();
    EXPECT_TRUE(last_status.ok());
    EXPECT_TRUE(intents->covers(kB));
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kB}));
}

// What was being cleared when the log failed may or may not be marked on disk.
TEST_F(IntentLogTest, AClearThatFailedDoesNotCountAfterwards) {
    touch(kA);
    commit();
    loop.run();
    clear(kA);
    touch(kB);
    commit();
    loop.next_io = Status::from_errno(ENOSPC);
    loop.run();
    intents->recover();
    EXPECT_FALSE(touch(kA));
    commit();
    loop.run();
    EXPECT_TRUE(last_status.ok());
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kB}));
}

TEST_F(IntentLogTest, FailedSyncIsAnErrorToo) {
    touch(kA);
    commit();
    write_only();
    loop.next_io = Status::from_errno(EIO);
    loop.run();
    EXPECT_TRUE(last_status.is_errno(EIO));
    EXPECT_FALSE(intents->covers(kA));
}

TEST_F(IntentLogTest, MayBeDestroyedWithAWriteInFlight) {
    touch(kA);
    commit();
    intents.reset();
    loop.run();
    EXPECT_EQ(done_count, 0);
    EXPECT_EQ(loop.disk.open_count, 0) << "a descriptor leaked";
}

// ---- Files --------------------------------------------------------------------------------

TEST_F(IntentLogTest, ManySnapshotsKeepTheLiveKeysAndBoundTheFiles) {
    for (std::uint32_t i = 0; i < 3 * kIntentFileBlocksMin; ++i) {
        const IntentKey key{{1000 + i % 5}, i, 0};
        touch_durably(key);
        if (i % 7 != 0) clear(key);
    }
    touch_durably(kA);
    const auto expected = live();
    for (const auto& [name, bytes] : loop.disk.files) {
        EXPECT_LE(bytes.size(), kIntentFileBlocksMin * kIntentBlockSize) << name;
    }
    reopen();
    EXPECT_EQ(live(), expected);
}

// A crash between a snapshot and the append behind it: the snapshot alone must not have dropped the
// broad mark under whose cover a key was touched that only the append brings.
TEST_F(IntentLogTest, ASnapshotClearsNothingByItself) {
    touch_durably(kWholeVolume);
    for (std::uint32_t i = 2; i < kIntentFileBlocksMin; ++i) touch_durably({{1000}, i, 0});
    EXPECT_TRUE(touch(kA));
    clear(kWholeVolume);
    commit();
    write_only();
    ASSERT_TRUE(loop.step());
    ASSERT_EQ(done_count, static_cast<int>(kIntentFileBlocksMin) - 1) << "no snapshot was due";
    FakeLoop after_crash;
    after_crash.disk.files = loop.disk.files;
    const auto opened = IntentLog::open(after_crash, quiet, kDirectory, owner_of(1));
    ASSERT_TRUE(opened.ok());
    EXPECT_TRUE(opened.value()->covers(kA));
    loop.run();
    reopen();
    EXPECT_TRUE(live().contains(kA));
    EXPECT_FALSE(live().contains(kWholeVolume));
}

TEST_F(IntentLogTest, MoreKeysThanAFileHolds) {
    const std::uint32_t count = 2 * kIntentFileBlocksMin * kIntentEntriesPerBlock;
    std::vector<IntentKey> keys;
    for (std::uint32_t i = 0; i < count; ++i) keys.push_back({{i + 20}, 0, 3});
    intents->touch(keys);
    commit();
    loop.run();
    touch_durably(kA);
    reopen();
    EXPECT_EQ(intents->live_count(), count + 1);
    intents->clear(keys);
    touch_durably(kB);
    reopen();
    EXPECT_EQ(live(), (std::set{kA, kB}));
}

TEST_F(IntentLogTest, AnotherOwnersLogIsForeign) {
    touch_durably(kA);
    EXPECT_EQ(reopen_status(2).code(), Code::foreign);
    EXPECT_TRUE(reopen_status(1).ok());
}

TEST_F(IntentLogTest, DamagedMiddleIsCorruptTornTailIsNot) {
    for (std::uint32_t i = 0; i < 6; ++i) touch_durably({{50}, i, 0});
    intents.reset();
    const DiskImage image = loop.disk.files;
    // intents.0 holds the snapshot in block 0 and one block an append behind it.
    for (std::uint32_t block = 0; block < 7; ++block) {
        loop.disk.files = image;
        loop.disk.files["intents.0"][block * kIntentBlockSize + 70] ^= std::byte{4};
        const Status status = reopen_status();
        EXPECT_EQ(status.code(), block == 6 ? Code::ok : Code::corrupt) << block;
    }
    EXPECT_EQ(quiet.lines.size(), 6U) << "each damage is said";
}

// One batch of three blocks that a crash tears: any of its blocks may be missing.
TEST_F(IntentLogTest, BlocksOfOneBatchMayBeMissingInAnyOrder) {
    touch_durably(kWholeVolume);
    std::vector<IntentKey> keys;
    for (std::uint32_t i = 0; i < 3 * kIntentEntriesPerBlock - 1; ++i) keys.push_back({{60}, i, 0});
    EXPECT_TRUE(intents->touch(keys));
    clear(kWholeVolume);
    commit();
    loop.run();
    intents.reset();
    const DiskImage image = loop.disk.files;
    for (int missing = 0; missing < 8; ++missing) {
        loop.disk.files = image;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::size_t block = 2 + i;  // behind the snapshot and the volume's mark
            if ((missing >> i & 1) == 0) continue;
            loop.disk.files["intents.0"][block * kIntentBlockSize + 9] ^= std::byte{1};
        }
        reopen();
        for (const IntentKey& key : keys) {
            ASSERT_TRUE(intents->covers(key)) << "missing " << missing << ": " << key.region;
        }
        EXPECT_EQ(intents->covers(kC), missing != 0) << "the volume's mark goes with the batch";
    }
}

TEST_F(IntentLogTest, MissingFileIsCorruptNoFileIsANewLog) {
    touch_durably(kA);
    intents.reset();
    const DiskImage image = loop.disk.files;
    loop.disk.files.erase("intents.1");
    EXPECT_EQ(reopen_status().code(), Code::corrupt);
    loop.disk.files = image;
    loop.disk.files.erase("intents.0");
    EXPECT_TRUE(reopen_status().ok()) << "intents.1 alone is a log that was never finished";
    loop.disk.files = image;
    reopen();
    loop.disk.files.erase("intents.0");
    EXPECT_NE(reopen_status().code(), Code::ok) << "but not when it holds blocks";
}

TEST_F(IntentLogTest, ErrorsOfTheFileSystemAreNotDamage) {
    intents.reset();
    loop.disk.read_result = Status::from_errno(EACCES);
    EXPECT_TRUE(reopen_status().is_errno(EACCES));
}

TEST(IntentKey, OnlyKeysThatTheLogTakesAreValid) {
    for (const IntentKey& key :
         {kA, kC, kRange, kWholeVolume, IntentKey{{1}, IntentKey::kRegionMax, 0},
          IntentKey{{1}, IntentKey::kAllContent, 9}}) {
        EXPECT_TRUE(is_intent_key_valid(key)) << key.region;
    }
    for (const IntentKey& key :
         {IntentKey{{0}, 0, 0}, IntentKey{{0}, IntentKey::kNames, 0},
          IntentKey{{1}, IntentKey::kVolume, 0}, IntentKey{{1}, IntentKey::kRegionMax + 1, 0},
          IntentKey{{1}, IntentKey::kAllContent - 1, 0}}) {
        EXPECT_FALSE(is_intent_key_valid(key)) << key.region;
    }
}

// ---- The table ----------------------------------------------------------------------------

TEST(IntentTable, AgreesWithASetAtRandom) {
    Prng prng(11);
    IntentTable table;
    std::set<IntentKey> model;
    for (int step = 0; step < 20000; ++step) {
        const bool grows = step / 3000 % 2 == 0;
        const IntentKey key{{prng.below(40) + 1},
                            static_cast<std::uint32_t>(prng.below(30)),
                            static_cast<std::uint16_t>(prng.below(2))};
        if (model.contains(key) && !(grows && prng.one_in(2))) {
            table.erase(key);
            model.erase(key);
        } else if (!model.contains(key) && (grows || prng.one_in(8))) {
            table.insert(key, IntentState::durable);
            model.insert(key);
        }
        if (prng.one_in(500)) table.shrink();
        ASSERT_EQ(table.find(key) != nullptr, model.contains(key));
        ASSERT_EQ(table.size(), model.size());
    }
    std::set<IntentKey> all;
    table.for_each([&](const IntentSlot& slot) { all.insert(slot.key()); });
    EXPECT_EQ(all, model);
}

}  // namespace
}  // namespace gemel
