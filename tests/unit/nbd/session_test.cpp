// SPDX-License-Identifier: Apache-2.0
// Whole sessions over the simulated network, whose streams come in pieces of any size: commands in
// all three forms of replies, and clients that do what they must not.
#include "tests/unit/nbd/session_fixture.hpp"

namespace gemel::test {
namespace {

using nbd::Command;
using Extent = std::pair<std::uint64_t, std::uint64_t>;

class EveryFormTest : public NbdSessionTest, public testing::WithParamInterface<Form> {
   protected:
    void SetUp() override { serve(); }
};
INSTANTIATE_TEST_SUITE_P(Forms, EveryFormTest,
                         testing::Values(Form::simple, Form::structured, Form::extended));

TEST_P(EveryFormTest, WhatWasWrittenIsRead) {
    auto client = connect(GetParam());
    const std::string data = pattern(3 * kMiB, 1);
    EXPECT_EQ(error_of(*client, client->write(512, data)), 0U);
    EXPECT_EQ(error_of(*client, client->write(kSize - 512, data.substr(0, 512))), 0U);
    EXPECT_EQ(export_.read_back(512, data.size()), data);
    const auto& read = wait(*client, client->request(Command::read, 512, data.size()));
    EXPECT_EQ(read.error, 0U);
    EXPECT_TRUE(read.content == data);
    const auto& around = wait(*client, client->request(Command::read, 0, 1024));
    EXPECT_EQ(around.content, std::string(512, '\0') + data.substr(0, 512));
}

TEST_P(EveryFormTest, ManyRequestsAtOnceAreAllAnswered) {
    auto client = connect(GetParam());
    std::vector<std::uint64_t> writes, reads;
    for (unsigned i = 0; i < 600; ++i) {
        writes.push_back(client->write(i * 4096ULL, pattern(4096, i)));
    }
    for (const auto cookie : writes) EXPECT_EQ(error_of(*client, cookie), 0U);
    for (unsigned i = 0; i < 600; ++i) {
        reads.push_back(client->request(Command::read, i * 4096ULL, 4096));
    }
    for (unsigned i = 0; i < 600; ++i) {
        EXPECT_EQ(wait(*client, reads[i]).content, pattern(4096, i)) << i;
    }
}

TEST_P(EveryFormTest, ZeroTrimCacheAndFlush) {
    auto client = connect(GetParam());
    wait(*client, client->write(0, pattern(kMiB, 1)));
    EXPECT_EQ(error_of(*client, client->request(Command::write_zeroes, 4096, 8192)), 0U);
    EXPECT_EQ(export_.read_back(4096, 8192), std::string(8192, '\0'));
    EXPECT_EQ(error_of(*client, client->request(Command::write_zeroes, 0, kSize,
                                                nbd::kFastZero | nbd::kNoHole)),
              0U);
    EXPECT_EQ(error_of(*client, client->request(Command::trim, 0, kSize)), 0U);
    EXPECT_EQ(error_of(*client, client->request(Command::cache, 0, kSize)), 0U);
    EXPECT_GT(export_.volatile_changes(), 0U);
    EXPECT_EQ(error_of(*client, client->request(Command::flush, 0, 0)), 0U);
    EXPECT_EQ(export_.volatile_changes(), 0U);
    EXPECT_EQ(error_of(*client, client->write(0, pattern(512, 1), nbd::kFua)), 0U);
    EXPECT_EQ(export_.volatile_changes(), 0U);
    export_.slow_zero = true;
    EXPECT_EQ(error_of(*client, client->request(Command::write_zeroes, 0, 512, nbd::kFastZero)),
              95U);
}

TEST_P(EveryFormTest, BadRequestsAreAnsweredAndTheSessionGoesOn) {
    auto client = connect(GetParam());
    const std::string data = pattern(1024, 1);
    EXPECT_EQ(error_of(*client, client->write(kSize, data)), 28U);
    EXPECT_EQ(error_of(*client, client->write(100, data)), 22U);
    EXPECT_EQ(error_of(*client, client->write(0, data, 0x8000)), 22U);
    EXPECT_EQ(error_of(*client, client->request(Command::read, kSize, 512)), 22U);
    EXPECT_EQ(error_of(*client, client->request(Command::write_zeroes, kSize, 512)), 28U);
    EXPECT_EQ(error_of(*client, client->request(Command::flush, 512, 512)), 22U);
    EXPECT_EQ(error_of(*client, client->request(static_cast<Command>(77), 0, 512)), 22U);
    EXPECT_EQ(error_of(*client, client->request(Command::trim, 0, 0)), 0U);
    export_.next_failure = Status::from_errno(EIO);
    EXPECT_EQ(error_of(*client, client->request(Command::read, 0, 512)), 5U);
    export_.next_failure = Status::from_errno(EDQUOT);
    EXPECT_EQ(error_of(*client, client->write(0, data)), 28U);
    EXPECT_EQ(error_of(*client, client->write(0, data)), 0U);
    EXPECT_EQ(export_.read_back(0, 1024), data);
}

TEST_P(EveryFormTest, DisconnectWaitsForWhatIsInFlight) {
    auto client = connect(GetParam());
    export_.holds = true;
    const auto cookie = client->write(0, pattern(4096, 3));
    client->request(Command::disconnect, 0, 0);
    run_until([&] { return export_.pending() == 1; });
    run_for(Duration::milliseconds(50));
    EXPECT_FALSE(client->is_over());
    export_.release();
    run_until([&] { return client->is_over(); });
    EXPECT_TRUE(client->answer(cookie).done);
    EXPECT_EQ(export_.read_back(0, 4096), pattern(4096, 3));
}

TEST_P(EveryFormTest, AClientThatVanishesLeavesNothingBehind) {
    auto client = connect(GetParam());
    auto other = connect(GetParam());
    export_.holds = true;
    for (unsigned i = 0; i < 20; ++i) client->write(i * 65536ULL, pattern(65536, i));
    client->send(client->request_bytes(Command::write, 0, 65536,
                                       GetParam() == Form::extended ? nbd::kPayloadLength : 0, 1) +
                 "half of what was");
    run_until([&] { return export_.pending() == 20; });
    client->close();
    run_until([&] { return server().client_count() == 2; });
    export_.release();
    run_until([&] { return server().client_count() == 1; });
    EXPECT_EQ(export_.buffers(), 0U);
    EXPECT_EQ(error_of(*other, other->request(Command::flush, 0, 0)), 0U);
}

// ---- form by form -------------------------------------------------------------------------------

class SessionTest : public NbdSessionTest {};

TEST_F(SessionTest, HolesAreSentAsHolesUnlessTheyMayNotBe) {
    serve();
    auto client = connect(Form::structured);
    wait(*client, client->write(kMiB, pattern(65536, 1)));
    const auto& sparse = wait(*client, client->request(Command::read, 0, 2 * kMiB));
    EXPECT_EQ(sparse.chunks, 3U);
    EXPECT_EQ(sparse.holes, 2U);
    EXPECT_EQ(sparse.content.substr(kMiB, 65536), pattern(65536, 1));
    const auto& whole =
        wait(*client, client->request(Command::read, 0, 2 * kMiB, nbd::kDontFragment));
    EXPECT_EQ(whole.chunks, 1U);
    EXPECT_EQ(whole.holes, 0U);
    EXPECT_EQ(whole.content, sparse.content);
}

TEST_F(SessionTest, ErrorsComeWithASentence) {
    serve();
    auto client = connect(Form::structured);
    EXPECT_EQ(wait(*client, client->request(Command::read, kSize, 512)).message,
              "beyond the export's end");
}

TEST_F(SessionTest, BlockStatusOfBothContexts) {
    serve();
    for (const Form form : {Form::structured, Form::extended}) {
        auto client = connect(form);
        wait(*client, client->request(Command::trim, 0, kSize));
        export_.peer_has_everything();
        wait(*client, client->write(65536, pattern(65536, 1)));
        const auto& all = wait(*client, client->request(Command::block_status, 0, kSize));
        ASSERT_EQ(all.contexts.size(), 2U);
        EXPECT_EQ(all.contexts.at(1).list,
                  (std::vector<Extent>{{65536, 3}, {65536, 0}, {kSize - 131072, 3}}));
        EXPECT_EQ(all.contexts.at(2).list,
                  (std::vector<Extent>{{65536, 0}, {65536, 1}, {kSize - 131072, 0}}));
        const auto& one =
            wait(*client, client->request(Command::block_status, 512, 1024, nbd::kReqOne));
        EXPECT_EQ(one.contexts.at(1).list, (std::vector<Extent>{{1024, 3}}));
    }
}

TEST_F(SessionTest, BlockStatusOfOneContextOfTwo) {
    serve();
    auto client = connect(Form::extended);
    const std::string payload = NbdClient::number(kSize) + NbdClient::number(std::uint32_t{2});
    const auto& one = wait(*client, client->request(Command::block_status, 0, payload.size(),
                                                    nbd::kPayloadLength, payload));
    EXPECT_EQ(one.error, 0U);
    ASSERT_EQ(one.contexts.size(), 1U);
    EXPECT_EQ(one.contexts.at(2).list, (std::vector<Extent>{{kSize, 0}}));
    const std::string wrong = NbdClient::number(kSize) + NbdClient::number(std::uint32_t{9});
    EXPECT_EQ(error_of(*client, client->request(Command::block_status, 0, wrong.size(),
                                                nbd::kPayloadLength, wrong)),
              22U);
    const std::string longer(1000, 'x');
    EXPECT_EQ(error_of(*client, client->request(Command::block_status, 0, longer.size(),
                                                nbd::kPayloadLength, longer)),
              22U);
    EXPECT_EQ(error_of(*client, client->request(Command::read, 0, 512)), 0U);
}

TEST_F(SessionTest, ACookieUsedTwiceIsAnsweredTwice) {
    serve();
    auto client = connect(Form::simple);
    const std::string one = client->request_bytes(Command::flush, 0, 0, 0, 5);
    client->send(one);
    wait(*client, 5);
    const std::string again = client->request_bytes(Command::flush, 0, 0, 0, 5);
    client->send(again);
    wait(*client, 5);
    EXPECT_EQ(client->answered(), 2U);
}

TEST_F(SessionTest, AFlushCoversWritesOfEveryConnection) {
    serve();
    auto one = connect(Form::structured), two = connect(Form::simple);
    wait(*one, one->write(0, pattern(4096, 1)));
    EXPECT_EQ(export_.volatile_changes(), 1U);
    wait(*two, two->request(Command::flush, 0, 0));
    EXPECT_EQ(export_.volatile_changes(), 0U);
}

TEST_F(SessionTest, AGrownExportIsUsedAtOnce) {
    serve();
    auto client = connect(Form::simple);
    EXPECT_EQ(error_of(*client, client->write(kSize, pattern(512, 1))), 28U);
    export_.grow(2 * kSize);
    EXPECT_EQ(error_of(*client, client->write(kSize, pattern(512, 1))), 0U);
}

// ---- the end of service -------------------------------------------------------------------------

TEST_F(SessionTest, WhatANodeThatCeasesToServeCannotFinishStaysUnanswered) {
    serve();
    auto client = connect(Form::structured);
    auto idle = connect(Form::simple);
    export_.holds = true;
    const auto cookie = client->write(0, pattern(4096, 1));
    run_until([&] { return export_.pending() == 1; });
    export_.refuse("beta serves now");
    run_until([&] { return idle->is_over(); });
    EXPECT_FALSE(client->is_over());
    export_.fail_pending(Status::from_errno(EIO));
    run_until([&] { return client->is_over(); });
    EXPECT_FALSE(client->answer(cookie).done);

    auto refused = connect();
    refused->send_flags();
    refused->send_option(nbd::Option::go, std::string(6, '\0'));
    run_until([&] { return !refused->options().empty(); });
    EXPECT_EQ(refused->options()[0].type, 0x80000002U);
    EXPECT_EQ(refused->options()[0].data, "beta serves now");
    export_.refuse({});
    refused->options().clear();
    refused->send_option(nbd::Option::go, std::string(6, '\0'));
    run_until([&] { return !refused->options().empty(); });
    EXPECT_EQ(refused->options()[0].type, 3U);
}

TEST_F(SessionTest, ALostRequestEndsItsClientOnly) {
    serve();
    auto other = connect(Form::simple);
    for (const Code code : {Code::cancelled, Code::disconnected, Code::refused}) {
        auto client = connect(Form::simple);
        export_.next_failure = Status(code);
        const auto cookie = client->write(0, pattern(512, 1));
        run_until([&] { return client->is_over(); });
        EXPECT_FALSE(client->answer(cookie).done);
    }
    EXPECT_EQ(error_of(*other, other->write(0, pattern(512, 1))), 0U);
}

TEST_F(SessionTest, SeveralExportsShareAnAddressByName) {
    serve();
    MemoryExport second(loop_, "disk1", kMiB);
    const auto address = sim::ipv4(10, 0, 0, 1, 10809);
    ASSERT_TRUE(server().offer(second, "/run/nbd/disk1.sock", address).ok());
    NbdClient client(loop_.network(), address);
    run_until([&] { return client.is_greeted(); });
    client.send_flags();
    client.send_option(nbd::Option::list);
    run_until([&] { return client.options().size() == 3; });
    client.options().clear();
    client.send_option(nbd::Option::go,
                       NbdClient::number(std::uint32_t{5}) + "disk1" + std::string(2, '\0'));
    run_until([&] { return client.options().size() == 3; });
    client.begin(false, false);
    EXPECT_EQ(error_of(client, client.write(kMiB, pattern(512, 1))), 28U);
    EXPECT_EQ(server().client_count(second), 1U);
    bool done = false;
    server().withdraw(second, [&] { done = true; });
    run_until([&] { return done && client.is_over(); });
}

TEST_F(SessionTest, APathThatIsTakenIsAnError) {
    serve();
    MemoryExport second(loop_, "disk1", kMiB);
    EXPECT_TRUE(server().offer(second, "/run/nbd/disk0.sock", std::nullopt).is_errno(EADDRINUSE));
}

TEST_F(SessionTest, AtItsOwnSocketAnExportNeedsNoMirrorsName) {
    serve();
    MemoryExport second(loop_, "vm1/disk1", kMiB);
    ASSERT_TRUE(server().offer(second, "/run/nbd/disk1.sock", std::nullopt).ok());
    for (const std::string name : {"disk1", "vm1/disk1", "vm2/disk1"}) {
        NbdClient client(loop_.network(), "/run/nbd/disk1.sock");
        run_until([&] { return client.is_greeted(); });
        client.send_flags();
        client.send_option(nbd::Option::info,
                           NbdClient::number(static_cast<std::uint32_t>(name.size())) + name +
                               std::string(2, '\0'));
        const bool known = name != "vm2/disk1";
        run_until([&] { return client.options().size() == (known ? 3U : 1U); });
    }
    bool done = false;
    server().withdraw(second, [&] { done = true; });
    run_until([&] { return done; });
}

// A virtual address, which comes with the right to serve.
TEST_F(SessionTest, AnAddressThatComesLaterIsListenedOnThen) {
    serve();
    MemoryExport second(loop_, "vm1/disk1", kMiB);
    const auto address = sim::ipv4(10, 9, 9, 9, 10809);
    ASSERT_TRUE(server().offer(second, "/run/nbd/disk1.sock", address).ok());
    loop_.node().add_address(address);
    bool later = false;
    Timer timer(loop_, [&] { later = true; });
    timer.start(Duration::seconds(1));
    run_until([&] { return later; });
    NbdClient client(loop_.network(), address);
    run_until([&] { return client.is_greeted(); });
    client.send_flags();
    client.send_option(nbd::Option::go,
                       NbdClient::number(std::uint32_t{9}) + "vm1/disk1" + std::string(2, '\0'));
    run_until([&] { return client.options().size() == 3; });
    client.begin(false, false);
    EXPECT_EQ(error_of(client, client.write(0, pattern(512, 1))), 0U);
    bool done = false;
    server().withdraw(second, [&] { done = true; });
    run_until([&] { return done && client.is_over(); });
}

}  // namespace
}  // namespace gemel::test
