// SPDX-License-Identifier: Apache-2.0
// Conformance of Network's byte streams. The listening side belongs to loop(), the connecting side
// to other_loop().
#include "tests/unit/io/stream_ends.hpp"

#include <algorithm>

namespace gemel::test {
namespace {

constexpr std::uint16_t kPort = 7800;

class StreamTest : public WorldTest {
   protected:
    void listen(std::uint16_t port = kPort) {
        auto listening = loop().network().listen(world().address(port), acceptor_);
        ASSERT_TRUE(listening.ok()) << listening.status().to_string();
        listener_ = std::move(listening).value();
    }
    void connect(std::uint16_t port = kPort) {
        connecting_ =
            world().other_loop().network().connect(world().address(port), nullptr, connector_);
    }
    // server() and client() are the two ends of one stream after this.
    void make_pair() {
        listen();
        connect();
        world().run_until([&] { return acceptor_.ends.size() == 1 && connector_.calls == 1; });
        ASSERT_TRUE(connector_.failure.ok()) << connector_.failure.to_string();
    }
    End& server() { return *acceptor_.ends.front(); }
    End& client() { return connector_.end; }

    Acceptor acceptor_;
    Connector connector_;
    std::unique_ptr<Listener> listener_;
    std::unique_ptr<Connecting> connecting_;
};
GEMEL_IN_EVERY(worlds, StreamTest);

// ---- connecting -----------------------------------------------------------------------------

TEST_P(StreamTest, NobodyIsCalledInsideConnect) {
    listen();
    connect();
    EXPECT_EQ(connector_.calls, 0);
    world().run_until([&] { return connector_.calls > 0 && !acceptor_.ends.empty(); });
    EXPECT_EQ(client().stream->remote(), world().address(kPort));
    EXPECT_EQ(connector_.calls, 1);
}

TEST_P(StreamTest, ConnectIsRefusedWhereNobodyListens) {
    connect(7999);
    world().run_until([&] { return connector_.calls > 0; });
    EXPECT_TRUE(connector_.failure.is_errno(ECONNREFUSED)) << connector_.failure.to_string();
}

TEST_P(StreamTest, ConnectIsRefusedOnceTheListenerIsGone) {
    listen();
    listener_.reset();
    connect();
    world().run_until([&] { return connector_.calls > 0; });
    EXPECT_TRUE(connector_.failure.is_errno(ECONNREFUSED)) << connector_.failure.to_string();
}

TEST_P(StreamTest, AddressIsFreeAgainOnceTheListenerIsGone) {
    listen();
    auto second = loop().network().listen(world().address(kPort), acceptor_);
    ASSERT_FALSE(second.ok());
    EXPECT_TRUE(second.status().is_errno(EADDRINUSE)) << second.status().to_string();
    listener_.reset();
    make_pair();
}

TEST_P(StreamTest, ListeningOnAForeignAddressIsRefused) {
    auto address = SocketAddress::parse("192.0.2.1:7800");  // TEST-NET-1: nobody's
    ASSERT_TRUE(address.ok());
    auto listening = loop().network().listen(address.value(), acceptor_);
    ASSERT_FALSE(listening.ok());
    EXPECT_TRUE(listening.status().is_errno(EADDRNOTAVAIL)) << listening.status().to_string();
}

TEST_P(StreamTest, ConnectingFromAChosenAddressShowsThere) {
    listen();
    const SocketAddress local = world().other_address(1);
    connecting_ =
        world().other_loop().network().connect(world().address(kPort), &local, connector_);
    world().run_until([&] { return connector_.calls > 0 && acceptor_.ends.size() == 1; });
    EXPECT_EQ(server().stream->remote().ip, local.ip);
}

TEST_P(StreamTest, ConnectingFromAForeignAddressFailsThroughTheLoop) {
    listen();
    auto local = SocketAddress::parse("192.0.2.1:7800");
    ASSERT_TRUE(local.ok());
    connecting_ =
        world().other_loop().network().connect(world().address(kPort), &local.value(), connector_);
    EXPECT_EQ(connector_.calls, 0);
    world().run_until([&] { return connector_.calls > 0; });
    EXPECT_TRUE(connector_.failure.is_errno(EADDRNOTAVAIL)) << connector_.failure.to_string();
}

TEST_P(StreamTest, AbandonedConnectIsNotHeardOfAgain) {
    listen();
    connect();
    connecting_.reset();
    connect(7999);
    connecting_.reset();
    world().run_for(Duration::milliseconds(20));
    EXPECT_EQ(connector_.calls, 0);
    connect();  // the next one is not disturbed
    world().run_until([&] { return connector_.calls > 0; });
    EXPECT_TRUE(connector_.failure.ok());
}

TEST_P(StreamTest, ConnectingMayBeDestroyedInItsCall) {
    struct Once final : ConnectHandler {
        std::unique_ptr<Connecting>* connecting = nullptr;
        End end;
        bool called = false;
        void on_connected(std::unique_ptr<Stream> stream) noexcept override {
            connecting->reset();
            end.take(std::move(stream));
            called = true;
        }
        void on_connect_failed(Status) noexcept override { ADD_FAILURE(); }
    } once;
    listen();
    std::unique_ptr<Connecting> connecting;
    once.connecting = &connecting;
    connecting = world().other_loop().network().connect(world().address(kPort), nullptr, once);
    world().run_until([&] { return once.called && acceptor_.ends.size() == 1; });
    once.end.send("still works");
    world().run_until([&] { return server().received == "still works"; });
}

TEST_P(StreamTest, ManyConnectionsAtOnceAreKeptApart) {
    listen();
    std::vector<std::unique_ptr<Connector>> connectors;
    std::vector<std::unique_ptr<Connecting>> connecting;
    for (int i = 0; i < 40; ++i) {
        connectors.push_back(std::make_unique<Connector>());
        connecting.push_back(world().other_loop().network().connect(world().address(kPort), nullptr,
                                                                    *connectors.back()));
    }
    const auto all = [](auto& list, auto condition) {
        return std::all_of(list.begin(), list.end(), condition);
    };
    world().run_until([&] {
        return acceptor_.ends.size() == 40 &&
               all(connectors, [](auto& c) { return c->calls == 1; });
    });
    for (std::size_t i = 0; i < connectors.size(); ++i) {
        connectors[i]->end.send("number " + std::to_string(100 + i));
    }
    world().run_until(
        [&] { return all(acceptor_.ends, [](auto& end) { return end->received.size() == 10; }); });
    std::vector<std::string> texts;
    for (auto& end : acceptor_.ends) texts.push_back(end->received);
    std::sort(texts.begin(), texts.end());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        EXPECT_EQ(texts[i], "number " + std::to_string(100 + i));
    }
}

// ---- data -----------------------------------------------------------------------------------

TEST_P(StreamTest, HeadAndBodyArriveInOrderWithoutAFlush) {
    make_pair();
    client().send("one ", "two ");
    client().send({}, "three ");
    client().send("four");
    world().run_until([&] { return server().received.size() == 18; });
    EXPECT_EQ(server().received, "one two three four");
    EXPECT_EQ(client().stream->unsent(), 0U);
}

TEST_P(StreamTest, DataSentBeforeTheOtherSideHasAHandlerWaits) {
    std::unique_ptr<Stream> waiting;
    acceptor_.instead = [&](std::unique_ptr<Stream> stream) { waiting = std::move(stream); };
    listen();
    connect();
    world().run_until([&] { return connector_.calls == 1; });
    client().send("early");
    client().stream->flush();
    world().run_until([&] { return waiting != nullptr; });
    End end;
    end.take(std::move(waiting));
    world().run_until([&] { return end.received == "early"; });
}

TEST_P(StreamTest, SendDoesNotKeepItsBuffers) {
    make_pair();
    std::string large = pattern(4 * kMiB, 1), small = "small";
    const std::string expected = small + large + small;
    client().send(small, large);
    client().send(small);
    large.assign(large.size(), 'X');
    small.assign(small.size(), 'X');
    world().run_until([&] { return server().received.size() == expected.size(); });
    EXPECT_TRUE(server().received == expected);
}

// Both sides send more than all buffers between them hold before either receives.
TEST_P(StreamTest, BigDataBothWaysAtOnceArriveWhole) {
    make_pair();
    std::string to_server, to_client;
    for (unsigned i = 0; i < 18; ++i) {
        const std::string head = pattern(7 + i, i), body = pattern(i * 30'011, i + 100);
        client().send(head, body);
        server().send(body, head);
        to_server += head + body;
        to_client += body + head;
    }
    world().run_until([&] {
        return server().received.size() >= to_server.size() &&
               client().received.size() >= to_client.size();
    });
    EXPECT_TRUE(server().received == to_server);
    EXPECT_TRUE(client().received == to_client);
    world().run_until(
        [&] { return client().stream->unsent() == 0 && server().stream->unsent() == 0; });
}

TEST_P(StreamTest, DrainedIsToldOnceWhatWaitedIsGone) {
    make_pair();
    const std::string data = pattern(16 * kMiB, 3);
    client().send("head", data);
    client().stream->flush();
    EXPECT_GT(client().stream->unsent(), 0U);
    EXPECT_EQ(client().drained, 0);
    world().run_until([&] { return client().drained > 0; });
    world().run_until([&] { return server().received.size() == data.size() + 4; });
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(client().drained, 1);
}

TEST_P(StreamTest, PingPongManyTimes) {
    make_pair();
    int rounds = 0;
    server().on_more = [&] {
        server().send(server().received);
        server().received.clear();
    };
    client().on_more = [&] {
        client().received.clear();
        if (++rounds < 500) client().send("p");
    };
    client().send("p");
    world().run_until([&] { return rounds == 500; });
}

// ---- the end --------------------------------------------------------------------------------

TEST_P(StreamTest, CloseIsSeenByTheOtherSideAfterTheData) {
    make_pair();
    client().send("last words");
    client().stream->close();
    world().run_until([&] { return server().closed > 0; });
    EXPECT_EQ(server().received, "last words");
    EXPECT_EQ(server().reason.code(), Code::disconnected) << server().reason.to_string();
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(server().closed, 1);
    EXPECT_EQ(client().closed, 0) << "told of its own close";
}

TEST_P(StreamTest, DestroyingIsSeenByTheOtherSide) {
    make_pair();
    client().stream.reset();
    world().run_until([&] { return server().closed > 0; });
    EXPECT_FALSE(server().reason.ok());
}

TEST_P(StreamTest, NothingIsHeardAfterTheOwnClose) {
    make_pair();
    server().send("too late");
    server().stream->flush();
    client().stream->close();
    world().run_until([&] { return server().closed > 0; });
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(client().received, "");
    EXPECT_EQ(client().closed, 0);
}

TEST_P(StreamTest, SendingOnAClosedStreamIsIgnored) {
    make_pair();
    client().stream->close();
    client().send("x", pattern(100'000, 1));
    client().stream->flush();
    client().stream->close();
    EXPECT_EQ(client().stream->unsent(), 0U);
    world().run_until([&] { return server().closed > 0; });
    server().send("y", pattern(100'000, 1));
    server().stream->flush();
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(server().received, "");
}

// The kernel refuses a later send in the same turn; the sender hears of the end by on_closed only,
// never from inside its own call.
TEST_P(StreamTest, SenderWhosePeerVanishedIsToldByTheLoop) {
    make_pair();
    server().stream.reset();
    const std::string more = pattern(20'000, 1);
    for (int i = 0; i < 50; ++i) {
        client().send("more", more);
        client().send("less");
        client().in_own_call = true;
        client().stream->flush();
        client().in_own_call = false;
    }
    EXPECT_EQ(client().closed, 0);
    world().run_until([&] { return client().closed > 0; });
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(client().closed, 1);
    EXPECT_FALSE(client().reason.ok());
}

TEST_P(StreamTest, StreamMayBeDestroyedInItsHandler) {
    make_pair();
    bool destroyed = false;
    server().on_more = [&] {
        server().stream.reset();
        destroyed = true;
    };
    client().send("head", pattern(5 * kMiB, 1));
    world().run_until([&] { return destroyed && client().closed > 0; });
    EXPECT_EQ(server().closed, 0);
}

TEST_P(StreamTest, DestroyingWithMuchUnsentReachesNobody) {
    make_pair();
    client().send("head", pattern(10 * kMiB, 1));
    EXPECT_GT(client().stream->unsent(), 0U);
    client().stream.reset();
    world().run_until([&] { return server().closed > 0; });
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(client().drained, 0);
}

}  // namespace
}  // namespace gemel::test
