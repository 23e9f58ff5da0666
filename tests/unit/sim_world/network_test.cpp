// SPDX-License-Identifier: Apache-2.0
// Streams and datagrams between nodes, and what cuts, kills and power cuts do to them.
#include "tests/unit/sim_world/scenario.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace gemel::sim {
namespace {

struct Talker final : StreamHandler, ListenerHandler, ConnectHandler {
    explicit Talker(SimLoop& used) : loop(used) {}
    void listen(const SocketAddress& local) {
        auto made = loop.network().listen(local, *this);
        ASSERT_TRUE(made.ok()) << made.status().to_string();
        listener = std::move(made).value();
    }
    void connect(const SocketAddress& remote) {
        connecting = loop.network().connect(remote, nullptr, *this);
    }
    void adopt(std::unique_ptr<Stream> made) {
        stream = std::move(made);
        is_closed = false;
        stream->set_handler(*this);
    }
    void on_accepted(std::unique_ptr<Stream> made) noexcept override { adopt(std::move(made)); }
    void on_connected(std::unique_ptr<Stream> made) noexcept override {
        connecting.reset();
        adopt(std::move(made));
    }
    void on_connect_failed(Status reason) noexcept override { failure = reason; }
    void on_data(Bytes data) noexcept override {
        received += as_text(data);
        ++pieces;
        if (on_piece) on_piece();
    }
    void on_closed(Status reason) noexcept override {
        EXPECT_FALSE(is_closed);
        is_closed = true;
        failure = reason;
    }
    void on_drained() noexcept override { ++drained; }
    void say(std::string_view text) { stream->send(as_bytes(text), {}); }

    SimLoop& loop;
    std::unique_ptr<Listener> listener;
    std::unique_ptr<Connecting> connecting;
    std::unique_ptr<Stream> stream;
    std::string received;
    std::function<void()> on_piece;
    Status failure;
    bool is_closed = false;
    int pieces = 0;
    int drained = 0;
};

class NetworkTest : public testing::Test {
   protected:
    NetworkTest() {
        for (int i = 0; i < 2; ++i) start(i);
        EXPECT_TRUE(world.run_until([&] { return a->stream != nullptr && b->stream != nullptr; }));
    }
    // b listens, a connects.
    void start(int number) {
        Node& node = number == 0 ? node_a : node_b;
        node.start([&](SimLoop& loop) {
            auto program = std::make_unique<ProgramOf<Talker>>(loop);
            (number == 0 ? a : b) = &program->state;
            if (number == 1) program->state.listen(address_of(1, 7800));
            if (number == 0) program->state.connect(address_of(1, 7800));
            return program;
        });
    }
    bool reach(const std::function<bool()>& goal) { return world.run_until(goal); }

    World world{3};
    Node& node_a = add_plain_node(world, 0);
    Node& node_b = add_plain_node(world, 1);
    Talker* a = nullptr;
    Talker* b = nullptr;
};

TEST_F(NetworkTest, BytesArriveInOrderInPiecesOfAnySize) {
    std::string sent;
    for (int i = 0; i < 200; ++i) {
        const std::string line = "line " + std::to_string(i) + "\n";
        sent += line;
        a->say(line);
        world.run_for(Duration::microseconds(30));
    }
    EXPECT_TRUE(reach([&] { return b->received.size() == sent.size(); }));
    EXPECT_EQ(b->received, sent);
    EXPECT_GT(b->pieces, 10);
    EXPECT_LT(b->pieces, 400);
    EXPECT_EQ(b->stream->remote().ip, address_of(0).ip);
}

TEST_F(NetworkTest, SlowReaderFillsTheKernelThenTheSenderThenDrains) {
    node_b.pause();
    const std::string block(300'000, 'x');
    for (int i = 0; i < 10; ++i) {
        a->say(block);
        world.run_for(Duration::seconds(1));
    }
    EXPECT_EQ(a->stream->unsent(), 3'000'000 - Fabric::kSocketBuffer);
    EXPECT_EQ(a->drained, 0);
    node_b.resume();
    EXPECT_TRUE(reach([&] { return b->received.size() == 3'000'000; }));
    EXPECT_EQ(a->stream->unsent(), 0U);
    EXPECT_EQ(a->drained, 1);
}

TEST_F(NetworkTest, CloseDeliversWhatWasSentBeforeIt) {
    a->say("last words");
    a->stream.reset();
    EXPECT_TRUE(reach([&] { return b->is_closed; }));
    EXPECT_EQ(b->received, "last words");
    EXPECT_EQ(b->failure, Status(Code::disconnected));
    b->stream.reset();
    world.run_for(Duration::seconds(200));
    EXPECT_EQ(world.fabric().connection_count(), 0U);
}

TEST_F(NetworkTest, ClosingInsideOnDataIsSafe) {
    b->on_piece = [&] { b->stream.reset(); };
    a->say("one");
    EXPECT_TRUE(reach([&] { return b->received.size() == 3 || b->pieces == 1; }));
    a->say("two");
    EXPECT_TRUE(reach([&] { return a->is_closed; }));
    EXPECT_EQ(b->pieces, 1);
}

TEST_F(NetworkTest, KilledProcessClosesItsConnections) {
    node_b.kill_process();
    EXPECT_TRUE(reach([&] { return a->is_closed; }));
}

TEST_F(NetworkTest, WhatAKilledProcessHadNotHandedToItsKernelIsLost) {
    a->loop.post([&] {
        a->say("handed over ");
        a->stream->flush();
        a->say("still its own");
        node_a.kill_process();
    });
    EXPECT_TRUE(reach([&] { return b->is_closed; }));
    EXPECT_EQ(b->received, "handed over ");
}

TEST_F(NetworkTest, PowerCutIsSilentUntilTheNodeIsBackAndIsSpokenTo) {
    node_b.power_cut();
    world.run_for(Duration::seconds(600));
    EXPECT_FALSE(a->is_closed);
    node_b.power_on();
    world.run_for(Duration::seconds(600));
    EXPECT_FALSE(a->is_closed);
    a->say("hello?");
    EXPECT_TRUE(reach([&] { return a->is_closed; }));
    EXPECT_TRUE(a->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, WhatWasSentIntoAPowerCutIsAnsweredByAResetLater) {
    node_b.power_cut();
    a->say("hello?");
    world.run_for(Duration::seconds(10));
    EXPECT_FALSE(a->is_closed);
    node_b.power_on();
    EXPECT_TRUE(world.run_until([&] { return a->is_closed; }, Duration::seconds(2)));
    EXPECT_TRUE(a->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, WhatAPausedProcessHadNotReadIsLostWithThePower) {
    node_b.pause();
    a->say("unread");
    world.run_for(Duration::seconds(1));
    node_b.power_cut();
    node_b.power_on();
    world.run_for(Duration::seconds(600));
    EXPECT_FALSE(a->is_closed);
    a->say("hello?");
    EXPECT_TRUE(reach([&] { return a->is_closed; }));
    EXPECT_TRUE(a->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, SenderThatWaitsForRoomAsksAgainAfterAPowerCut) {
    node_b.pause();
    a->say(std::string(2 * Fabric::kSocketBuffer, 'x'));
    world.run_for(Duration::seconds(1));
    node_b.power_cut();
    node_b.power_on();
    EXPECT_TRUE(reach([&] { return a->is_closed; }));
    EXPECT_TRUE(a->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, ResetOfAKilledProcessMayBeLostButTheNextOneComes) {
    node_b.pause();
    a->say("unread");
    world.run_for(Duration::seconds(1));
    world.fabric().cut(node_b, node_a);
    node_b.kill_process();
    world.run_for(Duration::seconds(1));
    world.fabric().heal_all();
    world.run_for(Duration::seconds(600));
    EXPECT_FALSE(a->is_closed);
    a->say("hello?");
    EXPECT_TRUE(reach([&] { return a->is_closed; }));
    EXPECT_TRUE(a->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, CutOneWayStopsOneDirectionAndBytesArriveAfterHealing) {
    world.fabric().cut(node_a, node_b);
    a->say("to b");
    b->say("to a");
    world.run_for(Duration::seconds(10));
    EXPECT_EQ(b->received, "");
    EXPECT_EQ(a->received, "to a");
    world.fabric().heal(node_a, node_b);
    EXPECT_TRUE(reach([&] { return b->received == "to b"; }));
    EXPECT_FALSE(a->is_closed || b->is_closed);
}

TEST_F(NetworkTest, LongCutEndsTheSenderAlone) {
    world.fabric().cut_both(node_a, node_b);
    a->say("to b");
    EXPECT_TRUE(world.run_until([&] { return a->is_closed; }, Duration::seconds(121)));
    EXPECT_TRUE(a->failure.is_errno(ETIMEDOUT));
    world.run_for(Duration::seconds(500));
    EXPECT_FALSE(b->is_closed);  // half-open: it has sent nothing
    world.fabric().heal_all();
    b->say("still there?");
    EXPECT_TRUE(reach([&] { return b->is_closed; }));
    EXPECT_TRUE(b->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, LostAcknowledgementsEndTheSenderToo) {
    world.fabric().cut(node_b, node_a);
    Timer talk(a->loop, [&] {
        if (a->is_closed) return;
        a->say("x");
        talk.start(Duration::seconds(1));
    });
    talk.start(Duration::seconds(1));
    EXPECT_TRUE(world.run_until([&] { return a->is_closed; }, Duration::seconds(125)));
    EXPECT_GT(b->received.size(), 5U);
}

TEST_F(NetworkTest, StreamsOfOneNodePairMayBeReset) {
    world.fabric().reset_streams(node_a, node_b);
    EXPECT_TRUE(reach([&] { return a->is_closed && b->is_closed; }));
    EXPECT_TRUE(a->failure.is_errno(ECONNRESET));
}

TEST_F(NetworkTest, PausedListenerStillGetsConnections) {
    node_b.pause();
    Talker second(node_a.loop());
    second.connect(address_of(1, 7800));
    EXPECT_TRUE(reach([&] { return second.stream != nullptr; }));
    second.say("waited");
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(b->received, "");
    node_b.resume();
    EXPECT_TRUE(reach([&] { return b->received == "waited"; }));
    second.stream.reset();
}

// --- Connecting ----------------------------------------------------------------------------------

TEST_F(NetworkTest, ConnectIsRefusedWithoutAListener) {
    Talker other(node_a.loop());
    other.connect(address_of(1, 7801));
    EXPECT_TRUE(reach([&] { return !other.failure.ok(); }));
    EXPECT_TRUE(other.failure.is_errno(ECONNREFUSED));
}

TEST_F(NetworkTest, ConnectWaitsWhileACutLastsAndWorksAfterwards) {
    for (const bool there : {true, false}) {
        Node& from = there ? node_a : node_b;
        Node& to = there ? node_b : node_a;
        world.fabric().cut(from, to);
        Talker other(node_a.loop());
        other.connect(address_of(1, 7800));
        world.run_for(Duration::seconds(30));
        EXPECT_EQ(other.stream, nullptr);
        EXPECT_TRUE(other.failure.ok());
        world.fabric().heal(from, to);
        EXPECT_TRUE(reach([&] { return other.stream != nullptr; }));
        other.stream.reset();
        world.run_for(Duration::seconds(1));
    }
}

TEST_F(NetworkTest, ConnectMayBeGivenUpAtAnyMoment) {
    for (int i = 0; i < 60; ++i) {
        Talker other(node_a.loop());
        other.connect(address_of(1, 7800));
        world.run_for(Duration::microseconds(10 * i));
        other.connecting.reset();
        other.stream.reset();
        world.run_for(Duration::seconds(1));
    }
    a->stream.reset();
    b->stream.reset();
    world.run_for(Duration::seconds(300));
    EXPECT_EQ(world.fabric().connection_count(), 0U);
}

TEST_F(NetworkTest, AddressesThatAreNotOursOrTakenAreRefused) {
    Talker other(node_a.loop());
    EXPECT_TRUE(
        node_a.loop().network().listen(address_of(1, 1), other).status().is_errno(EADDRNOTAVAIL));
    EXPECT_TRUE(
        node_b.loop().network().listen(address_of(1, 7800), other).status().is_errno(EADDRINUSE));
}

TEST_F(NetworkTest, MovedAddressLeadsToItsNewOwner) {
    const SocketAddress shared = ipv4(10, 0, 0, 100, 80);
    node_a.add_address(shared);
    Talker server(node_b.loop());
    node_b.add_address(shared);  // a still has it, but b announced it last
    server.listen(shared);
    NodeOptions options;
    options.addresses = {{address_of(2), 0}};
    SimLoop& client_loop = world.add_node(options).start();
    Talker client(client_loop);
    client.connect(shared);
    EXPECT_TRUE(reach([&] { return client.stream != nullptr && server.stream != nullptr; }));
}

TEST_F(NetworkTest, LoopbackReachesTheNodeItself) {
    Talker server(node_a.loop()), client(node_a.loop());
    const SocketAddress local = ipv4(127, 0, 0, 1, 5000);
    server.listen(local);
    client.connect(local);
    EXPECT_TRUE(reach([&] { return client.stream != nullptr && server.stream != nullptr; }));
    client.say("ping");
    EXPECT_TRUE(reach([&] { return server.received == "ping"; }));
}

// --- Datagrams -----------------------------------------------------------------------------------

struct Mailbox final : DatagramHandler {
    void on_datagram(const SocketAddress& from, Bytes data) noexcept override {
        texts.emplace_back(as_text(data));
        last_from = from;
    }
    std::vector<std::string> texts;
    SocketAddress last_from;
};

TEST_F(NetworkTest, DatagramsArriveUnlessCutLostOrNobodyIsThere) {
    Mailbox box_a, box_b;
    auto made_a = node_a.loop().network().bind_datagram(address_of(0, 9), box_a);
    auto made_b = node_b.loop().network().bind_datagram(address_of(1, 9), box_b);
    const auto socket_a = std::move(made_a).value();
    const auto socket_b = std::move(made_b).value();
    socket_a->send(address_of(1, 9), as_bytes("one"));
    socket_a->send(address_of(1, 10), as_bytes("nobody"));
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(box_b.texts, (std::vector<std::string>{"one"}));
    EXPECT_EQ(box_b.last_from, address_of(0, 9));
    world.fabric().cut(node_a, node_b);
    socket_a->send(address_of(1, 9), as_bytes("two"));
    socket_b->send(address_of(0, 9), as_bytes("back"));
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(box_b.texts.size(), 1U);
    EXPECT_EQ(box_a.texts, (std::vector<std::string>{"back"}));
}

TEST_F(NetworkTest, DatagramsAreLostDoubledAndReorderedAsAsked) {
    LinkOptions options;
    options.datagrams_lost_per_mille = 100;
    options.datagrams_doubled_per_mille = 100;
    world.fabric().set_link(node_a, node_b, options);
    Mailbox box_a, box_b;
    auto made_a = node_a.loop().network().bind_datagram(address_of(0, 9), box_a);
    auto made_b = node_b.loop().network().bind_datagram(address_of(1, 9), box_b);
    for (int i = 0; i < 1000; ++i) {
        made_a.value()->send(address_of(1, 9), as_bytes(std::to_string(10'000 + i)));
    }
    world.run_for(Duration::seconds(1));
    std::vector<std::string> sorted = box_b.texts;
    EXPECT_FALSE(std::is_sorted(sorted.begin(), sorted.end()));
    std::sort(sorted.begin(), sorted.end());
    const auto distinct = std::unique(sorted.begin(), sorted.end()) - sorted.begin();
    EXPECT_GT(distinct, 850);
    EXPECT_LT(distinct, 990);
    EXPECT_GT(box_b.texts.size(), static_cast<std::size_t>(distinct) + 50);
}

}  // namespace
}  // namespace gemel::sim
