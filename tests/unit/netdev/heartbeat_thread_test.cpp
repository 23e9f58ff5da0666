// SPDX-License-Identifier: Apache-2.0
// Heartbeat threads of two nodes over loopback, with loops of their own.
#include "netdev/heartbeat_thread.hpp"

#include "tests/unit/io/loop_thread.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <condition_variable>
#include <mutex>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace gemel {
namespace {

class QuietSink final : public LogSink {
   public:
    void log(LogLevel, std::string_view) noexcept override {}
};

SocketAddress loopback(std::uint16_t port) {
    SocketAddress address;
    address.ip = {127, 0, 0, 1};
    address.port = port;
    return address;
}

// A port that was free a moment ago.
std::uint16_t free_port() {
    const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ::close(fd);
    return ntohs(address.sin_port);
}

class HeartbeatThreadTest : public ::testing::Test {
   protected:
    static HeartbeatEngine::Options options_of(const std::string& node) {
        HeartbeatEngine::Options options;
        options.cluster = "shop";
        options.node = node;
        options.key = ByteBuffer(32, std::byte{7});
        options.peers.push_back({node == "alpha" ? "beta" : "alpha", 1});
        options.interval = Duration::milliseconds(10);
        options.detect = Duration::milliseconds(300);
        options.start = node == "alpha" ? 1 : 2;
        return options;
    }
    std::unique_ptr<HeartbeatThread> start(const std::string& node, std::uint16_t own,
                                           std::uint16_t other, std::string& why) {
        return HeartbeatThread::start(
            loop_.loop(), log_, options_of(node), {{loopback(own), {loopback(other)}}},
            [this](const HeartbeatEngine::Verdict& verdict) {
                const std::lock_guard lock(mutex_);
                last_ = verdict.change;
                changed_.notify_all();
            },
            [this] { return ages_; }, why);
    }
    // Waits for a verdict as long as it takes; the test's time limit ends a wait in vain.
    void wait_for(HeartbeatMonitor::Change change) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return last_ == change; });
    }

    LoopThread loop_;
    QuietSink log_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<HeartbeatMonitor::Change> last_;
    std::vector<DiskAge> ages_;  // of both nodes; the loop's
};

TEST_F(HeartbeatThreadTest, HearsThePeerAndItsEnd) {
    const std::uint16_t ports[] = {free_port(), free_port()};
    std::string why;
    auto alpha = start("alpha", ports[0], ports[1], why);
    ASSERT_NE(alpha, nullptr) << why;
    wait_for(HeartbeatMonitor::Change::silent);
    auto beta = start("beta", ports[1], ports[0], why);
    ASSERT_NE(beta, nullptr) << why;
    wait_for(HeartbeatMonitor::Change::alive);
    EXPECT_TRUE(alpha->links(0)[0].is_up);
    loop_.run([&] { beta.reset(); });
    wait_for(HeartbeatMonitor::Change::silent);
    loop_.run([&] { alpha.reset(); });
}

// What the loop can't tell itself, since it hangs.
TEST_F(HeartbeatThreadTest, AHangingLoopIsToldAndSoIsItsDisk) {
    const std::uint64_t mirror = disk_age_key("shop");
    LoopThread other;
    const std::uint16_t ports[] = {free_port(), free_port()};
    std::string why;
    auto alpha = start("alpha", ports[0], ports[1], why);
    ASSERT_NE(alpha, nullptr) << why;
    auto beta = HeartbeatThread::start(
        other.loop(), log_, options_of("beta"), {{loopback(ports[1]), {loopback(ports[0])}}},
        [](const HeartbeatEngine::Verdict&) {}, [] { return std::vector<DiskAge>(); }, why);
    ASSERT_NE(beta, nullptr) << why;
    const auto wait_until = [](const std::function<bool()>& holds) {
        while (!holds()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    const auto hangs = [&] { return alpha->disk_age(0, mirror) > Duration::milliseconds(100); };
    wait_until([&] { return alpha->links(0)[0].is_up; });
    std::promise<void> end;
    other.loop().run_from_any_thread([&] { end.get_future().wait(); });
    wait_until(hangs);
    end.set_value();
    wait_until([&] { return !hangs(); });
    // Alpha's own is told to beta.
    loop_.run([&] { ages_ = {{mirror, Duration::seconds(5)}}; });
    wait_until([&] { return beta->disk_age(0, mirror) >= Duration::seconds(5); });
    EXPECT_FALSE(hangs());
    other.run([&] { beta.reset(); });
    loop_.run([&] { alpha.reset(); });
}

TEST_F(HeartbeatThreadTest, TakenPortIsSaidByName) {
    const std::uint16_t ports[] = {free_port(), free_port()};
    std::string why;
    auto first = start("alpha", ports[0], ports[1], why);
    ASSERT_NE(first, nullptr) << why;
    EXPECT_EQ(start("beta", ports[0], ports[1], why), nullptr);
    EXPECT_NE(why.find("127.0.0.1:" + std::to_string(ports[0])), std::string::npos) << why;
    loop_.run([&] { first.reset(); });
}

}  // namespace
}  // namespace gemel
