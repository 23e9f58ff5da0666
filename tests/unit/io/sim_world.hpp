// SPDX-License-Identifier: Apache-2.0
// The simulated world: two nodes, a disk each, one wire, virtual time.
#pragma once

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "tests/unit/io/world.hpp"

#include <memory>

namespace gemel::test {

class SimWorld final : public World {
   public:
    explicit SimWorld(std::uint64_t seed);
    static std::unique_ptr<World> make();

    Loop& loop() override { return loop_; }
    Loop& other_loop() override { return other_loop_; }
    SocketAddress address(std::uint16_t port) override;
    SocketAddress other_address(std::uint16_t port) override;
    std::string socket_path() override { return "/run/test.sock"; }
    Fd directory() override { return directory_; }
    bool is_privileged() override { return true; }
    void run_until(const std::function<bool()>& condition) override;
    sim::Node& node() { return loop_.node(); }

   private:
    sim::World world_;
    sim::SimLoop& loop_;
    sim::SimLoop& other_loop_;
    Fd directory_;
};

}  // namespace gemel::test
