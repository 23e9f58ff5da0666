// SPDX-License-Identifier: Apache-2.0
// Clients that want too much, too slowly, or never read: each is bounded or closed, and none
// disturbs another.
#include "tests/unit/nbd/session_fixture.hpp"

#include <algorithm>

namespace gemel::test {
namespace {

using nbd::Command;

class LimitsTest : public NbdSessionTest {
   protected:
    void serve_small() {
        NbdLimits limits;
        limits.clients_max = 3;
        limits.connection.requests_max = 8;
        limits.connection.bytes_max = kMiB;
        serve(limits);
    }
};

TEST_F(LimitsTest, RequestsInFlightAreCounted) {
    serve_small();
    auto client = connect(Form::simple);
    export_.holds = true;
    for (int i = 0; i < 30; ++i) client->request(Command::flush, 0, 0);
    run_until([&] { return export_.pending() == 8; });
    run_for(Duration::milliseconds(50));
    EXPECT_EQ(export_.pending(), 8U);
    export_.release();
    run_until([&] { return client->answered() == 30; });
}

TEST_F(LimitsTest, PayloadsInFlightAreCounted) {
    serve_small();
    auto client = connect(Form::structured);
    export_.holds = true;
    for (unsigned i = 0; i < 12; ++i) client->write(i * 262144ULL, pattern(262144, i));
    run_until([&] { return export_.pending() == 4; });
    run_for(Duration::milliseconds(50));
    EXPECT_EQ(export_.pending(), 4U);
    EXPECT_GT(client->unsent(), 0U) << "the sender is not made to wait";
    export_.release();
    run_until([&] { return client->answered() == 12; });
    EXPECT_LE(export_.buffer_bytes_max(), kMiB);
}

TEST_F(LimitsTest, OneRequestLargerThanTheLimitIsServedAlone) {
    serve_small();
    auto client = connect(Form::simple);
    const std::string data = pattern(3 * kMiB, 1);
    client->request(Command::flush, 0, 0);
    const auto first = client->write(0, data), second = client->write(4 * kMiB, data);
    EXPECT_EQ(error_of(*client, first), 0U);
    EXPECT_EQ(error_of(*client, second), 0U);
    EXPECT_LE(export_.buffer_bytes_max(), 3 * kMiB);
    EXPECT_EQ(export_.read_back(4 * kMiB, data.size()), data);
}

TEST_F(LimitsTest, TooManyClientsAreClosed) {
    serve_small();
    auto one = connect(), two = connect(), three = connect(), four = connect();
    EXPECT_TRUE(four->is_over());
    EXPECT_FALSE(three->is_over());
    one->close();
    run_until([&] { return server().client_count() == 2; });
    EXPECT_TRUE(connect()->is_greeted());
}

TEST_F(LimitsTest, AHandshakeHasToEnd) {
    serve();
    auto client = connect();
    client->send_flags();
    run_for(Duration::seconds(50));
    client->send_option(nbd::Option::list);
    run_for(Duration::seconds(5));
    EXPECT_FALSE(client->is_over());
    run_for(Duration::seconds(10));
    EXPECT_TRUE(client->is_over());
}

TEST_F(LimitsTest, AnIdleClientStays) {
    serve();
    auto client = connect(Form::simple);
    run_for(Duration::seconds(3600));
    EXPECT_EQ(error_of(*client, client->request(Command::flush, 0, 0)), 0U);
}

TEST_F(LimitsTest, HalfARequestIsNotWaitedForForEver) {
    serve();
    auto header = connect(Form::simple), payload = connect(Form::simple);
    header->send(header->request_bytes(Command::flush, 0, 0, 0, 1).substr(0, 20));
    payload->send(payload->request_bytes(Command::write, 0, kMiB, 0, 1) + pattern(100'000, 1));
    run_until([&] { return export_.buffers() == 1; });
    run_for(Duration::seconds(110));
    EXPECT_FALSE(header->is_over() || payload->is_over());
    run_for(Duration::seconds(60));
    EXPECT_TRUE(header->is_over() && payload->is_over());
    EXPECT_EQ(export_.buffers(), 0U);
}

TEST_F(LimitsTest, ASlowClientThatGoesOnIsServed) {
    serve();
    auto client = connect(Form::simple);
    const std::string data = pattern(8192, 1);
    std::string all = client->request_bytes(Command::write, 0, data.size(), 0, 1) + data;
    for (std::size_t sent = 0; sent < all.size(); sent += 1024) {
        client->send(std::string_view(all).substr(sent, 1024));
        run_for(Duration::seconds(60));
    }
    EXPECT_EQ(error_of(*client, 1), 0U);
    EXPECT_EQ(export_.read_back(0, data.size()), data);
}

TEST_F(LimitsTest, WhatIsNoRequestEndsTheSession) {
    serve();
    auto client = connect(Form::simple), other = connect(Form::simple);
    client->send(std::string(28, 'x'));
    run_until([&] { return client->is_over(); });
    EXPECT_EQ(error_of(*other, other->request(Command::flush, 0, 0)), 0U);
}

TEST_F(LimitsTest, PayloadsThatNobodyWantsAreSkipped) {
    serve();
    auto client = connect(Form::simple);
    const std::string data = pattern(3 * kMiB + 512, 1);
    EXPECT_EQ(error_of(*client, client->write(kSize - 512, data)), 28U);
    EXPECT_EQ(error_of(*client, client->write(0, data.substr(0, 512))), 0U);
}

// A client on its own machine, which is stopped: what it does not read fills the sockets' buffers,
// then the server's share, and then nothing more is taken from it.
TEST_F(LimitsTest, AClientThatNeverReadsIsBoundedAndThenClosed) {
    serve();
    sim::NodeOptions options;
    options.addresses = {{sim::ipv4(10, 0, 0, 2), 0}};
    sim::SimLoop& far = world_.add_node(options).start();
    auto client = std::make_unique<NbdClient>(far.network(), sim::ipv4(10, 0, 0, 1, 10809));
    run_until([&] { return client->is_greeted(); });
    client->send_flags();
    client->send_option(nbd::Option::go, std::string(6, '\0'));
    run_until([&] { return client->options().size() == 3; });
    client->begin(false, false);
    for (int i = 0; i < 200; ++i) client->request(Command::read, 0, kMiB);
    run_until([&] { return export_.count(ExportRequestKind::read) > 0; });
    far.node().pause();
    run_for(Duration::seconds(10));
    EXPECT_LE(export_.buffer_bytes_max(), 32 * kMiB);
    EXPECT_LE(export_.count(ExportRequestKind::read), 40U);
    auto other = connect(Form::simple);
    EXPECT_EQ(error_of(*other, other->request(Command::flush, 0, 0)), 0U);
    run_until([&] { return server().client_count() == 1; });
    far.node().resume();
}

// ---- any bytes at any time ----------------------------------------------------------------------

class ChaosTest : public NbdSessionTest, public testing::WithParamInterface<std::uint64_t> {
   protected:
    ChaosTest() : NbdSessionTest(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Seeds, ChaosTest, testing::Range<std::uint64_t>(1, 41));

// Several clients at once, each in its form, in blocks of their own; now and then one vanishes and
// comes back, or the export refuses for a while. Each knows what its blocks may hold.
TEST_P(ChaosTest, EveryAcknowledgedWriteIsThere) {
    NbdLimits limits;
    limits.connection.requests_max = 1 + world_.prng().below(20);
    limits.connection.bytes_max = (1 + world_.prng().below(8)) * 65536;
    serve(limits);
    constexpr unsigned kClients = 3, kBlocks = 32, kBlock = 16384;
    std::vector<std::string> blocks(kClients * kBlocks, std::string(kBlock, '\0'));
    Prng prng(GetParam());
    for (int round = 0; round < 12; ++round) {
        std::vector<std::unique_ptr<NbdClient>> clients;
        std::vector<std::vector<std::uint64_t>> cookies(kClients);
        for (unsigned i = 0; i < kClients; ++i) {
            clients.push_back(connect(static_cast<Form>(prng.below(3))));
            for (unsigned block = 0; block < kBlocks; ++block) {
                if (prng.one_in(2)) continue;
                const std::uint64_t index = std::uint64_t{i} * kBlocks + block;
                const std::string data = pattern(kBlock, static_cast<unsigned>(prng.below(256)));
                blocks[index] = data;
                cookies[i].push_back(clients[i]->write(index * kBlock, data));
            }
        }
        for (unsigned i = 0; i < kClients; ++i) {
            for (const auto cookie : cookies[i]) EXPECT_EQ(error_of(*clients[i], cookie), 0U);
        }
        for (unsigned i = 0; i < kClients; ++i) {
            const std::uint64_t block = i * kBlocks + prng.below(kBlocks);
            const auto& read =
                wait(*clients[i], clients[i]->request(Command::read, block * kBlock, kBlock));
            EXPECT_TRUE(read.content == blocks[block]) << "round " << round;
        }
        if (prng.one_in(3)) {
            for (auto& client : clients) client->request(Command::read, 0, kMiB);
            export_.refuse("for a while");
            run_until([&] { return server().client_count() == 0; });
            export_.refuse({});
        }
        for (auto& client : clients) {
            if (!client->is_over()) client->request(Command::read, 0, kMiB);
        }
    }
    for (std::uint64_t index = 0; index < blocks.size(); ++index) {
        EXPECT_TRUE(export_.read_back(index * kBlock, kBlock) == blocks[index]) << index;
    }
}

}  // namespace
}  // namespace gemel::test
