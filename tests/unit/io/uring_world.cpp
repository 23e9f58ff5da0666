// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/io/uring_world.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <poll.h>
#include <unistd.h>

namespace gemel::test {
namespace {

// Only stops what would hang.
constexpr int kPatienceMs = 60'000;
constexpr auto kPatience = std::chrono::milliseconds(kPatienceMs);

// 127.x.y.z with the process id in it: all of 127/8 is this machine.
SocketAddress loopback(std::uint8_t first, std::uint16_t port) {
    const auto pid = static_cast<unsigned>(::getpid());
    SocketAddress address;
    address.ip = {127, static_cast<std::uint8_t>(first + (pid >> 16 & 0x3f)),
                  static_cast<std::uint8_t>(pid >> 8), static_cast<std::uint8_t>(pid)};
    address.port = port;
    return address;
}

}  // namespace

UringWorld::UringWorld(const UringLoop::Options& options) : polled_(options.polled) {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/gemel-io-XXXXXX";
    GEMEL_ASSERT(::mkdtemp(path_.data()) != nullptr);
    auto loop = UringLoop::create(options);
    GEMEL_ASSERT(loop.ok());
    loop_ = std::move(loop).value();
    auto directory = loop_->vfs().open_directory(path_);
    GEMEL_ASSERT(directory.ok());
    directory_ = directory.value();
}

UringWorld::~UringWorld() {
    loop_->vfs().close(directory_);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::unique_ptr<World> UringWorld::make() {
    return std::make_unique<UringWorld>(UringLoop::Options{.entries = 32, .workers = 2});
}

std::unique_ptr<World> UringWorld::make_spinning() {
    return std::make_unique<UringWorld>(
        UringLoop::Options{.entries = 32, .workers = 2, .spin_max = Duration::microseconds(50)});
}

std::unique_ptr<World> UringWorld::make_plain() {
    return std::make_unique<UringWorld>(
        UringLoop::Options{.entries = 32, .workers = 2, .plain = true});
}

std::unique_ptr<World> UringWorld::make_polled() {
    return std::make_unique<UringWorld>(
        UringLoop::Options{.entries = 32, .workers = 2, .polled = true});
}

SocketAddress UringWorld::address(std::uint16_t port) { return loopback(64, port); }
SocketAddress UringWorld::other_address(std::uint16_t port) { return loopback(128, port); }
bool UringWorld::is_privileged() { return ::geteuid() == 0; }

void UringWorld::run_until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        if (polled_) {
            // What the test asked for since, outside of dispatch(), has to be begun.
            loop_->dispatch();
            if (condition()) return;
            pollfd ready{loop_->descriptor(), POLLIN, 0};
            ::poll(&ready, 1, kPatienceMs);
        } else {
            loop_->turn(Duration::milliseconds(100));
        }
        if (std::chrono::steady_clock::now() > end) {
            ADD_FAILURE() << "what the test waits for does not happen";
            return;
        }
    }
}

}  // namespace gemel::test
