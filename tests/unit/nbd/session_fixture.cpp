// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd/session_fixture.hpp"

namespace gemel::test {
namespace {

constexpr const char* kPath = "/run/nbd/disk0.sock";

sim::SimLoop& start_node(sim::World& world) {
    sim::NodeOptions options;
    options.addresses = {{sim::ipv4(10, 0, 0, 1), 0}};
    return world.add_node(options).start();
}

}  // namespace

NbdSessionTest::NbdSessionTest(std::uint64_t seed)
    : world_(seed), loop_(start_node(world_)), export_(loop_, "disk0", kSize) {}

void NbdSessionTest::TearDown() {
    if (server_ != nullptr) end_service();
}

void NbdSessionTest::serve(const NbdLimits& limits) {
    server_ = std::make_unique<NbdServer>(loop_, loop_.log(), limits);
    const Status status = server_->offer(export_, kPath, sim::ipv4(10, 0, 0, 1, 10809));
    ASSERT_TRUE(status.ok()) << status.to_string();
}

void NbdSessionTest::end_service() {
    bool done = false;
    server_->withdraw(export_, [&] { done = true; });
    export_.release();
    run_until([&] { return done && server_->client_count() == 0; });
    server_.reset();
    EXPECT_EQ(export_.buffers(), 0U) << "buffers that did not come back";
    EXPECT_EQ(export_.pending(), 0U);
}

void NbdSessionTest::run_until(const std::function<bool()>& condition) {
    if (!world_.run_until(condition)) ADD_FAILURE() << world_.trace_text();
}

std::unique_ptr<NbdClient> NbdSessionTest::connect() {
    auto client = std::make_unique<NbdClient>(loop_.network(), kPath);
    run_until([&] { return client->is_greeted() || client->is_over(); });
    return client;
}

std::unique_ptr<NbdClient> NbdSessionTest::connect(Form form) {
    auto client = connect();
    client->send_flags();
    const auto ask = [&](nbd::Option option, std::string_view data = {}) {
        client->options().clear();
        client->send_option(option, data);
        run_until([&] {
            return !client->options().empty() &&
                   (client->options().back().type == 1 || client->options().back().type >> 31 != 0);
        });
        EXPECT_EQ(client->options().back().type, 1U);
    };
    if (form == Form::structured) ask(nbd::Option::structured_reply);
    if (form == Form::extended) ask(nbd::Option::extended_headers);
    const auto number = [](std::size_t value) {
        return NbdClient::number(static_cast<std::uint32_t>(value));
    };
    if (form != Form::simple) {
        std::string data = number(0) + number(2);
        for (const std::string name : {"base:allocation", "gemel:dirty"}) {
            data += number(name.size()) + name;
        }
        ask(nbd::Option::set_meta_context, data);
    }
    ask(nbd::Option::go, number(0) + std::string(2, '\0'));
    client->begin(form == Form::structured, form == Form::extended);
    return client;
}

NbdClient::Answer& NbdSessionTest::wait(NbdClient& client, std::uint64_t cookie) {
    NbdClient::Answer& answer = client.answer(cookie);
    run_until([&] { return answer.done || client.is_over() || !client.fault().empty(); });
    EXPECT_TRUE(answer.done);
    EXPECT_EQ(client.fault(), "");
    return answer;
}

std::string NbdSessionTest::pattern(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>((i * 31 + (i >> 9) * 7 + seed) | 1);
    }
    return text;
}

}  // namespace gemel::test
