// SPDX-License-Identifier: Apache-2.0
// Two nodes without an arbiter, their registers in memory, their session a function call.
#include "controller/arbiter_none.hpp"

#include "tests/sim/election_clock.hpp"
#include "tests/unit/controller_machine/memory_register.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gemel {
namespace {

class NoArbiterTest : public testing::Test {
   protected:
    struct Node {
        MemoryRegister local;
        NoArbiter arbiter;
        Node(Loop& loop, NoArbiter::Options options)
            : local(loop), arbiter(loop, local, std::move(options)) {}
    };
    NoArbiterTest() {
        for (int from = 0; from < 2; ++from) {
            nodes[index(from)].arbiter.set_send([this, from](const ControlMessage& message) {
                if (!connected) return false;
                if (lose_from == from) return true;
                loop.post(
                    [this, from, message] { nodes[index(1 - from)].arbiter.on_message(message); });
                return true;
            });
        }
    }
    static std::size_t index(int i) { return static_cast<std::size_t>(i); }
    void run() {
        const Instant end = clock.now() + Duration::seconds(10);
        while (clock.run_one(end)) {
        }
    }
    void ask(int node, const RegisterValue& expected, const RegisterValue& next,
             bool forced = false) {
        nodes[index(node)].arbiter.swap(
            {expected.epoch, expected.token, forced, next},
            [this, node](const SwapAnswer& answer) { swapped[index(node)] = answer; });
    }
    SwapOutcome swap(int node, const RegisterValue& expected, const RegisterValue& next,
                     bool forced = false) {
        ask(node, expected, next, forced);
        run();
        return swapped[index(node)].outcome;
    }
    ReadAnswer read(int node) {
        ReadAnswer result;
        nodes[index(node)].arbiter.read([&](const ReadAnswer& answer) { result = answer; });
        run();
        return result;
    }

    sim::ElectionClock clock;
    sim::ElectionLoop loop{clock, Prng(1), uuid(1), 100};
    std::array<Node, 2> nodes{Node{loop, {"alpha", "beta", true}},
                              Node{loop, {"beta", "alpha", false}}};
    bool connected = true;
    int lose_from = -1;
    std::array<SwapAnswer, 2> swapped;
    const RegisterValue both = register_of(1, 9, "alpha", {"alpha", "beta"});
    const RegisterValue alpha = register_of(2, 10, "alpha", {"alpha"});
    const RegisterValue beta = register_of(2, 11, "beta", {"beta"});
};

TEST_F(NoArbiterTest, AChangeIsStoredByBoth) {
    EXPECT_EQ(swap(0, {}, both), SwapOutcome::won);
    EXPECT_EQ(nodes[0].local.now, both);
    EXPECT_EQ(nodes[1].local.now, both);
    EXPECT_EQ(read(1).current, both);
}

TEST_F(NoArbiterTest, WithoutThePeerNothingChangesButByForce) {
    nodes[0].local.now = nodes[1].local.now = both;
    connected = false;
    EXPECT_EQ(swap(0, both, alpha), SwapOutcome::unreachable);
    EXPECT_FALSE(read(0).status.ok());
    EXPECT_EQ(swap(0, both, alpha, true), SwapOutcome::won);
    EXPECT_EQ(nodes[0].local.now, alpha);
}

TEST_F(NoArbiterTest, WhatNamesThisNodeAloneMayChangeAlone) {
    nodes[0].local.now = alpha;
    connected = false;
    EXPECT_EQ(read(0).current, alpha);
    EXPECT_EQ(swap(0, alpha, register_of(3, 12, "alpha", {"alpha"})), SwapOutcome::won);
}

TEST_F(NoArbiterTest, OfTwoProposalsAtOnceExactlyOneWins) {
    nodes[0].local.now = nodes[1].local.now = both;
    ask(0, both, alpha);
    ask(1, both, beta);
    run();
    EXPECT_EQ(swapped[0].outcome, SwapOutcome::won);
    EXPECT_NE(swapped[1].outcome, SwapOutcome::won);
    EXPECT_EQ(nodes[0].local.now, alpha);
    EXPECT_EQ(nodes[1].local.now, alpha);
    EXPECT_EQ(swap(1, both, beta), SwapOutcome::lost);
}

TEST_F(NoArbiterTest, LostAnswerIsUnknownAndTheSameProposalSettlesIt) {
    nodes[0].local.now = nodes[1].local.now = both;
    lose_from = 1;
    EXPECT_EQ(swap(0, both, alpha), SwapOutcome::unknown);
    EXPECT_EQ(nodes[1].local.now, alpha);
    lose_from = -1;
    EXPECT_EQ(swap(0, both, alpha), SwapOutcome::won);
    EXPECT_EQ(nodes[0].local.now, alpha);
}

TEST_F(NoArbiterTest, TheHigherEpochIsAdoptedByTheOther) {
    nodes[0].local.now = both;
    nodes[1].local.now = beta;  // forced while they were apart
    EXPECT_EQ(read(0).current, beta);
    EXPECT_EQ(nodes[0].local.now, beta);
    EXPECT_EQ(swap(0, both, alpha), SwapOutcome::lost);
}

TEST_F(NoArbiterTest, ForceOnBothSidesIsDecidedAlikeOnBoth) {
    nodes[0].local.now = alpha;
    nodes[1].local.now = beta;
    EXPECT_EQ(read(0).current, read(1).current);
}

}  // namespace
}  // namespace gemel
