// SPDX-License-Identifier: Apache-2.0
// The session world (session_world.hpp) as a fixture.
#pragma once

#include "tests/unit/nbd/session_world.hpp"

#include <gtest/gtest.h>

namespace gemel::test {

class NbdSessionTest : public testing::Test {
   protected:
    static constexpr std::uint64_t kSize = NbdSessionWorld::kSize;

    explicit NbdSessionTest(std::uint64_t seed = 1)
        : session_(seed),
          world_(session_.world),
          loop_(session_.loop),
          export_(session_.exported) {}
    void TearDown() override;

    void serve(const NbdLimits& limits = {});
    std::unique_ptr<NbdClient> connect() { return session_.connect(); }
    std::unique_ptr<NbdClient> connect(Form form);
    void run_until(const std::function<bool()>& condition);
    void run_for(Duration time) { world_.run_for(time); }
    NbdClient::Answer& wait(NbdClient& client, std::uint64_t cookie);
    std::uint32_t error_of(NbdClient& client, std::uint64_t cookie) {
        return wait(client, cookie).error;
    }
    NbdServer& server() { return *session_.server; }
    [[nodiscard]] static std::string pattern(std::size_t size, unsigned seed);

    NbdSessionWorld session_;
    sim::World& world_;
    sim::SimLoop& loop_;
    MemoryExport& export_;
};

}  // namespace gemel::test
