// SPDX-License-Identifier: Apache-2.0
// Sessions over simulated streams: how they come about, what they carry, and what strangers on the
// port can do (nothing).
#include "engine/io/sim/fabric.hpp"
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "netdev/frame_link.hpp"
#include "netdev/session_acceptor.hpp"
#include "netdev/session_connector.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace gemel {
namespace {

constexpr std::uint16_t kPort = 7800;

// One end of a session: keeps what arrives.
struct End final : PeerLinkHandler {
    std::unique_ptr<PeerLink> link;
    PeerHello peer;
    std::vector<std::pair<FrameType, std::string>> frames;
    std::vector<Status> losses;
    std::function<void()> on_each = [] {};
    std::function<void()> on_loss = [] {};

    void take(std::unique_ptr<PeerLink> new_link, const PeerHello& hello) {
        link = std::move(new_link);
        peer = hello;
        link->set_handler(*this);
    }
    void on_frame(FrameType type, Bytes payload) noexcept override {
        frames.emplace_back(type, std::string(as_text(payload)));
        on_each();
    }
    void on_lost(Status reason) noexcept override {
        losses.push_back(reason);
        on_loss();
    }
};

struct Accepting final : SessionHandler {
    std::vector<std::unique_ptr<End>> ends;
    bool listens = true;  // sets the link's handler at once

    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override {
        ends.push_back(std::make_unique<End>());
        if (listens) {
            ends.back()->take(std::move(link), peer);
        } else {
            ends.back()->link = std::move(link);
        }
    }
};

struct Dialling final : SessionConnectorHandler {
    End end;
    int sessions = 0;
    std::vector<std::string> failures;
    std::vector<Status> reasons;

    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override {
        ++sessions;
        end.take(std::move(link), peer);
    }
    void on_attempt_failed(Status reason, const std::string& what) noexcept override {
        reasons.push_back(reason);
        failures.push_back(what);
    }
};

struct CountingLog final : LogSink {
    std::vector<std::string> lines;
    void log(LogLevel, std::string_view text) noexcept override { lines.emplace_back(text); }
};

// A stranger's connection.
struct Stranger final : ConnectHandler, StreamHandler {
    std::unique_ptr<Connecting> connecting;
    std::unique_ptr<Stream> stream;
    std::string received;
    bool is_closed = false;
    ByteBuffer to_send;

    void on_connected(std::unique_ptr<Stream> new_stream) noexcept override {
        stream = std::move(new_stream);
        stream->set_handler(*this);
        stream->send(to_send, {});
        stream->flush();
    }
    void on_connect_failed(Status) noexcept override { is_closed = true; }
    void on_data(Bytes data) noexcept override { received += as_text(data); }
    void on_closed(Status) noexcept override { is_closed = true; }
};

struct SessionTest : testing::Test {
    SessionTest() {
        identity_a.cluster = identity_b.cluster = "office";
        identity_a.node = "alpha";
        identity_b.node = "beta";
        identity_a.key.assign(32, std::byte{7});
        identity_b.key = identity_a.key;
        listen();
        connector = std::make_unique<SessionConnector>(a, identity_a, options(), connecting);
    }
    static sim::SimLoop& start_node(sim::World& world, std::uint8_t number) {
        sim::NodeOptions options;
        options.addresses = {{sim::ipv4(10, 0, 0, number), 0}};
        return world.add_node(options).start();
    }
    static SessionConnector::Options options() {
        SessionConnector::Options options;
        options.mirror = "home";
        options.routes = {{sim::ipv4(10, 0, 0, 2, kPort), {}}};
        return options;
    }
    void listen() {
        SessionAcceptor::Options options;
        options.local = sim::ipv4(10, 0, 0, 2, kPort);
        auto made = SessionAcceptor::listen(b, log, {&identity_b, 1}, options, accepting);
        ASSERT_TRUE(made.ok());
        acceptor = std::move(made).value();
    }
    void run_until(const std::function<bool()>& done) {
        ASSERT_TRUE(world.run_until(done)) << world.trace_text();
    }
    // Brings a session about.
    void meet() {
        connector->start();
        run_until([&] { return connecting.sessions == 1 && accepting.ends.size() == 1; });
    }
    End& near() { return connecting.end; }
    End& far() { return *accepting.ends.at(0); }
    std::unique_ptr<Stranger> send_stranger(ByteBuffer bytes) {
        auto stranger = std::make_unique<Stranger>();
        stranger->to_send = std::move(bytes);
        stranger->connecting =
            a.network().connect(sim::ipv4(10, 0, 0, 2, kPort), nullptr, *stranger);
        return stranger;
    }

    sim::World world{1};
    sim::SimLoop& a = start_node(world, 1);
    sim::SimLoop& b = start_node(world, 2);
    CountingLog log;
    SessionIdentity identity_a, identity_b;
    Accepting accepting;
    Dialling connecting;
    std::unique_ptr<SessionAcceptor> acceptor;
    std::unique_ptr<SessionConnector> connector;
};

TEST_F(SessionTest, FramesOfBothSidesArriveInOrder) {
    meet();
    EXPECT_EQ(near().peer.node, "beta");
    EXPECT_EQ(far().peer.node, "alpha");
    EXPECT_EQ(far().peer.mirror, "home");
    for (int i = 0; i < 200; ++i) {
        near().link->send(FrameType::op, as_bytes(std::to_string(i)), as_bytes("!"));
        far().link->send(FrameType::ack, as_bytes(std::to_string(i)));
    }
    run_until([&] { return near().frames.size() == 200 && far().frames.size() == 200; });
    for (int i = 0; i < 200; ++i) {
        const auto index = static_cast<std::size_t>(i);
        EXPECT_EQ(far().frames[index].first, FrameType::op);
        EXPECT_EQ(far().frames[index].second, std::to_string(i) + "!");
        EXPECT_EQ(near().frames[index].second, std::to_string(i));
    }
    EXPECT_TRUE(log.lines.empty());
}

TEST_F(SessionTest, TheLargestFrameAndCompressedOnesArriveWhole) {
    meet();
    std::string noise(kFrameSizeMax, 'x');
    for (char& c : noise) c = static_cast<char>(world.prng().next());
    const std::string text(1 << 20, 't');
    near().link->send(FrameType::op, as_bytes("h"), as_bytes(std::string_view(noise).substr(1)));
    for (int i = 0; i < 3; ++i) {
        near().link->send(FrameType::op, as_bytes("h"), as_bytes(text));
        near().link->send(FrameType::resync_content, as_bytes("h"), as_bytes(text));
    }
    EXPECT_LT(near().link->unsent(), noise.size() + text.size()) << "nothing was compressed";
    run_until([&] { return far().frames.size() == 7; });
    EXPECT_EQ(far().frames[0].second, "h" + noise.substr(1));
    for (std::size_t i = 1; i < 7; ++i) EXPECT_EQ(far().frames[i].second, "h" + text);
}

TEST_F(SessionTest, FramesWaitForTheFirstHandler) {
    accepting.listens = false;
    meet();
    near().link->send(FrameType::op, as_bytes("1"));
    near().link->send(FrameType::op, as_bytes("2"));
    world.run_for(Duration::seconds(1));
    near().link->close();
    world.run_for(Duration::seconds(1));
    EXPECT_TRUE(far().frames.empty());
    far().link->set_handler(far());
    EXPECT_TRUE(far().frames.empty()) << "called inside set_handler";
    run_until([&] { return far().losses.size() == 1; });
    ASSERT_EQ(far().frames.size(), 2U) << "what came before the end counts";
    EXPECT_EQ(far().frames[1].second, "2");
}

TEST_F(SessionTest, APeerThatTalksToNobodyIsCutOff) {
    accepting.listens = false;
    meet();
    const std::string chunk(kFrameSizeMax, 'x');
    for (int i = 0; i < 4; ++i) near().link->send(FrameType::op, as_bytes(chunk));
    run_until([&] { return near().losses.size() == 1; });
}

TEST_F(SessionTest, CloseIsHeardByTheOtherSideOnly) {
    meet();
    near().link->send(FrameType::op, as_bytes("last"));
    near().link->close();
    near().link->send(FrameType::op, as_bytes("too late"));
    run_until([&] { return far().losses.size() == 1; });
    EXPECT_EQ(far().frames.size(), 1U);
    world.run_for(Duration::seconds(10));
    EXPECT_TRUE(near().losses.empty());
    EXPECT_EQ(far().losses.size(), 1U);
}

TEST_F(SessionTest, AHandlerMayDestroyTheLinkInItsCalls) {
    meet();
    far().on_each = [&] { far().link.reset(); };
    near().on_loss = [&] { near().link.reset(); };
    near().link->send(FrameType::op, as_bytes("1"));
    near().link->send(FrameType::op, as_bytes("2"));
    run_until([&] { return near().losses.size() == 1; });
    EXPECT_EQ(far().frames.size(), 1U);
    EXPECT_TRUE(far().losses.empty());
}

// Whatever the wire does to the bytes, a wrong frame is never delivered.
TEST_F(SessionTest, ACorruptingWireEndsTheSessionAndDeliversNothingWrong) {
    for (int round = 0; round < 20; ++round) {
        accepting.ends.clear();
        connecting.sessions = 0;
        connecting.end = End();
        world.fabric().set_links({});
        meet();
        sim::LinkOptions bad;
        bad.corrupted_per_million = 200'000;
        world.fabric().set_links(bad);
        for (int i = 0; i < 2000 && near().losses.empty(); ++i) {
            near().link->send(FrameType::op, as_bytes(std::to_string(i)), as_bytes("data"));
            world.run_for(Duration::milliseconds(1));
        }
        EXPECT_FALSE(near().losses.empty() && far().losses.empty());
        for (std::size_t i = 0; i < far().frames.size(); ++i) {
            ASSERT_EQ(far().frames[i].second, std::to_string(i) + "data");
        }
        near().link.reset();
        world.run_for(Duration::seconds(1));
    }
}

// ---- Coming about -------------------------------------------------------------------------

TEST_F(SessionTest, TheConnectorTriesUntilSomebodyListens) {
    acceptor.reset();
    connector->start();
    run_until([&] { return connecting.failures.size() >= 5; });
    EXPECT_NE(connecting.failures[0].find("10.0.0.2:7800: cannot connect"), std::string::npos);
    listen();
    run_until([&] { return connecting.sessions == 1; });
    EXPECT_FALSE(connector->is_running());
    const std::size_t failures = connecting.failures.size();
    world.run_for(Duration::seconds(30));
    EXPECT_EQ(connecting.sessions, 1) << "one session was asked for";
    EXPECT_EQ(connecting.failures.size(), failures);
}

TEST_F(SessionTest, ADeadRouteCostsItsTimeLimitOnly) {
    auto two = options();
    two.routes.insert(two.routes.begin(), {sim::ipv4(10, 0, 0, 99, kPort), {}});
    connector = std::make_unique<SessionConnector>(a, identity_a, two, connecting);
    connector->start();
    run_until([&] { return connecting.sessions == 1; });
    EXPECT_GE(connecting.failures.size(), 1U);
}

TEST_F(SessionTest, AnAttemptThatHangsIsGivenUpAndRepeated) {
    world.fabric().cut_both(world.node(0), world.node(1));
    connector->start();
    run_until([&] { return connecting.failures.size() >= 2; });
    EXPECT_EQ(connecting.reasons[0].code(), Code::timed_out);
    world.fabric().heal_all();
    run_until([&] { return connecting.sessions == 1; });
}

TEST_F(SessionTest, AHandshakeThatHangsIsGivenUp) {
    connector->start();
    run_until([&] { return acceptor->pending_count() == 1; });
    world.fabric().cut_both(world.node(0), world.node(1));
    run_until([&] { return acceptor->pending_count() == 0; });
    EXPECT_EQ(accepting.ends.size(), 0U);
    EXPECT_EQ(log.lines.size(), 1U);
    run_until([&] { return !connecting.failures.empty(); });
    world.fabric().heal_all();
    run_until([&] { return connecting.sessions == 1; });
}

TEST_F(SessionTest, StopEndsAnAttemptAtAnyPoint) {
    for (int steps = 0; steps < 60; ++steps) {
        connector->start();
        for (int i = 0; i < steps; ++i) world.step();
        connector->stop();
        const int sessions = connecting.sessions;
        world.run_for(Duration::seconds(20));
        EXPECT_EQ(connecting.sessions, sessions);
        EXPECT_EQ(acceptor->pending_count(), 0U);
        connecting.end = End();
    }
    EXPECT_GT(connecting.sessions, 0) << "no run got through";
}

TEST_F(SessionTest, AnotherKeyIsRefusedOnBothSidesAndNotLoggedWithoutEnd) {
    identity_a.key[0] = std::byte{1};
    connector->start();
    run_until([&] { return connecting.failures.size() >= 20; });
    EXPECT_NE(connecting.failures[0].find("has another key for it"), std::string::npos);
    EXPECT_EQ(connecting.reasons[0].code(), Code::refused);
    EXPECT_TRUE(accepting.ends.empty());
    ASSERT_GE(log.lines.size(), 1U);
    EXPECT_LE(log.lines.size(), 4U);
    EXPECT_NE(log.lines[0].find("another key for cluster"), std::string::npos);
}

// ---- Strangers ----------------------------------------------------------------------------

ByteBuffer bytes_of(std::string_view text) {
    const Bytes bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

TEST_F(SessionTest, GarbageIsAnsweredWithTheEndOfTheConnectionAlone) {
    meet();
    Prng prng(3);
    std::vector<std::unique_ptr<Stranger>> strangers;
    strangers.push_back(send_stranger(bytes_of("GET / HTTP/1.1\r\n\r\n" + std::string(64, ' '))));
    ByteBuffer noise(100'000);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(prng.next());
    strangers.push_back(send_stranger(noise));
    // A frame that belongs into a session.
    FrameHeader header{};
    header.version = 1;
    header.type = FrameType::op;
    seal_frame(header, {}, {});
    const Bytes raw = std::as_bytes(std::span(&header, 1));
    strangers.push_back(send_stranger(ByteBuffer(raw.begin(), raw.end())));
    // A hello that is announced too long.
    header.version = kHandshakeVersion;
    header.type = FrameType::hello;
    header.body_size = header.plain_size = kHandshakePayloadMax + 1;
    const ByteBuffer body(header.body_size);
    seal_frame(header, {}, body);
    strangers.push_back(send_stranger(ByteBuffer(raw.begin(), raw.end())));
    run_until([&] {
        for (const auto& stranger : strangers) {
            if (!stranger->is_closed) return false;
        }
        return true;
    });
    for (const auto& stranger : strangers) EXPECT_EQ(stranger->received, "");
    EXPECT_EQ(acceptor->pending_count(), 0U);
    near().link->send(FrameType::op, as_bytes("still here"));
    run_until([&] { return far().frames.size() == 1; });
}

TEST_F(SessionTest, SilentStrangersAreBoundedAndKeepNobodyOut) {
    std::vector<std::unique_ptr<Stranger>> strangers;
    for (int i = 0; i < 100; ++i) strangers.push_back(send_stranger({}));
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(acceptor->pending_count(), 64U);
    meet();
    world.run_for(Duration::seconds(10));
    EXPECT_EQ(acceptor->pending_count(), 0U);
    for (const auto& stranger : strangers) EXPECT_TRUE(stranger->is_closed);
    EXPECT_LE(log.lines.size(), 2U);
}

}  // namespace
}  // namespace gemel
