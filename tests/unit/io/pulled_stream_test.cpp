// SPDX-License-Identifier: Apache-2.0
// Conformance of streams that are pulled, and of sockets that have a path (both ends of which
// belong to loop()).
#include "tests/unit/io/stream_ends.hpp"

#include <algorithm>

namespace gemel::test {
namespace {

// An end that takes bytes only when it is told to.
struct PullingEnd final : StreamHandler, IoOp {
    std::unique_ptr<Stream> stream;
    std::string received;
    ByteBuffer buffer;
    int completions = 0, closed = 0, drained = 0;
    Status status, reason;
    bool in_own_call = false;
    bool goes_on = false;  // receives again at once
    bool under_way = false;

    void take(std::unique_ptr<Stream> new_stream) {
        stream = std::move(new_stream);
        stream->set_pulling_handler(*this);
    }
    void pull(std::size_t size, bool whole = false) {
        buffer.assign(size, std::byte{0});
        in_own_call = under_way = true;
        stream->receive(*this, buffer, whole);
        in_own_call = false;
    }
    void on_complete(Status new_status, std::size_t count) noexcept override {
        EXPECT_FALSE(in_own_call);
        under_way = false;
        ++completions;
        status = new_status;
        EXPECT_EQ(status.ok(), count > 0);
        EXPECT_LE(count, buffer.size());
        received += as_text({buffer.data(), count});
        if (goes_on && status.ok() && stream != nullptr) pull(buffer.size());
    }
    void on_data(Bytes) noexcept override { ADD_FAILURE() << "pushed to who pulls"; }
    void on_closed(Status new_reason) noexcept override {
        EXPECT_FALSE(in_own_call);
        ++closed;
        reason = new_reason;
    }
    void on_drained() noexcept override { ++drained; }
};

class PulledStreamTest : public WorldTest {
   protected:
    void SetUp() override {
        acceptor_.instead = [this](std::unique_ptr<Stream> stream) {
            server_.take(std::move(stream));
        };
    }
    // A receive needs its end until it completes.
    void TearDown() override {
        server_.stream.reset();
        world().run_until([&] { return !server_.under_way; });
    }
    void make_pair() {
        auto listening = loop().network().listen(world().address(7800), acceptor_);
        ASSERT_TRUE(listening.ok());
        listener_ = std::move(listening).value();
        connecting_ =
            world().other_loop().network().connect(world().address(7800), nullptr, connector_);
        wait_for_pair();
    }
    void listen_local() {
        auto listening = loop().network().listen_local(world().socket_path(), acceptor_);
        ASSERT_TRUE(listening.ok()) << listening.status().to_string();
        listener_ = std::move(listening).value();
    }
    void connect_local(std::string_view path) {
        connecting_ = loop().network().connect_local(path, connector_);
    }
    void wait_for_pair() {
        world().run_until([&] { return server_.stream != nullptr && connector_.calls == 1; });
        ASSERT_TRUE(connector_.failure.ok()) << connector_.failure.to_string();
    }
    End& client() { return connector_.end; }

    Acceptor acceptor_;
    Connector connector_;
    PullingEnd server_;
    std::unique_ptr<Listener> listener_;
    std::unique_ptr<Connecting> connecting_;
};
GEMEL_IN_EVERY(worlds, PulledStreamTest);

TEST_P(PulledStreamTest, NothingComesThatWasNotAskedFor) {
    make_pair();
    client().send("0123456789");
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(server_.completions, 0);
    server_.pull(4);
    world().run_until([&] { return server_.completions == 1; });
    EXPECT_EQ(server_.received, std::string("0123456789").substr(0, server_.received.size()));
    world().run_for(Duration::milliseconds(5));
    EXPECT_EQ(server_.completions, 1);
    EXPECT_LE(server_.received.size(), 4U);
    server_.goes_on = true;
    server_.pull(4);
    world().run_until([&] { return server_.received == "0123456789"; });
}

TEST_P(PulledStreamTest, ReceiveWaitsForWhatComesLater) {
    make_pair();
    server_.pull(100);
    world().run_for(Duration::milliseconds(2));
    EXPECT_EQ(server_.completions, 0);
    client().send("late");
    world().run_until([&] { return server_.completions == 1; });
    EXPECT_EQ(server_.received, std::string("late").substr(0, server_.received.size()));
}

TEST_P(PulledStreamTest, ASenderHasToWaitForWhoDoesNotPull) {
    make_pair();
    const std::string data = pattern(32 * kMiB, 5);
    client().send("", data);
    client().stream->flush();
    world().run_for(Duration::milliseconds(20));
    EXPECT_GT(client().stream->unsent(), 8 * kMiB);
    EXPECT_EQ(client().drained, 0);
    server_.goes_on = true;
    server_.pull(kMiB, true);
    world().run_until([&] { return server_.received.size() == data.size(); });
    EXPECT_TRUE(server_.received == data);
    world().run_until([&] { return client().drained == 1; });
}

TEST_P(PulledStreamTest, TheEndComesAfterTheData) {
    make_pair();
    client().send("last words");
    client().stream->close();
    server_.goes_on = true;
    server_.pull(3);
    world().run_until([&] { return server_.closed > 0 && !server_.status.ok(); });
    EXPECT_EQ(server_.received, "last words");
    EXPECT_EQ(server_.status.code(), Code::disconnected) << server_.status.to_string();
    EXPECT_EQ(server_.reason.code(), Code::disconnected) << server_.reason.to_string();
    EXPECT_EQ(server_.closed, 1);
}

TEST_P(PulledStreamTest, OwnCloseEndsAReceiveUnderWay) {
    make_pair();
    server_.pull(100);
    world().run_for(Duration::milliseconds(1));
    server_.stream->close();
    EXPECT_EQ(server_.completions, 0);
    world().run_until([&] { return server_.completions == 1; });
    EXPECT_EQ(server_.status.code(), Code::cancelled);
    EXPECT_EQ(server_.closed, 0) << "told of its own close";
    server_.pull(100);
    world().run_until([&] { return server_.completions == 2; });
    EXPECT_EQ(server_.status.code(), Code::cancelled);
}

TEST_P(PulledStreamTest, AReceiveOutlivesItsStream) {
    make_pair();
    server_.pull(100);
    server_.stream.reset();
    EXPECT_EQ(server_.completions, 0);
    world().run_until([&] { return server_.completions == 1; });
    EXPECT_EQ(server_.status.code(), Code::cancelled);
    EXPECT_EQ(server_.closed, 0);
}

// It sends, waits for that to drain, and receives nothing meanwhile.
TEST_P(PulledStreamTest, AFailureToSendIsToldWithoutAReceive) {
    make_pair();
    client().stream.reset();
    const std::string data = pattern(100'000, 1);
    for (int i = 0; i < 50; ++i) {
        server_.stream->send({}, as_bytes(data));
        world().run_for(Duration::milliseconds(1));
    }
    world().run_until([&] { return server_.closed == 1; });
    EXPECT_FALSE(server_.reason.ok());
    EXPECT_EQ(server_.completions, 0);
}

TEST_P(PulledStreamTest, StreamMayBeDestroyedInACompletion) {
    make_pair();
    struct Once final : IoOp {
        PullingEnd* end = nullptr;
        bool done = false;
        void on_complete(Status, std::size_t) noexcept override {
            end->stream.reset();
            done = true;
        }
    } once;
    once.end = &server_;
    ByteBuffer buffer(10);
    server_.stream->receive(once, buffer, false);
    client().stream->close();
    world().run_until([&] { return once.done; });
    world().run_for(Duration::milliseconds(2));
    EXPECT_EQ(server_.closed, 0);
}

// ---- sockets with a path ----------------------------------------------------------------------

TEST_P(PulledStreamTest, LocalSocketCarriesBothWays) {
    listen_local();
    connect_local(world().socket_path());
    wait_for_pair();
    EXPECT_EQ(server_.stream->remote(), SocketAddress());
    EXPECT_EQ(client().stream->remote(), SocketAddress());
    const std::string data = pattern(4 * kMiB, 9);
    client().send("head", data);
    server_.goes_on = true;
    server_.pull(64 * kKiB);
    server_.stream->send(as_bytes("head"), as_bytes(data));
    world().run_until([&] {
        return server_.received.size() == data.size() + 4 &&
               client().received.size() == data.size() + 4;
    });
    EXPECT_TRUE(server_.received == "head" + data);
    EXPECT_TRUE(client().received == "head" + data);
}

TEST_P(PulledStreamTest, LocalConnectFailsWhereNobodyListens) {
    connect_local(world().socket_path());
    world().run_until([&] { return connector_.calls == 1; });
    EXPECT_TRUE(connector_.failure.is_errno(ENOENT) || connector_.failure.is_errno(ECONNREFUSED))
        << connector_.failure.to_string();
    listen_local();
    listener_.reset();
    connect_local(world().socket_path());
    world().run_until([&] { return connector_.calls == 2; });
    EXPECT_FALSE(connector_.failure.ok());
}

TEST_P(PulledStreamTest, LocalPathIsTakenWhileSomebodyListens) {
    listen_local();
    auto second = loop().network().listen_local(world().socket_path(), acceptor_);
    ASSERT_FALSE(second.ok());
    EXPECT_TRUE(second.status().is_errno(EADDRINUSE)) << second.status().to_string();
    listener_.reset();
    listen_local();
    connect_local(world().socket_path());
    wait_for_pair();
}

}  // namespace
}  // namespace gemel::test
