// SPDX-License-Identifier: Apache-2.0
// The handshake as a state machine: who gets through, who does not, and what a stranger learns.
#include "netdev/handshake.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace gemel {
namespace {

Handshake::Nonce nonce_of(std::uint8_t number) {
    Handshake::Nonce nonce;
    nonce.fill(std::byte{number});
    return nonce;
}

SessionIdentity identity_of(std::string node) {
    SessionIdentity identity;
    identity.cluster = "office";
    identity.node = std::move(node);
    identity.key.assign(32, std::byte{7});
    return identity;
}

struct Recorded {
    bool to_acceptor;
    Handshake::Reply frame;
};

// Carries frames between the two until nothing moves; `change` may alter each on its way.
struct Conversation {
    SessionIdentity a = identity_of("alpha"), b = identity_of("beta");
    std::vector<SessionIdentity> others;  // clusters that the acceptor knows besides
    std::uint8_t nonce_a = 1, nonce_b = 2;
    std::function<void(bool to_acceptor, Handshake::Reply&)> change = [](bool, auto&) {};
    std::vector<Recorded> recorded;
    Handshake::State state_a = Handshake::State::going_on, state_b = Handshake::State::going_on;
    std::optional<Handshake> connector, acceptor;
    std::vector<SessionIdentity> known;

    void run() {
        connector.emplace(Handshake::connect(a, SessionPurpose::mirror, "home", nonce_of(nonce_a)));
        known = others;
        known.push_back(b);
        acceptor.emplace(Handshake::accept(known, nonce_of(nonce_b)));
        std::deque<Recorded> wire;
        const auto put = [&](bool to_acceptor, const Handshake::Step& step) {
            for (const Handshake::Reply& reply : step.replies) {
                wire.push_back({to_acceptor, reply});
                recorded.push_back(wire.back());
                change(to_acceptor, wire.back().frame);
            }
        };
        put(true, connector->start());
        put(false, acceptor->start());
        while (!wire.empty()) {
            const Recorded next = wire.front();
            wire.pop_front();
            Handshake& receiver = next.to_acceptor ? *acceptor : *connector;
            Handshake::State& state = next.to_acceptor ? state_b : state_a;
            if (state != Handshake::State::going_on) continue;
            const auto step = receiver.on_frame(next.frame.type, next.frame.payload);
            state = step.state;
            put(!next.to_acceptor, step);
        }
    }
    [[nodiscard]] bool both_done() const {
        return state_a == Handshake::State::done && state_b == Handshake::State::done;
    }
    // Everything that the acceptor said.
    [[nodiscard]] std::string said_by_acceptor() const {
        std::string said;
        for (const Recorded& frame : recorded) {
            if (!frame.to_acceptor) said += as_text(frame.frame.payload);
        }
        return said;
    }
};

TEST(Handshake, TwoNodesOfOneClusterMeet) {
    Conversation talk;
    talk.run();
    ASSERT_TRUE(talk.both_done());
    EXPECT_EQ(talk.connector->peer().node, "beta");
    EXPECT_EQ(talk.acceptor->peer().node, "alpha");
    EXPECT_EQ(talk.acceptor->peer().mirror, "home");
    EXPECT_EQ(talk.acceptor->peer().purpose, SessionPurpose::mirror);
    EXPECT_EQ(talk.acceptor->peer().version, kProtocolVersionMax);
    EXPECT_EQ(talk.connector->session_tag(), talk.acceptor->session_tag());
    EXPECT_FALSE(talk.acceptor->is_stranger());
    EXPECT_EQ(talk.recorded.size(), 4U);
}

TEST(Handshake, EverySessionHasItsOwnTag) {
    Conversation one, two;
    two.nonce_b = 3;
    one.run();
    two.run();
    EXPECT_NE(one.connector->session_tag(), two.connector->session_tag());
}

TEST(Handshake, AnotherKeyLearnsNothingAndIsRefused) {
    Conversation talk;
    talk.a.key[31] = std::byte{8};
    talk.run();
    EXPECT_EQ(talk.state_a, Handshake::State::failed);
    EXPECT_EQ(talk.state_b, Handshake::State::failed);
    EXPECT_TRUE(talk.acceptor->is_stranger());
    EXPECT_NE(talk.acceptor->failure().find("has another key for cluster 'office'; "),
              std::string::npos);
    EXPECT_NE(talk.connector->failure().find("knows no cluster 'office' or has another key"),
              std::string::npos);
    EXPECT_EQ(talk.said_by_acceptor().find("beta"), std::string::npos);
    EXPECT_EQ(talk.said_by_acceptor().find("office"), std::string::npos);
}

TEST(Handshake, AnotherClusterIsRefusedInTheSameWords) {
    Conversation other_cluster, other_key;
    other_cluster.a.cluster = "home";
    other_key.a.key[0] = std::byte{8};
    other_cluster.run();
    other_key.run();
    EXPECT_EQ(other_cluster.state_b, Handshake::State::failed);
    EXPECT_EQ(other_cluster.said_by_acceptor(), other_key.said_by_acceptor());
    EXPECT_NE(other_cluster.connector->failure().find("knows no cluster 'home' or has another key"),
              std::string::npos);
    EXPECT_NE(other_cluster.acceptor->failure().find("says that it belongs to cluster 'home', "
                                                     "which is not known here"),
              std::string::npos);
    EXPECT_TRUE(other_cluster.acceptor->is_stranger());
}

// Who has proved nothing chooses nothing that is printed but a plain name.
TEST(Handshake, AnImpossibleClusterNameIsNotPrinted) {
    Conversation talk;
    talk.a.cluster = "home\nERROR all is lost";
    talk.run();
    EXPECT_EQ(talk.state_b, Handshake::State::failed);
    EXPECT_EQ(talk.acceptor->failure().find("lost"), std::string::npos);
    EXPECT_NE(talk.acceptor->failure().find("a cluster of an impossible name"), std::string::npos);
}

TEST(Handshake, AnAcceptorOfManyClustersTakesEachByItsOwnKey) {
    for (const char* cluster : {"home", "office", "shop"}) {
        Conversation talk;
        for (const char* other : {"home", "shop"}) {
            talk.others.push_back(identity_of("(witness)"));
            talk.others.back().cluster = other;
            talk.others.back().key.assign(32, std::byte(other[0]));
            if (std::string_view(other) == cluster) talk.a.key = talk.others.back().key;
        }
        talk.a.cluster = cluster;
        talk.run();
        ASSERT_TRUE(talk.both_done()) << cluster;
        EXPECT_EQ(talk.acceptor->peer().cluster, cluster);
        EXPECT_EQ(talk.connector->peer().cluster, cluster);
        EXPECT_EQ(talk.connector->session_tag(), talk.acceptor->session_tag());
    }
}

TEST(Handshake, TheKeyOfOneClusterOpensNoOther) {
    Conversation talk;
    talk.others.push_back(identity_of("(witness)"));
    talk.others.back().cluster = "home";
    talk.others.back().key.assign(32, std::byte{1});
    talk.a.cluster = "home";  // with office's key, which the acceptor knows, too
    talk.run();
    EXPECT_EQ(talk.state_a, Handshake::State::failed);
    EXPECT_EQ(talk.state_b, Handshake::State::failed);
    EXPECT_TRUE(talk.acceptor->is_stranger());
    EXPECT_NE(talk.acceptor->failure().find("has another key for cluster 'home'"),
              std::string::npos);
}

TEST(Handshake, VersionsThatDoNotMeetSaySoOnBothSides) {
    Conversation talk;
    talk.a.version_min = talk.a.version_max = 7;
    talk.run();
    EXPECT_EQ(talk.acceptor->failure(),
              "no common protocol version: this side speaks 2, the other 7; bring the older gemel "
              "up to date");
    EXPECT_EQ(
        talk.connector->failure(),
        "refused: no common protocol version: this side speaks 7, the other 2; bring the older "
        "gemel up to date");
}

TEST(Handshake, TheHighestCommonVersionIsTaken) {
    Conversation talk;
    talk.a.version_max = 5;
    talk.b.version_min = 1;
    talk.b.version_max = 3;
    talk.run();
    ASSERT_TRUE(talk.both_done());
    EXPECT_EQ(talk.connector->peer().version, 3);
    EXPECT_EQ(talk.acceptor->peer().version, 3);
}

TEST(Handshake, ANodeThatReachesItselfIsRefused) {
    Conversation talk;
    talk.a.node = "beta";
    talk.run();
    EXPECT_EQ(talk.state_b, Handshake::State::failed);
    EXPECT_NE(talk.connector->failure().find("is the address its own"), std::string::npos);
}

// Who answers with what it was sent (the same challenge, the same proof) proves nothing.
TEST(Handshake, AMirrorImageIsNoPeer) {
    const SessionIdentity a = identity_of("alpha");
    Handshake connector = Handshake::connect(a, SessionPurpose::mirror, "home", nonce_of(1));
    const auto hello = connector.start();
    const auto proof = connector.on_frame(FrameType::hello, hello.replies[0].payload);
    ASSERT_EQ(proof.replies.size(), 1U);
    const auto end = connector.on_frame(FrameType::proof, proof.replies[0].payload);
    EXPECT_EQ(end.state, Handshake::State::failed);
    EXPECT_TRUE(connector.is_stranger());
}

TEST(Handshake, ARecordedConversationCannotBeReplayed) {
    Conversation original;
    original.run();
    ASSERT_TRUE(original.both_done());
    for (const bool against_acceptor : {true, false}) {
        const SessionIdentity b = identity_of(against_acceptor ? "beta" : "alpha");
        Handshake victim = against_acceptor
                               ? Handshake::accept({&b, 1}, nonce_of(9))
                               : Handshake::connect(b, SessionPurpose::mirror, "home", nonce_of(9));
        (void)victim.start();
        Handshake::State state = Handshake::State::going_on;
        for (const Recorded& frame : original.recorded) {
            if (frame.to_acceptor != against_acceptor) continue;
            if (state != Handshake::State::going_on) break;
            state = victim.on_frame(frame.frame.type, frame.frame.payload).state;
        }
        EXPECT_EQ(state, Handshake::State::failed);
        EXPECT_TRUE(victim.is_stranger());
    }
}

// Someone in the middle changes one byte of one frame: both never end in agreement.
TEST(Handshake, EveryChangedByteIsFound) {
    Conversation sample;
    sample.run();
    for (std::size_t target = 0; target < sample.recorded.size(); ++target) {
        const std::size_t size = sample.recorded[target].frame.payload.size();
        for (std::size_t at = 0; at < size; ++at) {
            Conversation talk;
            std::size_t count = 0;
            talk.change = [&](bool, Handshake::Reply& frame) {
                if (count++ == target) frame.payload.at(at) ^= std::byte{0x21};
            };
            talk.run();
            ASSERT_FALSE(talk.both_done()) << "frame " << target << " byte " << at;
        }
    }
}

TEST(Handshake, TruncatedFramesFail) {
    Conversation sample;
    sample.run();
    for (std::size_t target = 0; target < sample.recorded.size(); ++target) {
        const std::size_t size = sample.recorded[target].frame.payload.size();
        for (std::size_t cut = 0; cut < size; ++cut) {
            Conversation talk;
            std::size_t count = 0;
            talk.change = [&](bool, Handshake::Reply& frame) {
                if (count++ == target) frame.payload.resize(cut);
            };
            talk.run();
            ASSERT_FALSE(talk.both_done()) << "frame " << target << " cut at " << cut;
        }
    }
}

TEST(Handshake, FramesOutOfTurnFail) {
    const SessionIdentity b = identity_of("beta");
    for (const FrameType type : {FrameType::proof, FrameType::op, FrameType::mirror_state}) {
        Handshake acceptor = Handshake::accept({&b, 1}, nonce_of(2));
        (void)acceptor.start();
        EXPECT_EQ(acceptor.on_frame(type, {}).state, Handshake::State::failed);
    }
    Handshake acceptor = Handshake::accept({&b, 1}, nonce_of(2));
    (void)acceptor.start();
    ByteBuffer unknown(5, std::byte{0xEE});
    EXPECT_EQ(acceptor.on_frame(FrameType::refuse, unknown).state, Handshake::State::failed);
    EXPECT_EQ(acceptor.failure(), "refused for a reason that this version does not know");
}

}  // namespace
}  // namespace gemel
