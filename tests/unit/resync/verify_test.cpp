// SPDX-License-Identifier: Apache-2.0
// Verifies of a pair in sync, over a wire with arbitrary delays: nothing is found while ops alone
// change the copies; everything that something else has changed is found, whatever the ops do.
#include "resync/verify_source.hpp"
#include "resync/verify_target.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <map>
#include <optional>
#include <set>
#include <sys/stat.h>

namespace gemel::resync_test {

namespace {

std::string text_of(std::size_t size, char first) {
    std::string text(size, first);
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>(first + static_cast<char>(i * 31 % 23));
    }
    return text;
}

class VerifyTest : public ResyncTest {
   protected:
    void join_now(std::uint64_t seed) {
        begin(seed);
        fill();
        connect();
        ASSERT_TRUE(finish());
        join();
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
    }
    virtual void fill() {}

    void start(std::uint64_t rate = 0) {
        report_ = VerifyReport();
        ended_.reset();
        b_->replica->set_verify_party(std::make_unique<VerifyTarget>(*b_->loop, *b_->replica));
        VerifySource::Options options;
        options.rate = rate;
        options.on_difference = [this](std::uint16_t, const std::string& path) {
            told_.push_back(path);
        };
        options.on_end = [this](VerifyEnd end, const std::string& why) {
            EXPECT_FALSE(ended_.has_value()) << "it ends twice";
            ended_ = end;
            why_ = why;
        };
        auto source =
            std::make_unique<VerifySource>(*a_->loop, *a_->replica, progress_, report_, options);
        source_ = source.get();
        a_->replica->set_verify_party(std::move(source));
        source_->start();
    }
    VerifyEnd verify(std::uint64_t rate = 0) {
        start(rate);
        EXPECT_TRUE(world_->run_until([&] { return ended_.has_value(); })) << "it does not end";
        return ended_.value_or(VerifyEnd::failed);
    }
    // "path: what" of everything found.
    std::set<std::string> found() {
        std::set<std::string> result;
        for (const VerifyDifference& one : report_.differences()) {
            for (const VerifyDetail& detail : one.details) {
                result.insert(one.path + ": " + detail.what);
            }
            for (const ByteRange& range : one.content) {
                result.insert(one.path + ": content " + std::to_string(range.begin) + ".." +
                              std::to_string(range.end));
            }
            for (const ByteRange& range : one.holes) {
                result.insert(one.path + ": holes " + std::to_string(range.begin) + ".." +
                              std::to_string(range.end));
            }
        }
        return result;
    }
    // Something that is neither node's engine changes an object of this node's copy.
    template <typename Change>
    void meddle(Side& side, const std::string& path, int flags, Change change) {
        Vfs& vfs = side.loop->vfs();
        const std::size_t slash = path.rfind('/');
        const std::string directory =
            "/tree" + (slash == std::string::npos ? "" : "/" + path.substr(0, slash));
        const Result<Fd> parent = vfs.open_directory(directory);
        ASSERT_TRUE(parent.ok()) << path;
        const ScopedFd scoped(vfs, parent.value());
        const std::string name = path.substr(slash + 1);
        const Result<Fd> file = vfs.open_at(parent.value(), name, flags, 0);
        ASSERT_TRUE(file.ok()) << path;
        const Result<FileStat> before = vfs.stat(file.value());
        change(vfs, file.value(), parent.value(), name);
        // The time is put back: what is found is what was changed.
        (void)vfs.set_times(file.value(), {}, {true, before->modified});
        vfs.close(file.value());
    }
    void overwrite(Side& side, const std::string& path, std::uint64_t offset,
                   std::string_view text) {
        meddle(side, path, O_RDWR, [&](Vfs& vfs, Fd file, Fd, const std::string&) {
            ASSERT_TRUE(vfs.pwrite(file, as_bytes(text), offset).ok());
        });
    }

    VerifyReport report_;
    ResyncProgress progress_;
    VerifySource* source_ = nullptr;
    std::optional<VerifyEnd> ended_;
    std::string why_;
    std::vector<std::string> told_;
};

class VerifyTree : public VerifyTest {
   protected:
    void fill() override {
        d_ = make_dir(kRootObject, "d");
        const ObjectId e = make_dir(d_, "e");
        make_file(e, "big", text_of(700'000, 'a'));
        make_file(d_, "small", "small");
        link(id_of(d_, "small"), e, "linked");
        const ObjectId sparse = make_file(d_, "sparse", {});
        truncate(sparse, 300 * kMiB);
        write(sparse, 200 * kMiB, "in the middle");
        create(d_, "symbolic", S_IFLNK | 0777, "somewhere");
        create(d_, "pipe", S_IFIFO | 0600);
        for (const char* name : {"one", "two", "three"}) {
            set_xattr(make_file(kRootObject, name, text_of(5'000, 'q')), "trusted.x", "value");
        }
    }
    ObjectId d_;
};

}  // namespace

TEST_F(VerifyTest, FindsNothingWhileOpsGoOn) {
    for (std::uint64_t seed = 100; seed < 115; ++seed) {
        begin(seed);
        random_ops(80);
        connect();
        ASSERT_TRUE(finish());
        join();
        random_ops_meanwhile(150, Duration::milliseconds(2));
        std::size_t runs = 0;
        do {
            ASSERT_EQ(verify(), VerifyEnd::complete) << why_;
            EXPECT_EQ(found(), std::set<std::string>()) << "seed " << seed;
            ++runs;
        } while (ops_to_come_ > 0 && !HasFailure());
        EXPECT_GT(runs, 1U);
        EXPECT_TRUE(told_.empty());
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        expect_equal("seed " + std::to_string(seed));
        if (HasFailure()) return;
        orphans_.clear();
        memory_ = {};
        TearDown();
    }
}

TEST_F(VerifyTree, NamesExactlyWhatDiffers) {
    join_now(1);
    ASSERT_EQ(verify(), VerifyEnd::complete);
    ASSERT_EQ(found(), std::set<std::string>());
    EXPECT_EQ(progress_.objects_done, 11U);
    overwrite(*b_, "d/e/big", 300'000, "!");
    overwrite(*b_, "d/sparse", 100 * kMiB, "not a hole");
    meddle(*b_, "one", O_RDWR, [](Vfs& vfs, Fd file, Fd, const std::string&) {
        EXPECT_TRUE(vfs.set_mode(file, 0600).ok());
        EXPECT_TRUE(vfs.set_owner(file, 7, 8).ok());
        EXPECT_TRUE(vfs.set_xattr(file, "trusted.x", as_bytes("other"), 0).ok());
        EXPECT_TRUE(vfs.set_xattr(file, "trusted.z", as_bytes("more"), 0).ok());
    });
    meddle(*b_, "two", O_RDWR, [](Vfs& vfs, Fd, Fd parent, const std::string& name) {
        EXPECT_TRUE(vfs.unlink(parent, name, false).ok());
    });
    meddle(*b_, "three", O_RDWR, [](Vfs& vfs, Fd file, Fd parent, const std::string&) {
        EXPECT_TRUE(vfs.truncate(file, 10).ok());
        EXPECT_TRUE(vfs.link(file, parent, "again").ok());
    });
    meddle(*b_, "d/e/linked", O_RDWR, [](Vfs& vfs, Fd, Fd parent, const std::string& name) {
        EXPECT_TRUE(vfs.unlink(parent, name, false).ok());
    });
    ASSERT_EQ(verify(), VerifyEnd::complete);
    std::set<std::string> expected{
        "d/e/big: content 299008..303104",
        "d/sparse: content 104857600..104861696",
        "one: mode",
        "one: uid",
        "one: gid",
        "one: xattr trusted.x",
        "one: xattr trusted.z",
        "two: missing",
        "three: size",
        "three: content 0..4096",
        "three: content 4096..5000",
        "again: superfluous",
        "d/e/linked: missing",
        "d/e: modified",
        ": modified",
    };
    // One stretch.
    expected.erase("three: content 0..4096");
    expected.erase("three: content 4096..5000");
    expected.insert("three: content 0..5000");
    EXPECT_EQ(found(), expected);
    EXPECT_EQ(report_.count(), 9U);
    EXPECT_EQ(told_.size(), 9U);
    for (const VerifyDifference& one : report_.differences()) {
        if (one.path != "one") continue;
        EXPECT_EQ(one.details[0].here, "0644");
        EXPECT_EQ(one.details[0].there, "0600");
    }
}

// The walk goes over the copy that serves, so what somebody did to that one is seen as well.
TEST_F(VerifyTree, FindsWhatWasDoneToTheServingCopy) {
    join_now(2);
    overwrite(*a_, "d/small", 1, "M");
    meddle(*a_, "two", O_RDWR, [](Vfs& vfs, Fd, Fd parent, const std::string& name) {
        EXPECT_TRUE(vfs.unlink(parent, name, false).ok());
    });
    plant(*a_, "d/new", "nobody told the engine");
    ASSERT_EQ(verify(), VerifyEnd::complete);
    EXPECT_EQ(found(), (std::set<std::string>{"d/small: content 0..5", "two: superfluous",
                                              "d/new: missing", "d: modified", ": modified"}));
}

TEST_F(VerifyTree, ZerosInPlaceOfAHoleAreADifferenceOfHoles) {
    join_now(3);
    overwrite(*b_, "d/sparse", 150 * kMiB, std::string(8192, '\0'));
    ASSERT_EQ(verify(), VerifyEnd::complete);
    EXPECT_EQ(found(), (std::set<std::string>{"d/sparse: holes 157286400..157294592"}));
}

// Whatever is written while the copies differ, and however the directories are moved about.
TEST_F(VerifyTree, FindsItAmongOps) {
    for (std::uint64_t seed = 200; seed < 212; ++seed) {
        join_now(seed);
        random_ops(40);
        Side& side = seed % 2 == 0 ? *a_ : *b_;
        // In a directory that only the test moves.
        ObjectId above = make_dir(kRootObject, "0");
        ObjectId below = make_dir(kRootObject, "1");
        const ObjectId hidden = make_dir(above, "hidden");
        make_file(hidden, "file", text_of(9'000, 'x'));
        for (const ObjectId one : {above, below}) make_file(one, "busy", {});
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        overwrite(side, "0/hidden/file", 5'000, "?");
        start(64 * kKiB);
        for (int i = 0; i < 40 && !ended_.has_value(); ++i) {
            rename(above, "hidden", below, "hidden");
            std::swap(above, below);
            write(id_of(above, "busy"), static_cast<std::uint64_t>(i) * 100, "written meanwhile");
        }
        ASSERT_TRUE(world_->run_until([&] { return ended_.has_value(); }));
        EXPECT_EQ(ended_, VerifyEnd::complete);
        ASSERT_EQ(report_.count(), 1U) << "seed " << seed;
        const VerifyDifference one = report_.differences().front();
        EXPECT_TRUE(one.path.ends_with("hidden/file")) << one.path;
        ASSERT_EQ(one.content.size(), 1U);
        EXPECT_EQ(one.content[0].begin, 4096U);
        EXPECT_TRUE(one.details.empty());
        if (HasFailure()) return;
        orphans_.clear();
        memory_ = {};
        TearDown();
    }
}

// A directory moves from one that the walk has not reached to one that it has just left.
TEST_F(VerifyTree, MissesNothingThatMoves) {
    std::size_t moves = 0;
    for (std::uint64_t seed = 300; seed < 308; ++seed) {
        join_now(seed);
        const ObjectId places[] = {make_dir(kRootObject, "0"), make_dir(kRootObject, "1")};
        for (const ObjectId place : places) make_file(place, "busy", "content");
        const ObjectId hidden = make_dir(places[seed % 2], "hidden");
        make_file(make_dir(hidden, "deep"), "file", text_of(9'000, 'x'));
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
        const std::string from = seed % 2 == 0 ? "0" : "1";
        overwrite(*b_, from + "/hidden/deep/file", 5'000, "?");
        std::unique_ptr<TestOp> move =
            make_rename(places[seed % 2], "hidden", places[1 - seed % 2], "hidden");
        bool is_listed = false;
        wire_->before_delivery = [&](int side, FrameType type, Bytes payload) {
            if (side != 0 || type != FrameType::verify_check || is_listed) return;
            const Result<VerifyCheck> check = decode_verify_check(payload);
            for (const VerifyUnit& unit : check->units) {
                if (unit.kind != VerifyKind::names) continue;
                is_listed = is_listed || unit.object == places[seed % 2];
                if (is_listed || unit.object != places[1 - seed % 2]) continue;
                ++moves;
                is_listed = true;
                move->op.name = move->name;
                move->op.new_name = move->new_name;
                a_->replica->submit(*move);
            }
        };
        ASSERT_EQ(verify(64 * kKiB), VerifyEnd::complete);
        EXPECT_EQ(report_.count(), 1U) << seed;
        const std::string path = report_.empty() ? "" : report_.differences().front().path;
        EXPECT_TRUE(path.ends_with("hidden/deep/file")) << path;
        memory_ = {};
        TearDown();
    }
    EXPECT_GT(moves, 0U) << "neither order of the two has been met";
}

TEST_F(VerifyTest, ComparesDirectoriesWithManyNamesOneByOne) {
    begin(4);
    const ObjectId d = make_dir(kRootObject, "many");
    for (int i = 0; i < 700; ++i) create(d, "f" + std::to_string(i), S_IFREG | 0600);
    connect();
    ASSERT_TRUE(finish());
    join();
    start();
    for (int i = 0; i < 200; ++i) {
        const std::string number = std::to_string(i);
        switch (i % 4) {
            case 0:
                rename(d, "f" + number, d, "moved" + number);
                break;
            case 1:
                unlink(d, "f" + number);
                break;
            case 2:
                make_file(d, "new" + number, "new");
                break;
            case 3:
                rename(d, "f" + number, d, "f" + std::to_string(i + 300), RENAME_EXCHANGE);
                break;
        }
        if (ended_) {
            EXPECT_EQ(ended_, VerifyEnd::complete) << why_;
            EXPECT_EQ(found(), std::set<std::string>());
            start();
        }
    }
    ASSERT_TRUE(world_->run_until([&] { return ended_.has_value(); }));
    EXPECT_EQ(found(), std::set<std::string>());
    // Names are told apart, and so are two that have been exchanged.
    meddle(*b_, "many/f500", O_RDWR, [](Vfs& vfs, Fd, Fd parent, const std::string&) {
        EXPECT_TRUE(vfs.unlink(parent, "f501", false).ok());
        EXPECT_TRUE(vfs.rename(parent, "f502", parent, "f503", RENAME_EXCHANGE).ok());
        EXPECT_TRUE(vfs.open_at(parent, "strange", O_CREAT | O_RDWR, 0600).ok());
    });
    ASSERT_EQ(verify(), VerifyEnd::complete);
    EXPECT_EQ(found(),
              (std::set<std::string>{"many/f501: missing", "many/f502: name", "many/f503: name",
                                     "many/strange: superfluous", "many: modified"}));
}

TEST_F(VerifyTest, LeavesOutWhatIsKeptPerNodeAndWhatIsUnlinked) {
    exclude_ = {"*.tmp"};
    begin(5);
    const ObjectId d = make_dir(kRootObject, "d");
    const ObjectId open_file = make_file(d, "open", text_of(3'000, 'o'));
    connect();
    ASSERT_TRUE(finish());
    join();
    make_file(d, "mine.tmp", "a");
    plant(*b_, "d/yours.tmp", "b");
    TestOp op;
    op.op.kind = OpKind::unlink;
    op.op.parent = d;
    op.op.object_in_use = true;
    op.name = "open";
    ASSERT_TRUE(run(op).ok());
    orphans_.push_back(open_file);
    const WallTime modified = a_->volume().attributes(d)->stat.modified;
    meddle(*b_, "d/yours.tmp", O_RDWR, [&](Vfs& vfs, Fd, Fd parent, const std::string&) {
        EXPECT_TRUE(vfs.set_times(parent, {}, {true, modified}).ok());
    });
    ASSERT_EQ(verify(), VerifyEnd::complete);
    EXPECT_EQ(found(), std::set<std::string>());
}

TEST_F(VerifyTree, EndsWithTheSessionAndWhenItIsTold) {
    join_now(6);
    start(64 * kKiB);
    world_->run_for(Duration::milliseconds(50));
    source_->stop();
    ASSERT_TRUE(world_->run_until([&] { return ended_.has_value(); }));
    EXPECT_EQ(ended_, VerifyEnd::stopped);
    EXPECT_FALSE(progress_.running);
    // Its last answers may be on their way: they are nobody's.
    ASSERT_EQ(verify(), VerifyEnd::complete) << why_;
    start(64 * kKiB);
    world_->run_for(Duration::milliseconds(50));
    cut();
    ASSERT_TRUE(world_->run_until([&] { return ended_.has_value(); }));
    EXPECT_EQ(ended_, VerifyEnd::lost);
    EXPECT_NE(why_.find("not in sync"), std::string::npos);
}

TEST_F(VerifyTree, KeepsToItsRate) {
    join_now(7);
    const Instant before = world_->now();
    ASSERT_EQ(verify(kMiB), VerifyEnd::complete);
    // Some 750 KB and a dozen objects.
    const Duration slow = world_->now() - before;
    EXPECT_GT(slow, Duration::milliseconds(450));
    EXPECT_LT(slow, Duration::milliseconds(1200));
}

TEST_F(VerifyTree, MarksWhatWouldMendIt) {
    join_now(8);
    const ObjectId big = id_of(id_of(d_, "e"), "big");
    overwrite(*b_, "d/e/big", 300'000, "!");
    meddle(*b_, "two", O_RDWR, [](Vfs& vfs, Fd, Fd parent, const std::string& name) {
        EXPECT_TRUE(vfs.unlink(parent, name, false).ok());
    });
    const ObjectId two = id_of(kRootObject, "two");
    ASSERT_EQ(verify(), VerifyEnd::complete);
    const std::vector<IntentKey> keys = report_.keys();
    EXPECT_EQ(std::set<IntentKey>(keys.begin(), keys.end()),
              (std::set<IntentKey>{{big, 0, 0},
                                   {kRootObject, IntentKey::kNames, 0},
                                   {kRootObject, IntentKey::kAttributes, 0}}));
    EXPECT_EQ(report_.missing(), (std::set<std::pair<std::uint16_t, ObjectId>>{{0, two}}));
    go_alone();
    for (const IntentKey& key : keys) a_->replica->mark_intent(key);
    for (const auto& [volume, id] : report_.missing()) {
        a_->replica->dirty_map(volume).mark_absent(id);
    }
    connect();
    ASSERT_TRUE(finish());
    expect_equal();
    EXPECT_LE(wire_->counts.content_bytes, kCheckSizeMax + 5'000);
}

TEST(VerifyReport, JoinsRangesAndCountsWhatItDoesNotKeep) {
    VerifyReport report;
    EXPECT_TRUE(report.add_content(0, "a", {0, 4096}));
    EXPECT_FALSE(report.add_content(0, "a", {8192, 12288}));
    EXPECT_FALSE(report.add_content(0, "a", {4096, 8192}));
    ASSERT_EQ(report.differences().front().content.size(), 1U);
    EXPECT_EQ(report.differences().front().content[0].end, 12288U);
    for (std::size_t i = 0; i < VerifyReport::kDifferencesMax + 10; ++i) {
        const std::string path = "b" + std::to_string(i);
        EXPECT_TRUE(report.add(0, path, {"missing", {}, {}}));
        EXPECT_FALSE(report.add(0, path, {"missing", {}, {}}));
    }
    EXPECT_EQ(report.count(), VerifyReport::kDifferencesMax + 11);
    EXPECT_EQ(report.differences().size(), VerifyReport::kDifferencesMax);
    for (std::uint64_t i = 0; i <= VerifyReport::kKeysMax; ++i) {
        report.mark({{kFirstObject.value + i}, IntentKey::kAttributes, 0});
    }
    ASSERT_EQ(report.keys().size(), 1U);
    EXPECT_EQ(report.keys().front().region, IntentKey::kVolume);
}

TEST(VerifyMessages, RefuseWhatDoesNotFit) {
    VerifyCheck check{1, 2, {}};
    VerifyUnit unit;
    unit.kind = VerifyKind::content;
    unit.object = kFirstObject;
    unit.offset = 4096;
    unit.size = 100;
    check.units = {unit};
    ByteBuffer payload;
    encode_verify_check(check, payload);
    EXPECT_TRUE(decode_verify_check(payload).ok());
    const auto refused = [&](const VerifyUnit& wrong) {
        ByteBuffer bytes;
        encode_verify_check({1, 2, {wrong}}, bytes);
        return !decode_verify_check(bytes).ok();
    };
    for (std::uint64_t size : {std::uint64_t{0}, kCheckSizeMax + 1}) {
        VerifyUnit wrong = unit;
        wrong.size = size;
        EXPECT_TRUE(refused(wrong)) << size;
    }
    VerifyUnit wrong = unit;
    wrong.offset = 5;
    EXPECT_TRUE(refused(wrong));
    wrong = unit;
    wrong.object = kDetachedDirectory;
    EXPECT_TRUE(refused(wrong));
    wrong.object = kRootObject;
    wrong.kind = VerifyKind::entry;
    wrong.name = "a/b";
    EXPECT_TRUE(refused(wrong));
    wrong.name = "ab";
    EXPECT_FALSE(refused(wrong));
    wrong.entry = kOrphanDirectory;
    EXPECT_TRUE(refused(wrong));
    for (std::size_t cut = 0; cut < payload.size(); ++cut) {
        EXPECT_FALSE(decode_verify_check(Bytes(payload).first(cut)).ok()) << cut;
    }
    ByteBuffer reply;
    encode_verify_reply({1, 2, false, true, false, kNoObject, {}, {{5, true}}, {{"n", {20}}}, 7},
                        reply);
    EXPECT_TRUE(decode_verify_reply(reply).ok());
    for (std::size_t cut = 0; cut < reply.size(); ++cut) {
        EXPECT_FALSE(decode_verify_reply(Bytes(reply).first(cut)).ok()) << cut;
    }
}

}  // namespace gemel::resync_test
