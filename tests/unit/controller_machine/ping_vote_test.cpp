// SPDX-License-Identifier: Apache-2.0
// Two nodes whose arbiter is a ping: their registers in memory, their session a function call,
// their pings answered as a test says. When each may go on alone, and when it must not.
#include "controller/ping_vote.hpp"

#include "tests/sim/election_clock.hpp"
#include "tests/unit/controller_machine/memory_register.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gemel {
namespace {

constexpr Duration kDetect = Duration::seconds(1);
constexpr Duration kTick = Duration::milliseconds(100);
constexpr Duration kChance = Duration::seconds(5);  // twice detection, and 3 s
constexpr int kAlpha = 0, kBeta = 1;

class FakePings final : public PingSource {
   public:
    FakePings(Loop& loop, const bool& answers)
        : loop_(loop), timer_(loop, [this] { end(); }), answers_(answers) {}
    Duration late;  // how far behind the loop's time is when it answers
    void ping(std::function<void(const PingAnswer&)> done) override {
        done_ = std::move(done);
        timer_.start(answers_ ? Duration::milliseconds(1) : Duration::milliseconds(900));
    }

   private:
    void end() {
        const auto done = std::exchange(done_, nullptr);
        const Instant at = loop_.now() + late;
        done(answers_ ? PingAnswer{true, "10.0.0.254", at}
                      : PingAnswer{false, "10.0.0.254 does not answer pings", at});
    }
    Loop& loop_;
    Timer timer_;
    const bool& answers_;
    std::function<void(const PingAnswer&)> done_;
};

class PingVoteTest : public testing::Test {
   protected:
    struct Node {
        explicit Node(Loop& loop) : local(loop) {}
        MemoryRegister local;
        std::unique_ptr<NoArbiter> arbiter;
        PingVote* vote = nullptr;
        FakePings* pings = nullptr;
        bool address_answers = true;
        bool is_paused = false;
    };

    PingVoteTest() {
        for (int node = 0; node < 2; ++node) start(node);
        nodes[0].local.now = nodes[1].local.now = both;
        tick();
        connect();
        run_for(Duration::seconds(1));
    }
    static std::size_t index(int i) { return static_cast<std::size_t>(i); }
    // A new process of this node.
    void start(int number) {
        Node& node = nodes[index(number)];
        const std::string own = number == kAlpha ? "alpha" : "beta";
        const std::string peer = number == kAlpha ? "beta" : "alpha";
        auto pings = std::make_unique<FakePings>(loop, node.address_answers);
        node.pings = pings.get();
        auto vote =
            std::make_unique<PingVote>(loop, std::move(pings), PingVote::Options{peer, kDetect});
        node.vote = vote.get();
        node.arbiter = std::make_unique<NoArbiter>(loop, node.local,
                                                   NoArbiter::Options{own, peer, number == kAlpha});
        node.vote->set_refresh([&node](std::uint64_t refresh) { node.arbiter->refresh(refresh); });
        node.arbiter->set_vote(std::move(vote));
        node.arbiter->set_send([this, number](const ControlMessage& message) {
            if (!connected) return false;
            loop.post([this, number, message] {
                if (connected) nodes[index(1 - number)].arbiter->on_message(message);
            });
            return true;
        });
    }
    void tick() {
        loop.schedule(kTick, [this] { tick(); });
        for (Node& node : nodes) {
            if (!node.is_paused) node.vote->tick(connected);
        }
    }
    void connect() {
        connected = true;
        for (Node& node : nodes) {
            node.vote->peer_is_silent(false);
            node.vote->session_begins();
        }
    }
    // The nodes hear nothing of each other any more, and have found out.
    void cut() {
        connected = false;
        run_for(kDetect);
        for (Node& node : nodes) node.vote->peer_is_silent(true);
    }
    void run_for(Duration time) {
        const Instant end = clock.now() + time;
        while (clock.run_one(end)) {
        }
    }
    SwapAnswer swap(int node, const RegisterValue& expected, const RegisterValue& next) {
        SwapAnswer result;
        nodes[index(node)].arbiter->swap({expected.epoch, expected.token, false, next},
                                         [&](const SwapAnswer& answer) { result = answer; });
        run_for(Duration::seconds(2));
        return result;
    }
    ReadAnswer read(int node) {
        ReadAnswer result;
        nodes[index(node)].arbiter->read([&](const ReadAnswer& answer) { result = answer; });
        run_for(Duration::seconds(2));
        return result;
    }

    sim::ElectionClock clock;
    sim::ElectionLoop loop{clock, Prng(1), uuid(1), 100};
    std::array<Node, 2> nodes{Node(loop), Node(loop)};
    bool connected = false;
    const RegisterValue both = register_of(1, 9, "alpha", {"alpha", "beta"});
    const RegisterValue alpha = register_of(2, 10, "alpha", {"alpha"});
    const RegisterValue beta = register_of(3, 11, "beta", {"beta"});
};

TEST_F(PingVoteTest, WhileTheyAreConnectedBothStore) {
    nodes[kAlpha].address_answers = false;
    EXPECT_EQ(swap(kAlpha, both, alpha).outcome, SwapOutcome::won);
    EXPECT_EQ(nodes[kBeta].local.now, alpha);
    EXPECT_EQ(read(kBeta).current, alpha);
}

TEST_F(PingVoteTest, GoesOnFromASilentPeerIfTheAddressAnswers) {
    cut();
    const ReadAnswer looked = read(kBeta);
    EXPECT_TRUE(looked.status.ok()) << looked.text;
    EXPECT_EQ(looked.current, both);
    const SwapAnswer answer = swap(kBeta, both, beta);
    EXPECT_EQ(answer.outcome, SwapOutcome::won);
    EXPECT_EQ(nodes[kBeta].local.now, beta);
    EXPECT_EQ(answer.text,
              "decided by a ping of 10.0.0.254, so that alpha may serve, too, if only the way "
              "between the nodes is cut");
}

TEST_F(PingVoteTest, NotWhileHeartbeatsOfThePeerArrive) {
    connected = false;
    run_for(kDetect);
    const SwapAnswer answer = swap(kBeta, both, beta);
    EXPECT_EQ(answer.outcome, SwapOutcome::unreachable);
    EXPECT_EQ(answer.text, "alpha is alive: waits for its session");
    EXPECT_EQ(nodes[kBeta].local.now, both);
}

TEST_F(PingVoteTest, NotIfTheAddressIsSilentToo) {
    nodes[kBeta].address_answers = false;
    cut();
    EXPECT_NE(read(kBeta).text.find("10.0.0.254 does not answer pings: this node may be the one "
                                    "that is cut off"),
              std::string::npos);
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
    EXPECT_EQ(nodes[kBeta].local.now, both);
}

// The peer may have gone on meanwhile, and have died then: an answer that comes late proves
// nothing.
TEST_F(PingVoteTest, AnAnswerThatComesTooLateDoesNotCount) {
    nodes[kBeta].address_answers = false;
    cut();
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
    run_for(kChance);
    nodes[kBeta].address_answers = true;
    EXPECT_NE(read(kBeta).text.find("alpha was lost some time ago"), std::string::npos);
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
    // Until they have spoken to each other.
    connect();
    run_for(Duration::seconds(1));
    cut();
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::won);
}

TEST_F(PingVoteTest, AnAddressThatAnswersWithinTheChanceCounts) {
    nodes[kBeta].address_answers = false;
    cut();
    EXPECT_FALSE(read(kBeta).status.ok());
    nodes[kBeta].address_answers = true;
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::won);
}

// Its register may be an old one: the peer may have gone on while this node was not there.
TEST_F(PingVoteTest, NeverAfterAStartBeforeThePeerWasAsked) {
    cut();
    start(kBeta);
    nodes[kBeta].vote->peer_is_silent(true);
    run_for(Duration::seconds(1));
    const ReadAnswer answer = read(kBeta);
    EXPECT_FALSE(answer.status.ok());
    EXPECT_NE(answer.text.find("alpha may have gone on alone before this node could ask it"),
              std::string::npos);
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
    // What names it alone nobody else may have changed.
    nodes[kBeta].local.now = beta;
    EXPECT_TRUE(read(kBeta).status.ok());
    const RegisterValue next = register_of(5, 12, "beta", {"beta"});
    EXPECT_EQ(swap(kBeta, beta, next).outcome, SwapOutcome::won);
}

TEST_F(PingVoteTest, OnlyByWhoIsInTheSetWithItsIncarnation) {
    nodes[kBeta].local.now = nodes[kAlpha].local.now = alpha;
    run_for(Duration::seconds(1));
    cut();
    EXPECT_FALSE(read(kBeta).status.ok());
    EXPECT_EQ(swap(kBeta, alpha, beta).outcome, SwapOutcome::unreachable);
    nodes[kBeta].local.now = both;
    RegisterValue reborn = beta;
    reborn.in_sync[0].incarnation.number = uuid(77);
    EXPECT_EQ(swap(kBeta, both, reborn).outcome, SwapOutcome::unreachable);
    EXPECT_EQ(nodes[kBeta].local.now, both);
}

// A node that was stopped for longer than detection has been given up, for all it knows.
TEST_F(PingVoteTest, NotAfterAPause) {
    nodes[kBeta].is_paused = true;
    run_for(kDetect * 2);
    nodes[kBeta].is_paused = false;
    connected = false;
    nodes[kBeta].vote->peer_is_silent(true);
    run_for(kTick * 2);
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
}

// It is told that the peer is silent, and asks, before anything else tells it of the pause.
TEST_F(PingVoteTest, NotAfterAPauseThatNothingElseHasNoticed) {
    nodes[kBeta].is_paused = true;
    connected = false;
    run_for(kDetect * 2);
    nodes[kBeta].vote->peer_is_silent(true);
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
}

// The loop's turn began before the pause, and does not know the time.
TEST_F(PingVoteTest, NotAfterAPauseInTheMiddleOfATurn) {
    cut();
    nodes[kBeta].pings->late = kDetect * 2;
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::unreachable);
    EXPECT_EQ(nodes[kBeta].local.now, both);
}

TEST_F(PingVoteTest, AShortPauseCostsAQuestionOnly) {
    nodes[kBeta].is_paused = true;
    run_for(kDetect);
    nodes[kBeta].is_paused = false;
    run_for(Duration::seconds(1));
    cut();
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::won);
}

// Of a session before this one, or from before a pause.
TEST_F(PingVoteTest, AnAnswerToAnEarlierQuestionDoesNotCount) {
    const bool answers = true;
    PingVote vote(loop, std::make_unique<FakePings>(loop, answers), {"alpha", kDetect});
    std::uint64_t asked = 0;
    vote.set_refresh([&](std::uint64_t refresh) { asked = refresh; });
    const auto may = [&] {
        bool result = false;
        vote.peer_is_silent(true);
        vote.ask([&](bool yes, const std::string&) { result = yes; });
        run_for(Duration::milliseconds(10));
        return result;
    };
    vote.session_begins();
    vote.tick(true);
    const std::uint64_t earlier = asked;
    vote.session_begins();
    vote.agreed(earlier);
    vote.tick(true);
    EXPECT_FALSE(may());
    EXPECT_NE(asked, earlier);
    vote.agreed(asked);
    vote.tick(true);
    EXPECT_TRUE(may());
    // Known once is not known any more when the peer is heard of to have a newer one.
    vote.disagreed();
    vote.agreed(asked);
    vote.tick(true);
    EXPECT_FALSE(may());
}

TEST_F(PingVoteTest, AnOlderRegisterThanThePeersIsReplacedBeforeItCounts) {
    connected = false;
    nodes[kAlpha].local.now = alpha;
    nodes[kAlpha].vote->set_refresh(nullptr);
    connect();
    run_for(Duration::seconds(1));
    EXPECT_EQ(nodes[kBeta].local.now, alpha);
    cut();
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::lost);
}

TEST_F(PingVoteTest, NotIfThePeerIsBackWhenTheAddressAnswers) {
    cut();
    SwapAnswer result;
    nodes[kBeta].arbiter->swap({both.epoch, both.token, false, beta},
                               [&](const SwapAnswer& answer) { result = answer; });
    nodes[kBeta].vote->peer_is_silent(false);
    run_for(Duration::seconds(2));
    EXPECT_EQ(result.outcome, SwapOutcome::unreachable);
    EXPECT_EQ(nodes[kBeta].local.now, both);
}

// The limit of a ping. When they meet again both take the newer register; what the one that loses
// has written apart is told by its history.
TEST_F(PingVoteTest, InACutBetweenThemBothMayGoOn) {
    cut();
    SwapAnswer alphas;
    nodes[kAlpha].arbiter->swap({both.epoch, both.token, false, alpha},
                                [&](const SwapAnswer& answer) { alphas = answer; });
    EXPECT_EQ(swap(kBeta, both, beta).outcome, SwapOutcome::won);
    EXPECT_EQ(alphas.outcome, SwapOutcome::won);
    connect();
    EXPECT_EQ(read(kAlpha).current, beta);
    EXPECT_EQ(read(kBeta).current, beta);
    run_for(Duration::seconds(1));
    // And the one that lost can't win by what it had.
    cut();
    EXPECT_EQ(swap(kAlpha, beta, register_of(4, 13, "alpha", {"alpha"})).outcome,
              SwapOutcome::unreachable);
}

// A change that the peer may have stored: the same proposal is won without it, as any other.
TEST_F(PingVoteTest, AProposalWhoseAnswerWasLostIsSettledAlone) {
    nodes[kAlpha].local.now = nodes[kBeta].local.now = alpha;
    run_for(Duration::seconds(1));
    const RegisterValue joined = register_of(3, 14, "alpha", {"alpha", "beta"});
    cut();
    EXPECT_EQ(swap(kAlpha, alpha, joined).outcome, SwapOutcome::won);
    EXPECT_EQ(nodes[kAlpha].local.now, joined);
}

}  // namespace
}  // namespace gemel
