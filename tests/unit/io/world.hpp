// SPDX-License-Identifier: Apache-2.0
// What the conformance suite needs of a world. Every test of the suite is run in each world that
// worlds() lists; a world passes when nothing above the seam can tell it from another.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "engine/io/vfs.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel::test {

class World {
   public:
    virtual ~World() = default;

    // The node under test, and one that its network reaches (perhaps the same).
    virtual Loop& loop() = 0;
    virtual Loop& other_loop() = 0;
    // Addresses of the two nodes; nobody uses any of their ports before a test does.
    virtual SocketAddress address(std::uint16_t port) = 0;
    virtual SocketAddress other_address(std::uint16_t port) = 0;
    // A path where loop() may make a socket.
    virtual std::string socket_path() = 0;
    // An empty directory of loop().vfs(), open as long as the world lives.
    virtual Fd directory() = 0;
    // Whether trusted xattrs, owners, device nodes and handles may be used.
    virtual bool is_privileged() = 0;
    // Runs both nodes until `condition` holds. A test failure when it does not come to hold.
    virtual void run_until(const std::function<bool()>& condition) = 0;

    // Runs for this long, for what must not happen meanwhile.
    void run_for(Duration time) {
        bool over = false;
        Timer timer(loop(), [&] { over = true; });
        timer.start(time);
        run_until([&] { return over; });
    }
};

struct WorldKind {
    const char* name;
    std::unique_ptr<World> (*make)();
};

std::vector<WorldKind> worlds();
// Those of them whose files differ.
std::vector<WorldKind> file_worlds();

// Base of the suite's fixtures.
class WorldTest : public testing::TestWithParam<WorldKind> {
   protected:
    WorldTest() : world_(GetParam().make()) {}

    World& world() { return *world_; }
    Loop& loop() { return world_->loop(); }
    Vfs& vfs() { return world_->loop().vfs(); }
    Fd directory() { return world_->directory(); }

    // A file of this name, made if it is not there, open for reading and writing.
    ScopedFd open_file(std::string_view name, int more_flags = 0);
    std::string content(Fd file);
    void write_all(Fd file, std::string_view text, std::uint64_t offset = 0);

   private:
    std::unique_ptr<World> world_;
};

}  // namespace gemel::test

// Runs the tests of a fixture in every world of worlds() or file_worlds().
#define GEMEL_IN_EVERY(Worlds, Fixture)                                                    \
    INSTANTIATE_TEST_SUITE_P(World, Fixture, ::testing::ValuesIn(::gemel::test::Worlds()), \
                             [](const auto& world) { return std::string(world.param.name); })
