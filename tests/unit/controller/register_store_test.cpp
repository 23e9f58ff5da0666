// SPDX-License-Identifier: Apache-2.0
// The registers of a witness on its disk: what was answered is there after any crash, and what is
// not a register of ours is never taken for one.
#include "controller/register_store.hpp"

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "tests/unit/controller/register_samples.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <map>
#include <vector>

namespace gemel {
namespace {

// The token is the epoch, so that values of different proposals differ.
RegisterValue value(std::uint64_t epoch, std::uint8_t token) {
    RegisterValue v;
    v.epoch = epoch;
    v.serving = "alpha";
    v.in_sync = {{"alpha", {uuid(1), uuid(2)}}};
    v.token = uuid(token);
    return v;
}

class RegisterStoreTest : public testing::Test {
   protected:
    RegisterStoreTest() : node_(world_.add_node({})) {
        node_.make_directories("/state");
        start();
    }
    void TearDown() override { store_.reset(); }

    void start() {
        loop_ = &node_.start();
        open();
    }
    void open() {
        auto opened = RegisterStore::open(*loop_, node_.log(), "/state", why_);
        store_ = opened.ok() ? std::move(opened).value() : nullptr;
    }
    void restart(bool power) {
        if (power) {
            node_.power_cut();
        } else {
            node_.kill_process();
        }
        store_.reset();
        start();
    }
    // The outcomes, in the order in which they came.
    void propose(const std::string& cluster, const RegisterProposal& what) {
        store_->swap(cluster, "db", what,
                     [this](const SwapAnswer& answer) { answers_.push_back(answer); });
    }
    SwapAnswer swap(const std::string& cluster, const RegisterProposal& what) {
        const std::size_t before = answers_.size();
        propose(cluster, what);
        EXPECT_EQ(answers_.size(), before) << "answered inside the call";
        EXPECT_TRUE(world_.run_until([&] { return answers_.size() > before; }));
        return answers_.back();
    }
    // Name to content of everything in the store's directory.
    std::map<std::string, ByteBuffer> files() {
        Vfs& vfs = loop_->vfs();
        std::map<std::string, ByteBuffer> files;
        const Fd directory = vfs.open_directory("/state").value();
        std::vector<DirectoryEntry> entries;
        EXPECT_TRUE(vfs.read_directory(directory, 0, 100, entries).ok());
        for (const DirectoryEntry& entry : entries) {
            const Fd file = vfs.open_at(directory, entry.name, O_RDONLY, 0).value();
            ByteBuffer bytes(10'000);
            bytes.resize(vfs.pread(file, bytes, 0).value());
            files[entry.name] = bytes;
        }
        return files;
    }
    void write_file(const std::string& name, Bytes bytes) {
        Vfs& vfs = loop_->vfs();
        const Fd directory = vfs.open_directory("/state").value();
        const Fd file = vfs.open_at(directory, name, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
        ASSERT_TRUE(bytes.empty() || vfs.pwrite(file, bytes, 0).ok());
    }

    sim::World world_{1};
    sim::Node& node_;
    sim::SimLoop* loop_ = nullptr;
    std::unique_ptr<RegisterStore> store_;
    std::string why_;
    std::vector<SwapAnswer> answers_;
};

TEST_F(RegisterStoreTest, NothingIsRecordedAtFirst) {
    EXPECT_TRUE(store_->read("shop", "db").is_empty());
    EXPECT_EQ(store_->count("shop"), 0U);
}

TEST_F(RegisterStoreTest, WhatWasAnsweredSurvivesAPowerCut) {
    EXPECT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    EXPECT_EQ(swap("shop", proposal(value(1, 1), value(2, 2))).outcome, SwapOutcome::won);
    restart(true);
    ASSERT_NE(store_, nullptr) << why_;
    EXPECT_EQ(store_->read("shop", "db"), value(2, 2));
}

// At every point of a swap: the old value or the new one, and the new one once it was answered.
TEST_F(RegisterStoreTest, APowerCutAnywhereLeavesTheOldOrTheNewValue) {
    std::uint64_t epoch = 1;
    ASSERT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    bool finished = false;
    std::size_t olds = 0;
    for (std::uint64_t call = 1; !finished; ++call) {
        const RegisterValue before = store_->read("shop", "db");
        const RegisterValue after = value(epoch + 1, static_cast<std::uint8_t>(epoch + 1));
        const std::size_t answered = answers_.size();
        node_.die_at_vfs_call(call, true);
        propose("shop", proposal(before, after));
        world_.run_for(Duration::seconds(1));
        finished = answers_.size() > answered;
        if (finished) {
            EXPECT_EQ(answers_.back().outcome, SwapOutcome::won);
            node_.die_at_vfs_call(0);
            restart(true);
        } else {
            ASSERT_FALSE(node_.has_process());
            store_.reset();
            start();
        }
        ASSERT_NE(store_, nullptr) << "call " << call << ": " << why_;
        const RegisterValue now = store_->read("shop", "db");
        if (now == before) {
            EXPECT_FALSE(finished);
            ++olds;
        } else {
            EXPECT_EQ(now, after);
            epoch = now.epoch;
        }
    }
    EXPECT_GE(olds, 3U);
    EXPECT_GE(epoch, 2U);
}

TEST_F(RegisterStoreTest, ClustersAndMirrorsAreApart) {
    ASSERT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    EXPECT_TRUE(store_->read("home", "db").is_empty());
    EXPECT_TRUE(store_->read("shop", "mail").is_empty());
    // Neither name may run into the other.
    EXPECT_TRUE(store_->read("shop\ndb", "").is_empty());
    ASSERT_EQ(swap("home", proposal({}, value(1, 9))).outcome, SwapOutcome::won);
    EXPECT_EQ(store_->read("shop", "db"), value(1, 1));
    EXPECT_EQ(store_->count("shop"), 1U);
    restart(false);
    ASSERT_NE(store_, nullptr) << why_;
    EXPECT_EQ(store_->read("home", "db"), value(1, 9));
    EXPECT_EQ(store_->read("shop", "db"), value(1, 1));
}

TEST_F(RegisterStoreTest, ALostSwapIsToldWhatIsRecordedAndChangesNothing) {
    ASSERT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    const auto before = files();
    for (const RegisterProposal& late :
         {proposal({}, value(1, 2)), proposal(value(1, 3), value(2, 3)),
          proposal(value(1, 1), value(3, 3))}) {
        const SwapAnswer answer = swap("shop", late);
        EXPECT_EQ(answer.outcome, SwapOutcome::lost);
        EXPECT_EQ(answer.current, value(1, 1));
    }
    EXPECT_EQ(files(), before);
}

TEST_F(RegisterStoreTest, TheSameProposalAgainIsTheSameWin) {
    const RegisterProposal first = proposal({}, value(1, 1));
    ASSERT_EQ(swap("shop", first).outcome, SwapOutcome::won);
    restart(false);
    EXPECT_EQ(swap("shop", first).outcome, SwapOutcome::won);
    EXPECT_EQ(store_->read("shop", "db"), value(1, 1));
}

// Both are under way at a time: the second is judged by what the first has made.
TEST_F(RegisterStoreTest, OfTwoProposalsAtATimeOneWins) {
    propose("shop", proposal({}, value(1, 1)));
    propose("shop", proposal({}, value(1, 2)));
    propose("home", proposal({}, value(1, 3)));
    ASSERT_TRUE(world_.run_until([&] { return answers_.size() == 3; }));
    EXPECT_EQ(answers_[0].outcome, SwapOutcome::won);
    EXPECT_EQ(answers_[1].outcome, SwapOutcome::lost);
    EXPECT_EQ(answers_[1].current, value(1, 1));
    EXPECT_EQ(answers_[2].outcome, SwapOutcome::won);
}

// Not before it is durable, and the value in memory is the old one until then.
TEST_F(RegisterStoreTest, AValueIsNotToldBeforeItIsDurable) {
    node_.set_disk_stuck(true);
    propose("shop", proposal({}, value(1, 1)));
    world_.run_for(Duration::seconds(10));
    EXPECT_TRUE(answers_.empty());
    EXPECT_TRUE(store_->read("shop", "db").is_empty());
    node_.set_disk_stuck(false);
    ASSERT_TRUE(world_.run_until([&] { return answers_.size() == 1; }));
    EXPECT_EQ(answers_[0].outcome, SwapOutcome::won);
    EXPECT_EQ(store_->read("shop", "db"), value(1, 1));
}

TEST_F(RegisterStoreTest, AfterAFailureOfTheDiskNothingIsSwappedAnyMore) {
    for (const sim::VfsCall call :
         {sim::VfsCall::open, sim::VfsCall::write, sim::VfsCall::sync, sim::VfsCall::rename}) {
        sim::ScriptedFaults faults;
        faults.add({call, nullptr, 0, 1, {call == sim::VfsCall::write ? ENOSPC : EIO}});
        node_.set_fault_policy(&faults);
        const RegisterValue before = store_->read("shop", "db");
        const RegisterValue next =
            value(before.epoch + 1, static_cast<std::uint8_t>(10 + static_cast<int>(call)));
        EXPECT_EQ(swap("shop", proposal(before, next)).outcome, SwapOutcome::unknown);
        EXPECT_NE(answers_.back().text.find("disk has failed"), std::string::npos);
        EXPECT_EQ(swap("home", proposal({}, value(1, 1))).outcome, SwapOutcome::unreachable);
        node_.set_fault_policy(nullptr);
        restart(true);
        ASSERT_NE(store_, nullptr) << why_;
        const RegisterValue now = store_->read("shop", "db");
        EXPECT_TRUE(now == before || now == next);
        // The proposal that has an unknown outcome is settled by proposing it again.
        EXPECT_EQ(swap("shop", proposal(before, next)).outcome, SwapOutcome::won);
    }
}

TEST_F(RegisterStoreTest, ShortWritesAreContinued) {
    sim::ScriptedFaults faults;
    faults.add({sim::VfsCall::write, nullptr, 0, 5, {0, false, 7}});
    node_.set_fault_policy(&faults);
    ASSERT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    node_.set_fault_policy(nullptr);
    restart(false);
    ASSERT_NE(store_, nullptr) << why_;
    EXPECT_EQ(store_->read("shop", "db"), value(1, 1));
}

// Each truncation and each flipped byte: the witness does not start, rather than forget.
TEST_F(RegisterStoreTest, ADamagedRegisterIsRefused) {
    ASSERT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    const auto [name, good] = *files().begin();
    for (std::size_t at = 0; at < good.size(); ++at) {
        ByteBuffer flipped = good;
        flipped[at] ^= std::byte{0x10};
        write_file(name, flipped);
        open();
        ASSERT_EQ(store_, nullptr) << "byte " << at;
        EXPECT_NE(why_.find("the register in " + name + " is damaged"), std::string::npos);
        write_file(name, Bytes(good).first(at));
        open();
        ASSERT_EQ(store_, nullptr) << "cut at " << at;
    }
    ByteBuffer longer = good;
    longer.push_back(std::byte{0});
    write_file(name, longer);
    open();
    ASSERT_EQ(store_, nullptr);
    write_file(name, good);
    open();
    ASSERT_NE(store_, nullptr) << why_;
    EXPECT_EQ(store_->read("shop", "db"), value(1, 1));
}

// A copy under another cluster's name, intact as it is, is not that cluster's register.
TEST_F(RegisterStoreTest, ARegisterOfAnotherNameIsRefused) {
    ASSERT_EQ(swap("shop", proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    const auto shop = *files().begin();
    ASSERT_EQ(swap("home", proposal({}, value(1, 2))).outcome, SwapOutcome::won);
    for (const auto& [name, content] : files()) {
        if (name != shop.first) write_file(name, shop.second);
    }
    open();
    EXPECT_EQ(store_, nullptr);
}

TEST_F(RegisterStoreTest, WhatElseLiesThereIsLeftAlone) {
    write_file("lost+found", {});
    write_file("0123.register.new", as_bytes("torn"));
    open();
    ASSERT_NE(store_, nullptr) << why_;
    EXPECT_TRUE(files().contains("lost+found"));
}

TEST_F(RegisterStoreTest, ADirectoryThatIsNotThereIsNamed) {
    std::string why;
    EXPECT_FALSE(RegisterStore::open(*loop_, node_.log(), "/missing", why).ok());
    EXPECT_NE(why.find("/missing can't be opened"), std::string::npos);
}

}  // namespace
}  // namespace gemel
