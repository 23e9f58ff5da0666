// SPDX-License-Identifier: Apache-2.0
// Small programs and worlds that the tests of the simulation share.
#pragma once

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace gemel::sim {

inline SocketAddress address_of(int node, std::uint16_t port = 0) {
    return ipv4(10, 0, 0, static_cast<std::uint8_t>(node + 1), port);
}

// A node of the given number with one address, address_of(number).
inline Node& add_plain_node(World& world, int number) {
    NodeOptions options;
    options.name = std::string(1, static_cast<char>('a' + number));
    options.addresses = {{address_of(number), 0}};
    return world.add_node(options);
}

// A program that is one function's objects: they live as long as the process.
template <typename State>
class ProgramOf final : public Program {
   public:
    template <typename... Arguments>
    explicit ProgramOf(Arguments&&... arguments) : state(std::forward<Arguments>(arguments)...) {}
    State state;
};

struct TestJob final : Job {
    std::function<void()> work, finished;

    void run() noexcept override {
        if (work) work();
    }
    void done() noexcept override {
        if (finished) finished();
    }
};

struct TestIo final : IoOp {
    int completions = 0;
    Status status;
    std::size_t count = 0;

    void on_complete(Status new_status, std::size_t new_count) noexcept override {
        ++completions;
        status = new_status;
        count = new_count;
    }
};

}  // namespace gemel::sim
