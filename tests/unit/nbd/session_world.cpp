// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd/session_world.hpp"

namespace gemel::test {
namespace {

constexpr const char* kPath = "/run/nbd/disk0.sock";

sim::SimLoop& start_node(sim::World& world) {
    sim::NodeOptions options;
    options.addresses = {{sim::ipv4(10, 0, 0, 1), 0}};
    return world.add_node(options).start();
}

}  // namespace

NbdSessionWorld::NbdSessionWorld(std::uint64_t seed)
    : world(seed), loop(start_node(world)), exported(loop, "disk0", kSize) {}

Status NbdSessionWorld::serve(const NbdLimits& limits) {
    server = std::make_unique<NbdServer>(loop, loop.log(), limits);
    return server->offer(exported, kPath, sim::ipv4(10, 0, 0, 1, 10809));
}

bool NbdSessionWorld::end_service() {
    bool done = false;
    server->withdraw(exported, [&] { done = true; });
    exported.release();
    if (!run_until([&] { return done && server->client_count() == 0; })) return false;
    server.reset();
    return exported.buffers() == 0 && exported.pending() == 0;
}

std::unique_ptr<NbdClient> NbdSessionWorld::connect() {
    auto client = std::make_unique<NbdClient>(loop.network(), kPath);
    run_until([&] { return client->is_greeted() || client->is_over(); });
    return client;
}

std::unique_ptr<NbdClient> NbdSessionWorld::connect(Form form) {
    auto client = connect();
    client->send_flags();
    const auto ask = [&](nbd::Option option, std::string_view data = {}) {
        client->options().clear();
        client->send_option(option, data);
        run_until([&] {
            return !client->options().empty() &&
                   (client->options().back().type == 1 || client->options().back().type >> 31 != 0);
        });
        return !client->options().empty() && client->options().back().type == 1;
    };
    const auto number = [](std::size_t value) {
        return NbdClient::number(static_cast<std::uint32_t>(value));
    };
    std::string contexts = number(0) + number(2);
    for (const std::string name : {"base:allocation", "gemel:dirty"}) {
        contexts += number(name.size()) + name;
    }
    bool ok = true;
    if (form == Form::structured) ok = ask(nbd::Option::structured_reply);
    if (form == Form::extended) ok = ask(nbd::Option::extended_headers);
    if (form != Form::simple) ok = ok && ask(nbd::Option::set_meta_context, contexts);
    if (!ok || !ask(nbd::Option::go, number(0) + std::string(2, '\0'))) return nullptr;
    client->begin(form == Form::structured, form == Form::extended);
    return client;
}

}  // namespace gemel::test
