// SPDX-License-Identifier: Apache-2.0
// Conformance of Network's datagrams. A world may lose them, so senders repeat.
#include "tests/unit/io/world.hpp"

namespace gemel::test {
namespace {

struct Receiver final : DatagramHandler {
    std::vector<std::pair<SocketAddress, std::string>> received;
    std::function<void()> on_more;

    void on_datagram(const SocketAddress& from, Bytes data) noexcept override {
        received.emplace_back(from, as_text(data));
        if (on_more) on_more();
    }
};

class DatagramTest : public WorldTest {
   protected:
    static std::unique_ptr<DatagramSocket> bind(Loop& loop, const SocketAddress& address,
                                                DatagramHandler& handler) {
        auto socket = loop.network().bind_datagram(address, handler);
        EXPECT_TRUE(socket.ok()) << socket.status().to_string();
        return socket.ok() ? std::move(socket).value() : nullptr;
    }
    // Sends again and again until `condition` holds.
    void send_until(DatagramSocket& socket, const SocketAddress& to, std::string_view text,
                    const std::function<bool()>& condition) {
        Timer again(world().other_loop(), [&] {
            socket.send(to, as_bytes(text));
            again.start(Duration::milliseconds(5));
        });
        again.start(Duration{});
        world().run_until(condition);
    }
};
GEMEL_IN_EVERY(worlds, DatagramTest);

TEST_P(DatagramTest, ArrivesWholeWithItsSender) {
    Receiver here, there;
    const auto to = world().address(7801), from = world().other_address(7802);
    const auto receiver = bind(loop(), to, here);
    const auto sender = bind(world().other_loop(), from, there);
    send_until(*sender, to, "heartbeat", [&] { return !here.received.empty(); });
    EXPECT_EQ(here.received[0].first, from);
    EXPECT_EQ(here.received[0].second, "heartbeat");
    const std::string large(1400, 'L');
    here.received.clear();
    send_until(*sender, to, large,
               [&] { return !here.received.empty() && here.received.back().second == large; });
    EXPECT_TRUE(there.received.empty());
}

TEST_P(DatagramTest, AnswerFromTheHandlerComesBack) {
    Receiver here, there;
    const auto to = world().address(7801), from = world().other_address(7802);
    const auto receiver = bind(loop(), to, here);
    const auto sender = bind(world().other_loop(), from, there);
    here.on_more = [&] { receiver->send(here.received.back().first, as_bytes("answer")); };
    send_until(*sender, to, "question", [&] { return !there.received.empty(); });
    EXPECT_EQ(there.received[0].first, to);
    EXPECT_EQ(there.received[0].second, "answer");
}

TEST_P(DatagramTest, EmptyDatagramArrives) {
    Receiver here, there;
    const auto to = world().address(7801);
    const auto receiver = bind(loop(), to, here);
    const auto sender = bind(world().other_loop(), world().other_address(7802), there);
    send_until(*sender, to, "", [&] { return !here.received.empty(); });
    EXPECT_EQ(here.received[0].second, "");
}

TEST_P(DatagramTest, AddressIsTakenUntilTheSocketIsGone) {
    Receiver handler;
    auto first = bind(loop(), world().address(7801), handler);
    auto second = loop().network().bind_datagram(world().address(7801), handler);
    ASSERT_FALSE(second.ok());
    EXPECT_TRUE(second.status().is_errno(EADDRINUSE)) << second.status().to_string();
    first.reset();
    world().run_for(Duration::milliseconds(5));
    EXPECT_NE(bind(loop(), world().address(7801), handler), nullptr);
}

TEST_P(DatagramTest, SendingToNobodyDisturbsNobody) {
    Receiver here, there;
    const auto to = world().address(7801);
    const auto sender = bind(world().other_loop(), world().other_address(7802), there);
    sender->send(world().address(7999), as_bytes("nobody"));
    world().run_for(Duration::milliseconds(5));
    const auto receiver = bind(loop(), to, here);
    send_until(*sender, to, "somebody", [&] { return !here.received.empty(); });
    EXPECT_TRUE(there.received.empty());
}

TEST_P(DatagramTest, SocketMayBeDestroyedInItsHandler) {
    Receiver here, there;
    const auto to = world().address(7801);
    auto receiver = bind(loop(), to, here);
    const auto sender = bind(world().other_loop(), world().other_address(7802), there);
    here.on_more = [&] { receiver.reset(); };
    send_until(*sender, to, "x", [&] { return receiver == nullptr; });
    sender->send(to, as_bytes("y"));
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(here.received.size(), 1U);
}

}  // namespace
}  // namespace gemel::test
