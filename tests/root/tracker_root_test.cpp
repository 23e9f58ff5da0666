// SPDX-License-Identifier: Apache-2.0
// The change tracker on this machine's kernel: every kind of change behind the mount, on ext4, XFS
// and Btrfs, against what snapshots show; with attach points left out, with tiny tables, with the
// reader ended and started again. GEMEL_SEED=N repeats the random part, GEMEL_OPERATIONS=N
// lengthens it.
#include "engine/base/prng.hpp"
#include "tests/root/tracker_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace gemel {

namespace {

class Complaints final : public LogSink {
   public:
    void log(LogLevel, std::string_view text) noexcept override {
        std::cerr << "log: " << text << '\n';
    }
};

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// A tracker on one file system.
class Watch {
   public:
    explicit Watch(const ImageFileSystem& where, std::vector<std::string> without = {},
                   std::uint64_t memory = 4 * kMiB)
        : where_(where) {
        options_.pin_directory = "/var/tmp/gemel-tracker-pins";
        options_.memory_bytes = memory;
        options_.boot.bytes[0] = 1;
        options_.now = {1000, 0};
        options_.without = std::move(without);
        ChangeTracker::remove(options_.pin_directory);
        start();
    }
    ~Watch() { ChangeTracker::remove(options_.pin_directory); }

    void start() {
        std::string why;
        auto opened = ChangeTracker::open(log_, options_, why);
        if (!opened.ok()) GTEST_FAIL() << why;
        tracker_ = std::move(opened).value();
        const auto number = tracker_->watch(where_.fd(), why);
        if (!number.ok()) GTEST_FAIL() << where_.type() << ' ' << why;
    }
    // Ends the reader as a crash would, and starts another.
    void restart(WallTime now) {
        tracker_.reset();
        options_.now = now;
        start();
    }

    void take(Recorded& into) {
        ChangeRecord record;
        ASSERT_TRUE(tracker_->take(record).ok());
        into.add(record);
    }
    void confirm() { ASSERT_TRUE(tracker_->confirm().ok()); }
    // What was before does not matter.
    void forget() {
        Recorded ignored(where_.fd());
        for (int i = 0; i < 2; ++i) {
            take(ignored);
            confirm();
        }
    }
    ChangeTracker& operator*() { return *tracker_; }
    ChangeTracker* operator->() { return tracker_.get(); }

   private:
    const ImageFileSystem& where_;
    Complaints log_;
    ChangeTracker::Options options_;
    std::unique_ptr<ChangeTracker> tracker_;
};

void empty(const std::string& root) {
    for (const auto& entry : std::filesystem::directory_iterator(root)) {
        std::filesystem::remove_all(entry.path());
    }
}

bool has_program(const ChangeCase& one) {
    return one.name != "rsync --inplace" || std::system("command -v rsync >/dev/null") == 0;
}

// Carries the case out and answers what is missing in the record of it.
std::vector<std::string> play(const ImageFileSystem& where, Watch& watch, const ChangeCase& one) {
    empty(where.root());
    if (!one.prepare(where.root())) return {"could not be prepared"};
    const TreeImage before = image_of(where.root());
    watch.forget();
    if (!as_stranger([&] { return one.change(where.root()); })) return {"could not be done"};
    Recorded recorded(where.fd());
    watch.take(recorded);
    where.sync();
    watch.confirm();
    if (recorded.is_incomplete()) return {"the record is incomplete"};
    return recorded.missing(before, image_of(where.root()));
}

class TrackerTest : public testing::TestWithParam<const char*> {
   protected:
    void SetUp() override {
        ASSERT_TRUE(leave_mounts_alone()) << "needs root";
        std::string why;
        where_ = ImageFileSystem::make(GetParam(), why);
        ASSERT_TRUE(where_) << why;
    }
    std::unique_ptr<ImageFileSystem> where_;
};

TEST_P(TrackerTest, SeesEveryKindOfChange) {
    Watch watch(*where_);
    for (const ChangeCase& one : change_cases()) {
        const bool here = one.only_on.empty() || one.only_on.find(GetParam()) != std::string::npos;
        if (!here || !has_program(one)) continue;
        SCOPED_TRACE(one.name);
        for (const std::string& text : play(*where_, watch, one)) ADD_FAILURE() << text;
    }
}

// Ranges, not objects, where ext4 and XFS let it see them.
TEST_P(TrackerTest, RecordsTheRangeOfAWriteAlone) {
    if (GetParam() == std::string("btrfs")) GTEST_SKIP() << "whole objects: docs/tracking.md";
    Watch watch(*where_);
    for (const char* name : {"pwritev2", "direct", "splice", "sendfile"}) {
        SCOPED_TRACE(name);
        const ChangeCase& one = change_case(name);
        empty(where_->root());
        ASSERT_TRUE(one.prepare(where_->root()));
        watch.forget();
        ASSERT_TRUE(as_stranger([&] { return one.change(where_->root()); }));
        Recorded recorded(where_->fd());
        watch.take(recorded);
        watch.confirm();
        const auto found = recorded.objects().find(key_of(where_->root() + "/f"));
        ASSERT_NE(found, recorded.objects().end());
        ASSERT_EQ(found->second.ranges.size(), 1U);
        EXPECT_EQ(found->second.ranges[0].begin, 3 * kMiB);
        EXPECT_EQ(found->second.ranges[0].end, 3 * kMiB + kTrackedUnit);
        EXPECT_EQ(found->second.changer.uid, 0U);
        EXPECT_NE(found->second.changer.pid, 0U);
    }
}

TEST_P(TrackerTest, DoesNotRecordWhatTheOwnerDoes) {
    Watch watch(*where_);
    watch.forget();
    for (const ChangeCase& one : change_cases()) {
        // Programs are other processes; a system call through a shell too.
        if (one.name == "ACL") break;
        if (!one.only_on.empty() && one.only_on.find(GetParam()) == std::string::npos) continue;
        if (one.name.find("io_uring") != std::string::npos) continue;
        SCOPED_TRACE(one.name);
        empty(where_->root());
        ASSERT_TRUE(one.prepare(where_->root()));
        ASSERT_TRUE(one.change(where_->root()));
        Recorded recorded(where_->fd());
        watch.take(recorded);
        watch.confirm();
        // Direct I/O may end on a thread of the kernel's.
        if (one.name.starts_with("direct")) continue;
        EXPECT_TRUE(recorded.objects().empty())
            << recorded.objects().begin()->second.changer.command;
    }
}

const std::vector<std::uint64_t>& content_of_file(const TreeImage& image) {
    const auto found = std::find_if(image.begin(), image.end(),
                                    [](const auto& entry) { return !entry.second.is_directory; });
    return found->second.content;
}

// The hole of protocol.md 18: a page that stays dirty and mapped raises no event; the write-back
// after each take() makes it raise one again.
TEST_P(TrackerTest, SeesEveryStoreThroughAMappingThatStays) {
    Watch watch(*where_);
    ASSERT_TRUE(change_case("mmap").prepare(where_->root()));
    int orders[2], answers[2];
    ASSERT_EQ(::pipe(orders), 0);
    ASSERT_EQ(::pipe(answers), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(orders[1]);
        ::close(answers[0]);
        const int fd = ::open((where_->root() + "/f").c_str(), O_RDWR);
        auto* bytes = static_cast<volatile char*>(
            ::mmap(nullptr, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        for (char value = 0; ::read(orders[0], &value, 1) == 1 && value != 0;) {
            bytes[kMiB] = value;
            if (::write(answers[1], &value, 1) != 1) break;
        }
        ::_exit(0);
    }
    ::close(orders[0]);
    ::close(answers[1]);
    watch.forget();
    for (char value = '1'; value <= '8'; ++value) {
        where_->sync();
        const TreeImage before = image_of(where_->root());
        char answer = 0;
        ASSERT_EQ(::write(orders[1], &value, 1), 1);
        ASSERT_EQ(::read(answers[0], &answer, 1), 1);
        Recorded recorded(where_->fd());
        watch.take(recorded);
        where_->sync();
        watch.confirm();
        const TreeImage after = image_of(where_->root());
        ASSERT_NE(content_of_file(before), content_of_file(after));
        for (const std::string& text : recorded.missing(before, after)) {
            ADD_FAILURE() << value << ": " << text;
        }
    }
    ::close(orders[1]);
    ::close(answers[0]);
    ::waitpid(child, nullptr, 0);
}

struct Point {
    const char* type;
    std::vector<std::string> without;
    const char* seen_by;  // a case that shows that something is missing
};

// Every point is there for something: without it the test above fails.
TEST_P(TrackerTest, MissesSomethingWithoutOneOfItsPoints) {
    const std::vector<std::string> times = {"ctime_ns_xchg", "ctime_xchg_skip",
                                            "inode_set_ctime_to_ts"};
    const Point points[] = {
        {"ext4 xfs btrfs", times, "chmod"},
        {"ext4 xfs btrfs", times, "rename into another directory"},
        {"xfs", {"iomap_iter"}, "pwritev2"},
        {"xfs", {"iomap_iter"}, "mmap"},
        {"ext4", {"iomap_iter", "iomap_dio_complete"}, "direct"},
        {"ext4", {"ext4_da_write_end", "block_dirty_buffer"}, "pwritev2"},
        {"ext4", {"block_dirty_buffer"}, "mmap"},
        {"ext4", {"ext4_punch_hole"}, "punch hole"},
        {"ext4", {"ext4_zero_range"}, "zero range"},
        {"ext4", {"ext4_collapse_range"}, "collapse range"},
        {"ext4", {"ext4_insert_range"}, "insert range"},
        {"ext4", {"ext4_truncate_enter"}, "truncate there and back"},
        {"xfs", {"xfs_collapse_file_space", "xfs_free_file_space"}, "collapse range"},
        {"xfs", {"xfs_insert_file_space"}, "insert range"},
        {"xfs", {"xfs_reflink_remap_range"}, "reflink of a range"},
    };
    for (const Point& point : points) {
        if (std::string(point.type).find(GetParam()) == std::string::npos) continue;
        SCOPED_TRACE(point.seen_by);
        Watch watch(*where_, point.without);
        EXPECT_FALSE(play(*where_, watch, change_case(point.seen_by)).empty())
            << "without " << point.without[0];
    }
}

// While ext4 makes an inode its generation is still an earlier one's, or 0, with which a handle
// leads to whatever has that number by then: another object, which nobody has changed.
TEST_P(TrackerTest, NamesNothingThatIsOnlyBeingMade) {
    Watch watch(*where_);
    watch.forget();
    ASSERT_TRUE(as_stranger([&] {
        for (int i = 0; i < 2000; ++i) {
            const std::string path = where_->root() + "/" + std::to_string(i);
            const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (fd < 0 || ::close(fd) != 0) return false;
        }
        return true;
    }));
    ChangeRecord record;
    ASSERT_TRUE(watch->take(record).ok());
    // The directory: its names tell of them.
    EXPECT_EQ(record.objects.size(), 1U);
    watch.confirm();
}

TEST_P(TrackerTest, GoesOnWithoutItsReader) {
    Watch watch(*where_);
    const ChangeCase& one = change_case("write");
    ASSERT_TRUE(one.prepare(where_->root()));
    const TreeImage before = image_of(where_->root());
    watch.forget();
    EXPECT_FALSE(watch->was_adopted());
    // Taken, but the reader ends before it has a note of it: it comes again.
    ASSERT_TRUE(as_stranger([&] { return one.change(where_->root()); }));
    Recorded lost(where_->fd());
    watch.take(lost);
    EXPECT_FALSE(lost.objects().empty());
    watch.restart({2000, 0});
    EXPECT_TRUE(watch->was_adopted());
    EXPECT_EQ(watch->watched_since(0), (WallTime{1000, 0}));
    // ... and nobody reads while this happens.
    ASSERT_TRUE(as_stranger([&] { return change_case("chmod").change(where_->root()); }));
    Recorded recorded(where_->fd());
    EXPECT_TRUE(watch->has_news());
    for (int i = 0; i < 2; ++i) {
        watch.take(recorded);
        where_->sync();
        watch.confirm();
    }
    for (const std::string& text : recorded.missing(before, image_of(where_->root()))) {
        ADD_FAILURE() << text;
    }
    Recorded nothing(where_->fd());
    watch.take(nothing);
    EXPECT_TRUE(nothing.objects().empty());
}

TEST_P(TrackerTest, SaysThatItsFileSystemWasAway) {
    Watch watch(*where_);
    watch.forget();
    ASSERT_TRUE(where_->unmount());
    ASSERT_TRUE(where_->mount());
    Recorded recorded(where_->fd());
    watch.take(recorded);
    EXPECT_TRUE(recorded.is_incomplete());
}

// --- Random changes by several processes ----------------------------------------------------

constexpr int kFiles = 12;

void change_something(const std::string& root, Prng& chance) {
    const std::string file = root + "/r" + std::to_string(chance.below(kFiles));
    const std::string other = root + "/r" + std::to_string(chance.below(kFiles));
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT, 0644);
    if (fd < 0) return;
    const auto at = off_t(chance.below(2 * kMiB));
    const std::size_t size = 1 + chance.below(70'000);
    const std::string data(size, char('a' + chance.below(26)));
    switch (chance.below(12)) {
        case 0:
        case 1:
        case 2:
            std::ignore = ::pwrite(fd, data.data(), size, at);
            break;
        case 3: {
            struct stat facts {};
            if (::fstat(fd, &facts) != 0 || facts.st_size < 4096) break;
            const auto length = std::size_t(facts.st_size) / 4096 * 4096;
            void* memory = ::mmap(nullptr, length, PROT_WRITE, MAP_SHARED, fd, 0);
            if (memory == MAP_FAILED) break;
            static_cast<char*>(memory)[0] = data[0];
            ::munmap(memory, length);
            break;
        }
        case 4:
            std::ignore = ::ftruncate(fd, at);
            break;
        case 5:
            std::ignore = ::fallocate(fd, 3, at, off_t(size));
            break;
        case 6:
            std::ignore = ::rename(file.c_str(), other.c_str());
            break;
        case 7:
            ::unlink(other.c_str());
            break;
        case 8:
            ::fchmod(fd, mode_t(0600 + chance.below(64)));
            break;
        case 9: {
            const int from = ::open(other.c_str(), O_RDONLY);
            loff_t begin = 0, end = at;
            if (from >= 0) {
                std::ignore = ::copy_file_range(from, &begin, fd, &end, size, 0);
                ::close(from);
            }
            break;
        }
        case 10:
            std::ignore = ::link(file.c_str(), (other + "l").c_str());
            break;
        default:
            ::unlink((other + "l").c_str());
            break;
    }
    ::close(fd);
}

// A store into a mapping of a file that another process is cutting short would end this one.
void change_at_random(const std::string& root, std::uint64_t seed, std::uint64_t operations) {
    ::signal(SIGBUS, [](int) { ::_exit(0); });
    Prng chance(seed);
    for (std::uint64_t i = 0; i < operations; ++i) change_something(root, chance);
}

void play_at_random(const ImageFileSystem& where, std::uint64_t memory, bool may_lose) {
    const std::uint64_t seed = setting("GEMEL_SEED", 1);
    const std::uint64_t operations = setting("GEMEL_OPERATIONS", 400);
    SCOPED_TRACE("GEMEL_SEED=" + std::to_string(seed));
    Watch watch(where, {}, memory);
    empty(where.root());
    for (int i = 0; i < kFiles; i += 2) {
        const int fd =
            ::open((where.root() + "/r" + std::to_string(i)).c_str(), O_CREAT | O_RDWR, 0644);
        const std::string data(kMiB, 'i');
        ASSERT_EQ(::write(fd, data.data(), data.size()), ssize_t(data.size()));
        ::close(fd);
    }
    const TreeImage before = image_of(where.root());
    watch.forget();
    Recorded recorded(where.fd());
    for (std::uint64_t round = 0; round < 4; ++round) {
        std::vector<pid_t> children;
        for (std::uint64_t i = 0; i < 4; ++i) {
            const pid_t child = ::fork();
            if (child == 0) {
                change_at_random(where.root(), seed * 1000 + round * 10 + i, operations / 4);
                ::_exit(0);
            }
            children.push_back(child);
        }
        // The reader works meanwhile, and in every second round it is lost before it confirms.
        watch.take(recorded);
        where.sync();
        if (round % 2 == 0) watch.confirm();
        if (round % 2 == 1) watch.restart({3000, 0});
        for (const pid_t child : children) ::waitpid(child, nullptr, 0);
    }
    for (int i = 0; i < 2; ++i) {
        watch.take(recorded);
        where.sync();
        watch.confirm();
    }
    if (recorded.is_incomplete()) {
        EXPECT_TRUE(may_lose);
        EXPECT_GT(watch->counters().objects_lost + watch->counters().runs_missed, 0U);
        return;
    }
    for (const std::string& text : recorded.missing(before, image_of(where.root()))) {
        ADD_FAILURE() << text;
    }
}

TEST_P(TrackerTest, CoversRandomChangesOfManyProcesses) {
    play_at_random(*where_, 4 * kMiB, false);
}

TEST_P(TrackerTest, CoversThemWithTinyTables) { play_at_random(*where_, 0, true); }

// A table of ranges that is full makes whole objects of ranges; one of objects makes it say so.
TEST_P(TrackerTest, SaysWhatItHadNoRoomFor) {
    Watch watch(*where_, {}, 0);
    watch.forget();
    ASSERT_TRUE(as_stranger([&] {
        const int fd = ::open((where_->root() + "/sparse").c_str(), O_RDWR | O_CREAT, 0644);
        for (off_t i = 0; i < 300; ++i) {
            if (::pwrite(fd, "x", 1, i * off_t(8 * kMiB)) != 1) return false;
        }
        return true;
    }));
    Recorded one(where_->fd());
    watch.take(one);
    watch.confirm();
    EXPECT_FALSE(one.is_incomplete());
    const ObjectKey sparse = key_of(where_->root() + "/sparse");
    ASSERT_EQ(one.objects().count(sparse), 1U);
    EXPECT_EQ(one.objects().at(sparse).ranges[0], (DirtyRange{0, DirtyRange::kEndOfObject}));
    ASSERT_TRUE(as_stranger([&] {
        for (int i = 0; i < 300; ++i) {
            const int fd =
                ::open((where_->root() + "/n" + std::to_string(i)).c_str(), O_RDWR | O_CREAT, 0644);
            if (::write(fd, "x", 1) != 1 || ::close(fd) != 0) return false;
        }
        return true;
    }));
    Recorded many(where_->fd());
    watch.take(many);
    watch.confirm();
    EXPECT_TRUE(many.is_incomplete());
    EXPECT_GT(watch->counters().objects_lost, 0U);
}

INSTANTIATE_TEST_SUITE_P(On, TrackerTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& each) { return std::string(each.param); });

TEST(TrackerLimits, NamesAFileSystemThatItCannotWatch) {
    ASSERT_TRUE(leave_mounts_alone()) << "needs root";
    Complaints log;
    ChangeTracker::Options options;
    options.pin_directory = "/var/tmp/gemel-tracker-pins";
    std::string why;
    auto tracker = ChangeTracker::open(log, options, why);
    ASSERT_TRUE(tracker.ok()) << why;
    const int fd = ::open("/dev/shm", O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(tracker.value()->watch(fd, why).status().code(), Code::unsupported);
    EXPECT_NE(why.find("tmpfs"), std::string::npos) << why;
    ::close(fd);
    ChangeTracker::remove(options.pin_directory);
}

}  // namespace

}  // namespace gemel
