// SPDX-License-Identifier: Apache-2.0
// A node's questions to a witness over a network that loses and delays: what the node is told of a
// swap is never more than it can know.
#include "controller/witness_arbiter.hpp"
#include "controller/witness_server.hpp"
#include "engine/io/sim/fabric.hpp"
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "netdev/session_acceptor.hpp"
#include "tests/unit/controller/register_samples.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace gemel {
namespace {

constexpr std::uint16_t kPort = 7801;

RegisterValue value(std::uint64_t epoch, std::uint8_t token, std::string serving = "alpha") {
    RegisterValue v;
    v.epoch = epoch;
    v.serving = std::move(serving);
    v.in_sync = {{v.serving, {uuid(1), uuid(2)}}};
    v.token = uuid(token);
    return v;
}

SessionIdentity identity_of(const std::string& cluster, const std::string& node) {
    SessionIdentity identity;
    identity.cluster = cluster;
    identity.node = node;
    identity.key.assign(32, std::byte(cluster[0]));
    return identity;
}

class Witness final : private SessionHandler {
   public:
    Witness(sim::SimLoop& loop, LogSink& log)
        : identities_{identity_of("shop", "(witness)"), identity_of("home", "(witness)")} {
        std::string why;
        auto store = RegisterStore::open(loop, log, "/state", why);
        EXPECT_TRUE(store.ok()) << why;
        store_ = std::move(store).value();
        server_ = std::make_unique<WitnessServer>(loop, log, *store_);
        SessionAcceptor::Options options;
        options.local = sim::ipv4(10, 0, 0, 9, kPort);
        auto acceptor = SessionAcceptor::listen(loop, log, identities_, options, *this);
        EXPECT_TRUE(acceptor.ok());
        acceptor_ = std::move(acceptor).value();
    }
    RegisterStore& store() { return *store_; }
    [[nodiscard]] std::size_t open_sessions() const { return server_->session_count(); }
    int sessions = 0;

   private:
    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override {
        ++sessions;
        server_->on_session(std::move(link), peer.cluster, peer.node, peer.mirror);
    }

    std::vector<SessionIdentity> identities_;
    std::unique_ptr<RegisterStore> store_;
    std::unique_ptr<WitnessServer> server_;
    std::unique_ptr<SessionAcceptor> acceptor_;
};

// A node that asks about the mirror "db".
struct Asker {
    Asker(sim::World& world, const std::string& cluster, const std::string& name,
          std::uint8_t number)
        : node(add(world, name, number)), identity(identity_of(cluster, name)) {
        start();
    }
    void start() {
        arbiter = std::make_unique<WitnessArbiter>(node.start(), node.log(), identity,
                                                   sim::ipv4(10, 0, 0, 9, kPort), "db");
    }
    static sim::Node& add(sim::World& world, const std::string& name, std::uint8_t number) {
        sim::NodeOptions options;
        options.name = name;
        options.addresses = {{sim::ipv4(10, 0, 0, number), 0}};
        return world.add_node(options);
    }
    void swap(const RegisterProposal& what) {
        arbiter->swap(what, [this](const SwapAnswer& answer) { swaps.push_back(answer); });
    }
    void read() {
        arbiter->read([this](const ReadAnswer& answer) { reads.push_back(answer); });
    }

    sim::Node& node;
    SessionIdentity identity;
    std::unique_ptr<WitnessArbiter> arbiter;
    std::vector<SwapAnswer> swaps;
    std::vector<ReadAnswer> reads;
};

class WitnessTest : public testing::Test {
   protected:
    WitnessTest() : machine_(Asker::add(world_, "witness", 9)) {
        machine_.make_directories("/state");
        start_witness();
    }
    void TearDown() override {
        alpha_.arbiter.reset();
        beta_.arbiter.reset();
        witness_.reset();
    }
    void start_witness() { witness_ = std::make_unique<Witness>(machine_.start(), machine_.log()); }
    void kill_witness() {
        machine_.kill_process();
        witness_.reset();
    }
    SwapAnswer swap(Asker& who, const RegisterProposal& what) {
        const std::size_t before = who.swaps.size();
        who.swap(what);
        EXPECT_EQ(who.swaps.size(), before) << "answered inside the call";
        EXPECT_TRUE(world_.run_until([&] { return who.swaps.size() > before; }));
        return who.swaps.back();
    }
    ReadAnswer read(Asker& who) {
        const std::size_t before = who.reads.size();
        who.read();
        EXPECT_TRUE(world_.run_until([&] { return who.reads.size() > before; }));
        return who.reads.back();
    }

    sim::World world_{1};
    sim::Node& machine_;
    std::unique_ptr<Witness> witness_;
    Asker alpha_{world_, "shop", "alpha", 1};
    Asker beta_{world_, "shop", "beta", 2};
};

TEST_F(WitnessTest, ASwapIsWonAndReadByTheOther) {
    EXPECT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    const ReadAnswer answer = read(beta_);
    EXPECT_TRUE(answer.status.ok());
    EXPECT_EQ(answer.current, value(1, 1));
}

TEST_F(WitnessTest, OfTwoProposalsOneWinsAndTheOtherSeesWhich) {
    ASSERT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    alpha_.swap(proposal(value(1, 1), value(2, 2, "alpha")));
    beta_.swap(proposal(value(1, 1), value(2, 3, "beta")));
    ASSERT_TRUE(
        world_.run_until([&] { return alpha_.swaps.size() == 2 && beta_.swaps.size() == 1; }));
    const SwapAnswer& a = alpha_.swaps.back();
    const SwapAnswer& b = beta_.swaps.back();
    EXPECT_NE(a.outcome == SwapOutcome::won, b.outcome == SwapOutcome::won);
    EXPECT_NE(a.outcome == SwapOutcome::lost, b.outcome == SwapOutcome::lost);
    EXPECT_EQ(a.current, b.current);
    EXPECT_EQ(a.current.serving, a.outcome == SwapOutcome::won ? "alpha" : "beta");
}

TEST_F(WitnessTest, AnotherClustersRegisterOfTheSameNameIsAnother) {
    Asker stranger(world_, "home", "alpha", 3);
    ASSERT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    EXPECT_TRUE(read(stranger).current.is_empty());
    EXPECT_EQ(swap(stranger, proposal({}, value(1, 7))).outcome, SwapOutcome::won);
    EXPECT_EQ(read(beta_).current, value(1, 1));
    stranger.arbiter.reset();
}

// The key of one cluster and the name of another: not a byte of it.
TEST_F(WitnessTest, AnotherClustersKeyIsRefused) {
    Asker thief(world_, "shop", "alpha", 3);
    thief.identity.key.assign(32, std::byte('h'));
    const ReadAnswer answer = read(thief);
    EXPECT_FALSE(answer.status.ok());
    EXPECT_NE(answer.text.find("knows no cluster 'shop' or has another key"), std::string::npos);
    thief.arbiter.reset();
}

// Nothing was sent: certainly not carried out.
TEST_F(WitnessTest, WithoutASessionASwapIsUnreachable) {
    kill_witness();
    world_.run_for(Duration::seconds(1));
    const Instant begin = world_.now();
    const SwapAnswer answer = swap(alpha_, proposal({}, value(1, 1)));
    EXPECT_EQ(answer.outcome, SwapOutcome::unreachable);
    EXPECT_LE(world_.now() - begin, Duration::milliseconds(2100));
    EXPECT_NE(answer.text.find("the witness 10.0.0.9:7801 did not answer in time"),
              std::string::npos);
    start_witness();
    EXPECT_TRUE(read(alpha_).current.is_empty());
}

// Carried out, and the answer never arrives: unknown, not lost; the same again is a win.
TEST_F(WitnessTest, ALostReplyIsAnUnknownOutcomeThatTheSameProposalSettles) {
    ASSERT_TRUE(read(alpha_).status.ok());
    world_.fabric().cut(machine_, alpha_.node);
    const RegisterProposal first = proposal({}, value(1, 1));
    EXPECT_EQ(swap(alpha_, first).outcome, SwapOutcome::unknown);
    EXPECT_EQ(witness_->store().read("shop", "db"), value(1, 1));
    world_.fabric().heal_all();
    EXPECT_EQ(swap(alpha_, first).outcome, SwapOutcome::won);
}

// Its answer comes when something else is being asked: that one gets its own answer only.
TEST_F(WitnessTest, ALateReplyIsNotTheAnswerToTheNextQuestion) {
    ASSERT_TRUE(read(alpha_).status.ok());
    machine_.set_disk_stuck(true);
    EXPECT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::unknown);
    const ReadAnswer looked = read(alpha_);
    EXPECT_TRUE(looked.status.ok());
    EXPECT_TRUE(looked.current.is_empty()) << "an old value, which settles nothing";
    alpha_.swap(proposal({}, value(1, 2)));
    world_.run_for(Duration::milliseconds(500));
    machine_.set_disk_stuck(false);
    ASSERT_TRUE(world_.run_until([&] { return alpha_.swaps.size() == 2; }));
    EXPECT_EQ(alpha_.swaps.back().outcome, SwapOutcome::lost);
    EXPECT_EQ(alpha_.swaps.back().current, value(1, 1)) << "the late one was carried out";
}

TEST_F(WitnessTest, AKilledWitnessIsFoundAgainWithEverything) {
    ASSERT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    kill_witness();
    start_witness();
    world_.run_for(Duration::seconds(3));
    EXPECT_EQ(witness_->sessions, 2) << "both have come again by themselves";
    const SwapAnswer answer = swap(alpha_, proposal(value(1, 1), value(2, 2)));
    EXPECT_EQ(answer.outcome, SwapOutcome::won);
    EXPECT_EQ(read(beta_).current, value(2, 2));
}

// It dies with the question: not known whether it had stored the answer.
TEST_F(WitnessTest, AWitnessKilledInTheMiddleLeavesTheOutcomeUnknown) {
    ASSERT_TRUE(read(alpha_).status.ok());
    machine_.set_disk_stuck(true);
    alpha_.swap(proposal({}, value(1, 1)));
    world_.run_for(Duration::milliseconds(500));
    kill_witness();
    machine_.set_disk_stuck(false);
    const Instant begin = world_.now();
    ASSERT_TRUE(world_.run_until([&] { return alpha_.swaps.size() == 1; }));
    EXPECT_LT(world_.now() - begin, Duration::seconds(1)) << "told by the end of the session";
    EXPECT_EQ(alpha_.swaps.back().outcome, SwapOutcome::unknown);
    start_witness();
    EXPECT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::won);
}

TEST_F(WitnessTest, AFailedDiskIsSaidAndSettlesNothing) {
    ASSERT_TRUE(read(alpha_).status.ok());
    sim::ScriptedFaults faults;
    faults.add({sim::VfsCall::sync, nullptr, 0, 1, {EIO}});
    machine_.set_fault_policy(&faults);
    const SwapAnswer answer = swap(alpha_, proposal({}, value(1, 1)));
    machine_.set_fault_policy(nullptr);
    EXPECT_EQ(answer.outcome, SwapOutcome::unknown);
    EXPECT_NE(answer.text.find("refuses: the witness's disk has failed"), std::string::npos);
    // Nor is anybody led to rely on an arbiter that can record nothing.
    EXPECT_FALSE(read(alpha_).status.ok());
}

// Questions that are none end the session, and only it.
// It never ended its connection, and nothing is sent to it by itself that would show it.
TEST_F(WitnessTest, ANodeThatLostItsPowerLeavesNoSessionBehind) {
    EXPECT_TRUE(read(alpha_).status.ok());
    world_.run_for(Duration::seconds(1));
    const std::size_t before = witness_->open_sessions();
    for (int i = 0; i < 3; ++i) {
        alpha_.node.power_cut();
        alpha_.arbiter.reset();
        alpha_.start();
        EXPECT_TRUE(read(alpha_).status.ok());
    }
    EXPECT_EQ(witness_->open_sessions(), before);
}

TEST_F(WitnessTest, NonsenseEndsTheSession) {
    class Talker final : public SessionConnectorHandler, public PeerLinkHandler {
       public:
        void on_session(std::unique_ptr<PeerLink> session, const PeerHello&) noexcept override {
            link = std::move(session);
            link->set_handler(*this);
        }
        void on_attempt_failed(Status, const std::string&) noexcept override {}
        void on_frame(FrameType, Bytes) noexcept override { ++answers; }
        void on_lost(Status) noexcept override { lost = true; }
        std::unique_ptr<PeerLink> link;
        int answers = 0;
        bool lost = false;
    };
    ASSERT_EQ(swap(alpha_, proposal({}, value(1, 1))).outcome, SwapOutcome::won);
    const SessionIdentity identity = identity_of("shop", "beta");
    ByteBuffer question = encode_register_read({1, "db", {}});
    const std::vector<std::pair<FrameType, ByteBuffer>> nonsense = {
        {FrameType::op, question},
        {FrameType::register_answer, question},
        {FrameType::register_swap, question},
        {FrameType::register_read, ByteBuffer(question.begin(), question.end() - 1)},
        {FrameType::register_read, encode_register_read({1, "../db", {}})}};
    for (const auto& [type, payload] : nonsense) {
        Talker talker;
        SessionConnector::Options options;
        options.routes = {{sim::ipv4(10, 0, 0, 9, kPort), {}}};
        options.purpose = SessionPurpose::witness;
        SessionConnector connector(beta_.node.loop(), identity, options, talker);
        connector.start();
        ASSERT_TRUE(world_.run_until([&] { return talker.link != nullptr; }));
        talker.link->send(type, payload);
        talker.link->flush();
        ASSERT_TRUE(world_.run_until([&] { return talker.lost; }));
        EXPECT_EQ(talker.answers, 0);
    }
    EXPECT_EQ(read(alpha_).current, value(1, 1));
}

}  // namespace
}  // namespace gemel
