// SPDX-License-Identifier: Apache-2.0
// Goal: after a crash at any moment the log covers every region that its owner was told it may
// touch and has not cleared since. Method: random work against a model that knows those regions;
// then the disk as each moment may have left it (every write torn at every sector, or with any of
// its sectors missing) is opened again.
#include "engine/store/intent_log.hpp"
#include "engine/store/intent_log_format.hpp"
#include "tests/unit/store/fake_disk.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace gemel {
namespace {

constexpr Fd kDirectory = FakeVfs::kDirectory;
constexpr std::size_t kSectorSize = 512;
constexpr std::uint64_t kRangeFirst = 5000;
using Keys = std::set<IntentKey>;

// Drives a log with random calls. `promised` is the model: the round of the last moment at which
// the owner might have touched the region.
class Owner {
   public:
    explicit Owner(std::uint64_t seed) : prng_(seed) {
        auto opened = IntentLog::open(loop, log_, kDirectory, Uuid{});
        GEMEL_ASSERT(opened.ok());
        intents = std::move(opened).value();
        write_note();
    }

    void step() {
        switch (prng_.below(10)) {
            case 0:
            case 1:
            case 2:
            case 3:
                touch_some();
                break;
            case 4:
                finished_round_ = intents->begin_round();
                break;
            case 5:
                clear_some();
                break;
            case 6:
                clear_rounds();
                break;
            default:
                loop.disk.write_size_max = prng_.one_in(4) ? 5000 : ~std::size_t{0};
                loop.step();
        }
        write_note();
    }
    // What has to be covered after note number `note`.
    [[nodiscard]] const Keys& required(std::uint64_t note) const { return required_.at(note); }
    void settle() {
        intents->commit([](Status status) { GEMEL_ASSERT(status.ok()); });
        loop.run();
        write_note();
    }
    void forget_history() {
        loop.disk.events.clear();
        required_.clear();
        write_note();
    }
    [[nodiscard]] const std::map<IntentKey, std::uint64_t>& promised() const { return promised_; }

    FakeLoop loop;
    std::unique_ptr<IntentLog> intents;

   private:
    IntentKey random_key() {
        if (prng_.one_in(30)) return {{0}, IntentKey::kVolume, volume()};
        if (prng_.one_in(20)) {
            return {{kRangeFirst + prng_.below(3) * 1000}, IntentKey::kIdRange, volume()};
        }
        if (prng_.one_in(20)) return {{prng_.between(10, 13)}, IntentKey::kAllContent, volume()};
        const std::uint64_t object =
            prng_.one_in(3) ? kRangeFirst + prng_.below(7000) / 100 * 100 : prng_.between(10, 13);
        const std::uint32_t region =
            prng_.one_in(4) ? IntentKey::kAttributes : static_cast<std::uint32_t>(prng_.below(4));
        return {{object}, region, volume()};
    }
    std::uint16_t volume() { return prng_.one_in(5) ? 1 : 0; }

    void promise(const std::vector<IntentKey>& keys) {
        for (const IntentKey& key : keys) promised_[key] = round_now();
    }
    std::uint64_t round_now() const { return finished_round_ + 1; }

    void touch_some() {
        std::vector<IntentKey> keys;
        for (std::uint64_t left = prng_.between(1, prng_.one_in(10) ? 600 : 4); left > 0; --left) {
            keys.push_back(random_key());
        }
        if (intents->touch(keys)) {
            promise(keys);
        } else if (!prng_.one_in(5)) {
            intents->commit([this, keys](Status status) {
                GEMEL_ASSERT(status.ok());
                // Unless a clear() of the owner's took it back meanwhile.
                for (const IntentKey& key : keys) {
                    if (intents->covers(key)) promise({key});
                }
                write_note();
            });
        }
    }
    // Exact clears of single keys; broad ones only where nothing below is concerned.
    void clear_some() {
        const IntentKey key = random_key();
        if (key.region == IntentKey::kIdRange) return;
        intents->clear({&key, 1});
        promised_.erase(key);
    }
    void clear_rounds() {
        const std::uint64_t idle = prng_.below(3);
        if (finished_round_ == 0) return;
        intents->clear_through(finished_round_, idle);
        for (auto entry = promised_.begin(); entry != promised_.end();) {
            const bool gone = entry->second + idle <= finished_round_;
            entry = gone ? promised_.erase(entry) : std::next(entry);
        }
    }
    void write_note() {
        Keys keys;
        for (const auto& [key, round] : promised_) keys.insert(key);
        loop.disk.note(required_.size());
        required_.push_back(std::move(keys));
    }

    Prng prng_;
    QuietLog log_;
    std::map<IntentKey, std::uint64_t> promised_;
    std::uint64_t finished_round_ = 0;
    std::vector<Keys> required_;
};

// Opens the log that the image holds and looks for what is missing in it.
void expect_covers(const DiskImage& image, const Keys& required, const std::string& where) {
    FakeLoop loop;
    QuietLog log;
    loop.disk.files = image;
    const auto opened = IntentLog::open(loop, log, kDirectory, Uuid{});
    ASSERT_TRUE(opened.ok()) << where << (log.lines.empty() ? "" : log.lines.back());
    for (const IntentKey& key : required) {
        ASSERT_TRUE(opened.value()->covers(key))
            << where << ": object " << key.object.value << " region " << key.region;
    }
}

void apply(DiskImage& image, const DiskEvent& write, std::size_t begin, std::size_t end) {
    ByteBuffer& file = image[write.file];
    end = std::min(end, write.data.size());
    if (begin >= end) return;
    if (file.size() < write.offset + end) file.resize(write.offset + end);
    std::memcpy(file.data() + write.offset + begin, write.data.data() + begin, end - begin);
}

// Replays the events on `disk` and crashes at each; `torn` tries the variants of one write that
// is not synced, on top of the image without it.
template <typename Torn>
void crash_everywhere(const Owner& owner, DiskImage disk, Torn&& torn) {
    const auto& events = owner.loop.disk.events;
    std::vector<const DiskEvent*> unsynced;
    const Keys* required = nullptr;
    for (const DiskEvent& event : events) {
        if (event.kind == DiskEvent::Kind::note) {
            required = &owner.required(event.note);
        } else if (event.kind == DiskEvent::Kind::sync) {
            for (const DiskEvent* write : unsynced) apply(disk, *write, 0, write->data.size());
            unsynced.clear();
        } else {
            unsynced.push_back(&event);
        }
        if (event.kind != DiskEvent::Kind::note || unsynced.empty()) continue;
        ASSERT_NE(required, nullptr);
        torn(disk, unsynced, *required);
        if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(IntentLogCrash, EveryTornWriteKeepsWhatWasPromised) {
    Owner owner(5);
    owner.settle();
    owner.forget_history();
    const DiskImage start = owner.loop.disk.files;
    for (int i = 0; i < 200; ++i) owner.step();

    int crashes = 0;
    crash_everywhere(owner, start,
                     [&](const DiskImage& disk, const auto& unsynced, const Keys& required) {
                         const DiskEvent& last = *unsynced.back();
                         DiskImage base = disk;
                         for (const DiskEvent* write : unsynced) {
                             if (write != &last) apply(base, *write, 0, write->data.size());
                         }
                         const std::size_t size = last.data.size();
                         for (std::size_t cut = 0; cut <= size; cut += kSectorSize) {
                             DiskImage image = base;
                             apply(image, last, 0, cut);
                             expect_covers(image, required, "cut at " + std::to_string(cut));
                             if (testing::Test::HasFatalFailure()) return;
                             ++crashes;
                         }
                     });
    EXPECT_GT(crashes, 200);
}

// Sectors of one write reach the disk in any order; work long enough for files to be switched.
TEST(IntentLogCrash, MissingSectorsAndSwitchedFilesKeepWhatWasPromised) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        Owner owner(seed);
        // Near the end of the first file.
        for (std::uint32_t i = 0; i < kIntentFileBlocksMin - 30; ++i) {
            const IntentKey key{{900}, i, 0};
            owner.intents->touch({&key, 1});
            owner.settle();
            owner.intents->clear({&key, 1});
        }
        owner.forget_history();
        const DiskImage start = owner.loop.disk.files;
        for (int i = 0; i < 800; ++i) owner.step();

        Prng prng(seed * 31);
        std::set<std::string> torn_files;
        crash_everywhere(
            owner, start, [&](const DiskImage& disk, const auto& unsynced, const Keys& required) {
                if (!prng.one_in(4)) return;
                DiskImage image = disk;
                for (const DiskEvent* write : unsynced) {
                    torn_files.insert(write->file);
                    for (std::size_t at = 0; at < write->data.size(); at += kSectorSize) {
                        if (prng.one_in(2)) apply(image, *write, at, at + kSectorSize);
                    }
                }
                expect_covers(image, required, "seed " + std::to_string(seed));
            });
        EXPECT_EQ(torn_files.size(), 2U) << "the files were never switched";
        if (HasFatalFailure()) return;
    }
}

// Without crashes: nothing promised is ever uncovered, and what is cleared does not stay for ever.
TEST(IntentLogCrash, RandomWorkAgreesWithTheModelAndEndsClean) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        Owner owner(seed * 1000);
        for (int i = 0; i < 1500; ++i) {
            owner.step();
            if (owner.loop.in_flight() > 0) continue;
            for (const auto& [key, round] : owner.promised()) {
                ASSERT_TRUE(owner.intents->covers(key)) << "seed " << seed << " step " << i;
            }
        }
        owner.settle();
        owner.intents->begin_round();
        owner.intents->clear_through(owner.intents->begin_round(), 0);
        owner.settle();
        EXPECT_EQ(owner.intents->live_count(), 0U);
        const DiskImage image = owner.loop.disk.files;
        FakeLoop loop;
        QuietLog log;
        loop.disk.files = image;
        const auto opened = IntentLog::open(loop, log, kDirectory, Uuid{});
        ASSERT_TRUE(opened.ok());
        EXPECT_EQ(opened.value()->live_count(), 0U);
    }
}

}  // namespace
}  // namespace gemel
