// SPDX-License-Identifier: Apache-2.0
// Interleavings that would lose an acknowledged write, each built by hand: the holes that
// protocol.md names and those found while the machine was reviewed.
#include "tests/sim/election_models.hpp"
#include "tests/sim/election_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace gemel::sim {
namespace {

constexpr int kAlpha = 0, kBeta = 1, kArbiter = ElectionWorld::kArbiter;
constexpr Duration kLong = Duration::seconds(40);

class ElectionScenario : public testing::Test {
   protected:
    ElectionScenario() { world.set_automatic_writes(false); }
    ~ElectionScenario() override { EXPECT_EQ(world.broken(), ""); }

    // Both up, alpha primary, beta secondary.
    void pair() {
        world.boot(kAlpha);
        world.boot(kBeta);
        ASSERT_TRUE(world.run_until([&] { return world.is_paired(); }, kLong));
        ASSERT_EQ(world.state(kAlpha), MirrorState::primary);
    }
    // Writes at `node` and waits for the acknowledgement.
    int acked(int node) {
        const int op = world.write(node);
        EXPECT_GE(op, 0);
        EXPECT_TRUE(world.run_until([&] { return world.is_acked(op); }, Duration::seconds(10)));
        return op;
    }
    bool reaches(int node, MirrorState state, Duration limit = kLong) {
        const bool ok = world.run_until([&] { return world.state(node) == state; }, limit);
        EXPECT_TRUE(ok) << "node " << node << " is in " << mirror_state_name(world.state(node))
                        << ": " << world.reason(node);
        return ok;
    }
    bool stays_out(int node, Duration time) {
        const bool served = world.run_until(
            [&] { return world.is_up(node) && world.replica(node).is_serving(); }, time);
        return !served;
    }
    bool pairs_again() {
        return world.run_until([&] { return world.is_paired(); }, Duration::seconds(120));
    }

    ElectionWorld world{{.seed = 7}};
};

// protocol.md 1, hole: a power cycle shorter than `detect`.
TEST_F(ElectionScenario, ServingNodeRebootsInsideDetectAndIsNotTheSource) {
    pair();
    const int op = acked(kAlpha);
    world.power_cut(kAlpha);  // un-synced: the op may be gone there
    world.disk(kAlpha).content[0] = world.disk(kAlpha).durable[0] = false;
    world.run_for(Duration::milliseconds(200));
    world.boot(kAlpha);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    EXPECT_TRUE(world.has(kBeta, op));
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kAlpha, op));
}

// The same of the secondary: it must not take over weeks later with what it lost.
TEST_F(ElectionScenario, SecondaryRebootsInsideDetectAndCannotTakeOver) {
    pair();
    world.cut(kAlpha, kArbiter, true);  // alpha cannot record the loss
    const int op = acked(kAlpha);
    world.power_cut(kBeta);
    world.disk(kBeta).content[0] = world.disk(kBeta).durable[0] = false;
    world.run_for(Duration::milliseconds(200));
    world.boot(kBeta);
    world.kill(kAlpha);
    EXPECT_TRUE(stays_out(kBeta, kLong));
    EXPECT_NE(world.reason(kBeta).find("alpha"), std::string::npos) << world.reason(kBeta);
    world.heal();
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kBeta, op));
}

// protocol.md 2, hole: the reply of a committed takeover is lost, then the link heals.
TEST_F(ElectionScenario, ReplyOfATakeoverIsLost) {
    pair();
    const int before = acked(kAlpha);
    world.lose_swap_answers(kBeta, true);
    world.cut(kAlpha, kBeta, true);
    world.cut(kBeta, kAlpha, true);
    world.cut(kAlpha, kArbiter, true);
    world.run_for(Duration::seconds(3));
    EXPECT_EQ(world.recorded().serving, "beta");
    EXPECT_EQ(world.write(kBeta), -1) << "beta must not serve before it knows";
    world.lose_swap_answers(kBeta, false);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    acked(kBeta);
    world.heal();
    world.cut(kAlpha, kBeta, false);
    EXPECT_TRUE(pairs_again());
    EXPECT_EQ(world.state(kBeta), MirrorState::primary);
    EXPECT_TRUE(world.has(kAlpha, before));
}

// A swap to {alpha} that is carried out after alpha has looked and seen the old value.
TEST_F(ElectionScenario, LateSwapIsNotTakenForALostOne) {
    pair();
    world.delay_next_swap(kAlpha, Duration::seconds(5));
    world.cut(kAlpha, kBeta, true);
    world.cut(kBeta, kAlpha, true);
    world.cut(kBeta, kArbiter, true);
    const int op = world.write(kAlpha);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone));
    EXPECT_TRUE(world.is_acked(op));
    world.run_for(Duration::seconds(6));
    world.heal();
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kBeta, op));
}

// The swap that adds beta is carried out long after alpha gave beta up: until that is settled
// alpha may not acknowledge alone, or beta would be in the set without those writes.
TEST_F(ElectionScenario, JoinIsCarriedOutAfterTheTargetIsGone) {
    world.boot(kAlpha);
    world.boot(kBeta);
    ASSERT_TRUE(reaches(kBeta, MirrorState::resync));
    world.delay_next_swap(kAlpha, Duration::seconds(8));
    ASSERT_TRUE(world.run_until(
        [&] { return world.replica(kAlpha).role() == ReplicaRole::attaching; }, kLong));
    ASSERT_TRUE(world.run_until([&] { return world.delay_swap_[kAlpha].ns == 0; }, kLong));
    world.cut(kAlpha, kBeta, true);
    world.cut(kBeta, kAlpha, true);
    const int op = world.write(kAlpha);
    world.run_for(Duration::seconds(3));
    world.run_until([&] { return world.is_acked(op); }, kLong);  // E1 judges when
    world.power_cut(kAlpha);
    EXPECT_TRUE(!world.is_acked(op) || stays_out(kBeta, Duration::seconds(20)));
}

// Acknowledged alone between "complete" and the swap that adds the target.
TEST_F(ElectionScenario, NothingIsAcknowledgedAloneWhileTheTargetJoins) {
    world.boot(kAlpha);
    world.boot(kBeta);
    ASSERT_TRUE(world.run_until(
        [&] {
            return world.is_up(kAlpha) && world.replica(kAlpha).role() == ReplicaRole::attaching;
        },
        kLong));
    world.cut(kAlpha, kBeta, true);
    const int op = world.write(kAlpha);
    world.run_for(Duration::milliseconds(500));
    EXPECT_FALSE(world.is_acked(op));
    world.heal();
    world.cut(kAlpha, kBeta, false);
    EXPECT_TRUE(world.run_until([&] { return world.is_acked(op); }, kLong));
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kBeta, op));
}

// A paused serving node wakes up with its old role, after the other has served.
TEST_F(ElectionScenario, PausedServingNodeAcknowledgesNothingWhenItWakes) {
    pair();
    world.pause(kAlpha, Duration::seconds(10));
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    const int op = acked(kBeta);
    const int stale = world.write(kAlpha);
    EXPECT_TRUE(pairs_again());
    EXPECT_FALSE(world.is_acked(stale));
    EXPECT_EQ(world.state(kBeta), MirrorState::primary);
    EXPECT_TRUE(world.has(kAlpha, op));
}

// One-way cut: beta hears nothing, alpha hears everything and has an open session.
TEST_F(ElectionScenario, OneWayCutMakesOneTakeOverAndTheOtherStop) {
    pair();
    world.cut(kAlpha, kBeta, true);
    ASSERT_TRUE(world.run_until(
        [&] {
            return world.state(kBeta) == MirrorState::alone ||
                   world.state(kAlpha) == MirrorState::alone;
        },
        kLong));
    world.run_for(Duration::seconds(5));
    EXPECT_NE(world.replica(kAlpha).is_serving(), world.replica(kBeta).is_serving());
}

// Recorded alone, and cut off from power before it could begin: the other still has everything.
TEST_F(ElectionScenario, RecordedAloneButCutBeforeItBeganTheOtherGoesOn) {
    pair();
    const int op = acked(kAlpha);
    world.superblock_delay[kAlpha] = Duration::seconds(2);
    world.kill(kBeta);
    ASSERT_TRUE(world.run_until([&] { return world.recorded().in_sync.size() == 1; }, kLong));
    world.power_cut(kAlpha);
    world.disk(kAlpha).content[0] = world.disk(kAlpha).durable[0] = false;
    world.superblock_delay[kAlpha] = {};
    world.boot(kBeta);
    world.run_for(Duration::seconds(2));
    world.boot(kAlpha);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    EXPECT_TRUE(world.has(kBeta, op));
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kAlpha, op));
}

// It looks like one that never began, and has acknowledged what nobody else holds.
TEST_F(ElectionScenario, RecordedAloneAndItsStateGoneTheOtherDoesNotGoOn) {
    pair();
    for (const int other : {kAlpha, kArbiter}) {
        world.cut(kBeta, other, true);
        world.cut(other, kBeta, true);
    }
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone));
    const int op = acked(kAlpha);
    world.sync_all();
    world.kill(kAlpha);
    world.disk(kAlpha).superblock = Superblock();
    world.heal();
    world.boot(kAlpha);
    EXPECT_TRUE(stays_out(kBeta, kLong));
    EXPECT_TRUE(stays_out(kAlpha, Duration::seconds(1)));
    for (const int node : {kAlpha, kBeta}) {
        EXPECT_TRUE(world.run_until(
            [&] { return world.reason(node).find("state is gone") != std::string::npos; }, kLong))
            << world.reason(node);
    }
    world.command(kAlpha, Command::promote_force);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone));
    EXPECT_FALSE(world.is_paired());
    world.command(kBeta, Command::resync_full);
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kAlpha, op) && world.has(kBeta, op));
}

// protocol.md 10: the serving node's copy fails; the peer goes on, the failed one is no source.
TEST_F(ElectionScenario, FailingCopyHandsOverAndIsNeverTheSource) {
    pair();
    const int op = acked(kAlpha);
    world.fail_copy(kAlpha);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone, Duration::seconds(5)));
    EXPECT_EQ(world.state(kAlpha), MirrorState::wait);
    world.kill(kBeta);
    EXPECT_TRUE(stays_out(kAlpha, kLong));
    world.boot(kBeta);
    EXPECT_TRUE(pairs_again());
    EXPECT_EQ(world.state(kBeta), MirrorState::primary);
    EXPECT_TRUE(world.has(kAlpha, op));
}

TEST_F(ElectionScenario, FailingSecondaryLeavesAndTheApplicationGoesOn) {
    pair();
    world.fail_copy(kBeta);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone, Duration::seconds(5)));
    acked(kAlpha);
    world.kill(kAlpha);
    EXPECT_TRUE(stays_out(kBeta, Duration::seconds(10)));
    world.boot(kAlpha);
    EXPECT_TRUE(pairs_again());
}

TEST_F(ElectionScenario, BothRebootedAndOnlyOneIsBackItWaits) {
    pair();
    const int op = acked(kAlpha);
    world.sync_all();
    world.power_cut(kAlpha);
    world.power_cut(kBeta);
    world.boot(kBeta);
    EXPECT_TRUE(stays_out(kBeta, Duration::seconds(20)));
    EXPECT_NE(world.reason(kBeta).find("waits for alpha"), std::string::npos);
    world.boot(kAlpha);
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kAlpha, op) && world.has(kBeta, op));
}

TEST_F(ElectionScenario, WitnessThatForgotIsRefusedLoudly) {
    pair();
    const int op = acked(kAlpha);
    world.recorded() = {};
    world.power_cut(kAlpha);
    EXPECT_TRUE(stays_out(kBeta, Duration::seconds(10)));
    EXPECT_NE(world.reason(kBeta).find("older than epoch"), std::string::npos)
        << world.reason(kBeta);
    world.command(kBeta, Command::promote_force);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    EXPECT_TRUE(world.has(kBeta, op));
    world.boot(kAlpha);
    EXPECT_TRUE(pairs_again());
}

// Nobody has anything but its disk. What was synced is on both, so no person is needed.
TEST_F(ElectionScenario, EverybodyRebootedInAnyOrderEndsInService) {
    pair();
    std::array<int, 3> order{kAlpha, kBeta, kArbiter};
    do {
        const int serving = world.state(kAlpha) == MirrorState::primary ? kAlpha : kBeta;
        const int op = acked(serving);
        world.sync_all();
        world.power_cut(kAlpha);
        world.power_cut(kBeta);
        world.arbiter_is_down = true;
        for (const int machine : order) {
            world.run_for(Duration::seconds(5));
            if (machine == kArbiter) {
                world.arbiter_is_down = false;
            } else {
                world.boot(machine);
            }
        }
        ASSERT_TRUE(pairs_again()) << world.reason(kAlpha) << "; " << world.reason(kBeta);
        EXPECT_TRUE(world.has(kAlpha, op) && world.has(kBeta, op));
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(ElectionScenario, SwapExchangesTheRolesAndLosesNothing) {
    pair();
    const int op = acked(kAlpha);
    world.command(kBeta, Command::swap);
    ASSERT_TRUE(world.run_until([&] { return world.state(kBeta) == MirrorState::primary; }, kLong));
    EXPECT_TRUE(pairs_again());
    EXPECT_TRUE(world.has(kBeta, op));
}

// The node that was to begin dies in the middle of a swap: the other still may.
TEST_F(ElectionScenario, SwapWhoseReceiverDiesGoesBack) {
    pair();
    const int op = acked(kAlpha);
    world.cut(kBeta, kArbiter, true);  // it cannot begin before it dies
    world.command(kAlpha, Command::swap);
    ASSERT_TRUE(world.run_until([&] { return world.recorded().serving == "beta"; }, kLong));
    world.power_cut(kBeta);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone));
    EXPECT_TRUE(world.has(kAlpha, op));
    world.heal();
    EXPECT_TRUE(pairs_again());
}

TEST_F(ElectionScenario, StopOfTheServingNodeHandsOverAndOfTheSecondaryLeavesFirst) {
    pair();
    world.command(kAlpha, Command::stop);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone, Duration::seconds(10)));
    EXPECT_EQ(world.state(kAlpha), MirrorState::stopped);
    world.command(kAlpha, Command::start);
    ASSERT_TRUE(pairs_again());
    world.command(kAlpha, Command::stop);  // secondary now
    ASSERT_TRUE(reaches(kAlpha, MirrorState::stopped));
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone, Duration::seconds(5)));
    EXPECT_TRUE(world.recorded().is_only("beta"));
}

// A hello that was true when it was sent, and is read after its sender has begun to serve.
TEST_F(ElectionScenario, OldHelloOfAStoppedNodeIsNotBelieved) {
    pair();
    world.pause(kBeta, Duration::milliseconds(8500));
    world.run_for(Duration::seconds(1));
    world.command(kAlpha, Command::stop);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::stopped));
    world.run_for(Duration::seconds(1));
    world.command(kAlpha, Command::start);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone));
    const int op = acked(kAlpha);
    EXPECT_TRUE(pairs_again());
    EXPECT_EQ(world.state(kAlpha), MirrorState::primary);
    EXPECT_TRUE(world.has(kBeta, op));
}

// Both serve by force: refused, nothing overwritten, until a person gives one side up.
TEST_F(ElectionScenario, CopiesWrittenApartAreNeverMergedSilently) {
    pair();
    world.cut(kAlpha, kBeta, true);
    world.cut(kBeta, kAlpha, true);
    world.cut(kBeta, kArbiter, true);
    ASSERT_TRUE(reaches(kAlpha, MirrorState::alone));
    acked(kAlpha);
    world.command(kBeta, Command::promote_force);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    EXPECT_TRUE(world.disk(kBeta).superblock.served_alone_unrecorded);
    world.cut(kAlpha, kBeta, false);
    world.cut(kBeta, kAlpha, false);
    world.cut(kBeta, kArbiter, false);
    ASSERT_TRUE(reaches(kBeta, MirrorState::wait));
    world.run_for(Duration::seconds(20));
    EXPECT_EQ(world.state(kBeta), MirrorState::wait);
    EXPECT_EQ(world.state(kAlpha), MirrorState::alone);
    EXPECT_NE(world.reason(kBeta).find("written apart"), std::string::npos) << world.reason(kBeta);
    world.command(kBeta, Command::resync_full);
    EXPECT_TRUE(pairs_again());
    EXPECT_EQ(world.state(kAlpha), MirrorState::primary);
}

TEST_F(ElectionScenario, ServingNodeThatReachesNobodyStops) {
    pair();
    world.cut(kAlpha, kBeta, true);
    world.cut(kBeta, kAlpha, true);
    world.cut(kAlpha, kArbiter, true);
    const int op = world.write(kAlpha);
    ASSERT_TRUE(reaches(kBeta, MirrorState::alone));
    ASSERT_TRUE(reaches(kAlpha, MirrorState::wait));
    EXPECT_FALSE(world.is_acked(op));
    EXPECT_FALSE(world.replica(kAlpha).is_serving());
}

}  // namespace
}  // namespace gemel::sim
