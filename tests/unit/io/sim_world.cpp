// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/io/sim_world.hpp"

namespace gemel::test {
namespace {

sim::SimLoop& start_node(sim::World& world, std::uint8_t number) {
    sim::NodeOptions options;
    options.addresses = {{sim::ipv4(10, 0, 0, number), 0}};
    return world.add_node(options).start();
}

}  // namespace

SimWorld::SimWorld(std::uint64_t seed)
    : world_(seed), loop_(start_node(world_, 1)), other_loop_(start_node(world_, 2)) {
    loop_.node().make_directories("/test");
    directory_ = loop_.vfs().open_directory("/test").value();
}

std::unique_ptr<World> SimWorld::make() { return std::make_unique<SimWorld>(1); }

SocketAddress SimWorld::address(std::uint16_t port) { return sim::ipv4(10, 0, 0, 1, port); }

SocketAddress SimWorld::other_address(std::uint16_t port) { return sim::ipv4(10, 0, 0, 2, port); }

void SimWorld::run_until(const std::function<bool()>& condition) {
    if (!world_.run_until(condition)) ADD_FAILURE() << world_.trace_text();
}

}  // namespace gemel::test
