// SPDX-License-Identifier: Apache-2.0
// The world of the kernel: one loop, a directory made for the test, loopback addresses that no
// other process of the test run has.
#pragma once

#include "engine/io/uring/uring_loop.hpp"
#include "tests/unit/io/world.hpp"

#include <string>

namespace gemel::test {

class UringWorld final : public World {
   public:
    explicit UringWorld(const UringLoop::Options& options);
    ~UringWorld() override;
    static std::unique_ptr<World> make();
    // Spins before it sleeps; or with an old kernel's features only.
    static std::unique_ptr<World> make_spinning();
    static std::unique_ptr<World> make_plain();
    // Waits for its descriptor alone, as a foreign event loop does.
    static std::unique_ptr<World> make_polled();

    Loop& loop() override { return *loop_; }
    Loop& other_loop() override { return *loop_; }
    SocketAddress address(std::uint16_t port) override;
    SocketAddress other_address(std::uint16_t port) override;
    std::string socket_path() override { return path_ + "/test.sock"; }
    Fd directory() override { return directory_; }
    bool is_privileged() override;
    void run_until(const std::function<bool()>& condition) override;

    UringLoop& uring_loop() { return *loop_; }

   private:
    const bool polled_;
    std::string path_;
    std::unique_ptr<UringLoop> loop_;
    Fd directory_;
};

}  // namespace gemel::test
