// SPDX-License-Identifier: Apache-2.0
// An NBD server over memory and clients of it in one simulated world.
#pragma once

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "frontends/nbd/server.hpp"
#include "tests/unit/nbd/client.hpp"
#include "tests/unit/nbd/memory_export.hpp"

#include <memory>

namespace gemel::test {

// How a client speaks after its handshake.
enum class Form { simple, structured, extended };

struct NbdSessionWorld {
    static constexpr std::uint64_t kSize = 16 * kMiB;

    explicit NbdSessionWorld(std::uint64_t seed);

    Status serve(const NbdLimits& limits);
    // Withdraws the export and waits for that. False: something is left.
    [[nodiscard]] bool end_service();
    std::unique_ptr<NbdClient> connect();
    // Connected and ready for requests, both contexts chosen unless replies are simple; null:
    // something was refused.
    std::unique_ptr<NbdClient> connect(Form form);
    bool run_until(const std::function<bool()>& condition) { return world.run_until(condition); }

    sim::World world;
    sim::SimLoop& loop;
    MemoryExport exported;
    std::unique_ptr<NbdServer> server;
};

}  // namespace gemel::test
