// SPDX-License-Identifier: Apache-2.0
// An NBD server over memory and clients of it in one simulated world.
#pragma once

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "frontends/nbd/server.hpp"
#include "tests/unit/nbd/client.hpp"
#include "tests/unit/nbd/memory_export.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace gemel::test {

// How a client speaks after its handshake.
enum class Form { simple, structured, extended };

class NbdSessionTest : public testing::Test {
   protected:
    static constexpr std::uint64_t kSize = 16 * kMiB;

    explicit NbdSessionTest(std::uint64_t seed = 1);
    void TearDown() override;

    void serve(const NbdLimits& limits = {});
    // Withdraws the export, waits for that, and looks that nothing is left.
    void end_service();
    std::unique_ptr<NbdClient> connect();
    // Connected and ready for requests, both contexts chosen unless replies are simple.
    std::unique_ptr<NbdClient> connect(Form form);
    void run_until(const std::function<bool()>& condition);
    void run_for(Duration time) { world_.run_for(time); }
    NbdClient::Answer& wait(NbdClient& client, std::uint64_t cookie);
    std::uint32_t error_of(NbdClient& client, std::uint64_t cookie) {
        return wait(client, cookie).error;
    }
    [[nodiscard]] static std::string pattern(std::size_t size, unsigned seed);

    sim::World world_;
    sim::SimLoop& loop_;
    MemoryExport export_;
    std::unique_ptr<NbdServer> server_;
};

}  // namespace gemel::test
