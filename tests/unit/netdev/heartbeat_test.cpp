// SPDX-License-Identifier: Apache-2.0
// Two heartbeat engines, and somebody who records and repeats what they say.
#include "netdev/heartbeat_engine.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

constexpr Duration kInterval = Duration::milliseconds(100);

class Heartbeats : public ::testing::Test {
   protected:
    static HeartbeatEngine::Options options(const std::string& node, std::uint64_t start) {
        HeartbeatEngine::Options result;
        result.cluster = "shop";
        result.node = node;
        result.key = ByteBuffer(32, std::byte{7});
        result.peers.push_back({node == "alpha" ? "beta" : "alpha", 2});
        result.start = start;
        return result;
    }
    // One heartbeat each way on every link, then an interval passes.
    void exchange(HeartbeatEngine& from, HeartbeatEngine& to) {
        for (std::size_t link = 0; link < 2; ++link) {
            note(to.receive(link, from.make(0, link, now_), now_));
            note(from.receive(link, to.make(0, link, now_), now_));
        }
        pass(from, to);
    }
    void pass(HeartbeatEngine& a, HeartbeatEngine& b) {
        now_ = now_ + kInterval;
        for (HeartbeatEngine* engine : {&a, &b}) {
            note_all(engine->tick(now_));
        }
    }
    void note(const std::optional<HeartbeatEngine::Verdict>& verdict) {
        if (verdict) verdicts_.push_back(verdict->change);
    }

    void note_all(const std::vector<HeartbeatEngine::Verdict>& verdicts) {
        for (const auto& verdict : verdicts) note(verdict);
    }

    Instant now_{1'000'000'000};
    std::vector<HeartbeatMonitor::Change> verdicts_;
    HeartbeatEngine alpha_{options("alpha", 11), now_};
    HeartbeatEngine beta_{options("beta", 22), now_};
};

TEST_F(Heartbeats, LiveNodesHearEachOtherAndMeasureTheRoundTrip) {
    for (int i = 0; i < 30; ++i) exchange(alpha_, beta_);
    EXPECT_TRUE(verdicts_.empty());
    for (const HeartbeatEngine* engine : {&alpha_, &beta_}) {
        EXPECT_FALSE(engine->monitor(0).is_silent());
        EXPECT_TRUE(engine->monitor(0).link(1).is_up);
        EXPECT_TRUE(engine->monitor(0).link(1).round_trip.has_value());
    }
}

TEST_F(Heartbeats, SilenceOnEveryLinkIsNoticedAndItsEndToo) {
    for (int i = 0; i < 3; ++i) exchange(alpha_, beta_);
    for (int i = 0; i < 12; ++i) pass(alpha_, beta_);
    EXPECT_TRUE(alpha_.monitor(0).is_silent());
    exchange(alpha_, beta_);
    EXPECT_FALSE(alpha_.monitor(0).is_silent());
    ASSERT_EQ(verdicts_.size(), 4U) << "silent and alive, on each node";
}

TEST_F(Heartbeats, OneLinkIsEnough) {
    for (int i = 0; i < 30; ++i) {
        note(alpha_.receive(1, beta_.make(0, 1, now_), now_));
        note(beta_.receive(1, alpha_.make(0, 1, now_), now_));
        pass(alpha_, beta_);
    }
    EXPECT_TRUE(verdicts_.empty());
    EXPECT_FALSE(alpha_.monitor(0).link(0).is_up);
}

TEST_F(Heartbeats, RestartedPeerIsBelievedOnceItHasHeardThisNode) {
    for (int i = 0; i < 3; ++i) exchange(alpha_, beta_);
    HeartbeatEngine restarted(options("beta", 33), now_);
    for (int i = 0; i < 30; ++i) exchange(alpha_, restarted);
    EXPECT_FALSE(alpha_.monitor(0).is_silent());
    EXPECT_FALSE(restarted.monitor(0).is_silent());
    EXPECT_TRUE(verdicts_.empty());
}

TEST_F(Heartbeats, RepeatedDatagramsAreNoSignOfLife) {
    std::vector<ByteBuffer> recorded;
    for (int i = 0; i < 5; ++i) {
        recorded.push_back(beta_.make(0, 0, now_));
        exchange(alpha_, beta_);
    }
    for (const ByteBuffer& overtaken : recorded) note(alpha_.receive(1, overtaken, now_));
    for (int i = 0; i < 15; ++i) {
        for (const ByteBuffer& copy : recorded) note(alpha_.receive(0, copy, now_));
        pass(alpha_, beta_);
    }
    EXPECT_TRUE(alpha_.monitor(0).is_silent()) << "a second copy counted";
    HeartbeatEngine late(options("alpha", 44), now_);
    for (int i = 0; i < 20; ++i) {
        EXPECT_FALSE(late.receive(0, recorded[0], now_).has_value());
        now_ = now_ + kInterval;
        note_all(late.tick(now_));
    }
    EXPECT_TRUE(late.monitor(0).is_silent()) << "a copy from before its start counted";
}

TEST_F(Heartbeats, CopiesFromBeforeTheStartDoNotShutTheRealPeerOut) {
    HeartbeatEngine old_beta(options("beta", 99), now_);
    HeartbeatEngine old_alpha(options("alpha", 98), now_);
    std::vector<ByteBuffer> recorded;
    for (int i = 0; i < 5; ++i) {
        recorded.push_back(old_beta.make(0, 0, now_));
        exchange(old_alpha, old_beta);
    }
    exchange(alpha_, beta_);
    for (int i = 0; i < 50; ++i) {
        for (const ByteBuffer& copy : recorded) note(alpha_.receive(0, copy, now_));
        exchange(alpha_, beta_);
        for (const ByteBuffer& copy : recorded) note(alpha_.receive(0, copy, now_));
    }
    EXPECT_TRUE(verdicts_.empty());
    EXPECT_FALSE(alpha_.monitor(0).is_silent());
}

TEST_F(Heartbeats, ForeignAndDamagedDatagramsAreIgnored) {
    HeartbeatEngine::Options foreign = options("beta", 22);
    foreign.key = ByteBuffer(32, std::byte{8});
    HeartbeatEngine stranger(foreign, now_);
    HeartbeatEngine::Options other = options("beta", 22);
    other.cluster = "other";
    HeartbeatEngine neighbour(other, now_);
    ByteBuffer damaged = beta_.make(0, 0, now_);
    damaged[20] ^= std::byte{1};
    const ByteBuffer empty;
    const ByteBuffer huge(4096, std::byte{1});
    for (int i = 0; i < 15; ++i) {
        note(alpha_.receive(0, stranger.make(0, 0, now_), now_));
        note(alpha_.receive(0, neighbour.make(0, 0, now_), now_));
        note(alpha_.receive(0, damaged, now_));
        note(alpha_.receive(0, empty, now_));
        note(alpha_.receive(0, huge, now_));
        note(alpha_.receive(0, alpha_.make(0, 0, now_), now_));  // its own, sent back
        pass(alpha_, beta_);
    }
    EXPECT_TRUE(alpha_.monitor(0).is_silent());
}

TEST_F(Heartbeats, TheAgeOfADiskIsToldUntilItIsDone) {
    const std::uint64_t shop = disk_age_key("shop"), other = disk_age_key("other");
    const auto tell = [&](const std::vector<DiskAge>& ages) {
        note(alpha_.receive(0, beta_.make(0, 0, now_, ages), now_));
        note(beta_.receive(0, alpha_.make(0, 0, now_), now_));
        pass(alpha_, beta_);
    };
    for (int i = 0; i < 3; ++i) tell({{shop, Duration::seconds(7)}});
    EXPECT_EQ(alpha_.disk_age(0, shop), Duration::seconds(7));
    EXPECT_EQ(alpha_.disk_age(0, other), Duration());
    // Its loop hangs: that concerns every mirror.
    tell({{shop, Duration::seconds(1)}, {0, Duration::seconds(2)}});
    EXPECT_EQ(alpha_.disk_age(0, shop), Duration::seconds(2));
    EXPECT_EQ(alpha_.disk_age(0, other), Duration::seconds(2));
    // What was overtaken on its way says nothing any more.
    const ByteBuffer late = beta_.make(0, 0, now_, std::vector<DiskAge>{{0, Duration::seconds(9)}});
    tell({});
    note(alpha_.receive(0, late, now_));
    EXPECT_EQ(alpha_.disk_age(0, shop), Duration());
}

TEST_F(Heartbeats, OfManyDisksTheOldestAreTold) {
    for (int i = 0; i < 3; ++i) exchange(alpha_, beta_);
    std::vector<DiskAge> ages;
    for (std::uint64_t i = 1; i <= 100; ++i) {
        ages.push_back({i, Duration::seconds(static_cast<std::int64_t>(i))});
    }
    const ByteBuffer datagram = beta_.make(0, 0, now_, ages);
    EXPECT_LE(datagram.size(), kHeartbeatSizeMax);
    note(alpha_.receive(0, datagram, now_));
    EXPECT_EQ(alpha_.disk_age(0, 100), Duration::seconds(100));
    EXPECT_EQ(alpha_.disk_age(0, 1), Duration());
}

}  // namespace
}  // namespace gemel
