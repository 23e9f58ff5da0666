// SPDX-License-Identifier: Apache-2.0
// An address that a process holds which was killed a moment ago.
#include "netdev/session_acceptor.hpp"

#include "engine/io/uring/uring_loop.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <cerrno>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

class QuietSink final : public LogSink {
   public:
    void log(LogLevel, std::string_view) noexcept override {}
};

class NoSessions final : public SessionHandler {
   public:
    void on_session(std::unique_ptr<PeerLink>, const PeerHello&) noexcept override {}
};

class SessionAcceptorTest : public testing::Test {
   protected:
    void SetUp() override {
        auto made = UringLoop::create({});
        ASSERT_TRUE(made.ok()) << made.status().to_string();
        loop_ = std::move(made).value();
        holder_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        socklen_t size = sizeof address;
        ASSERT_EQ(::bind(holder_, generic, size), 0);
        ASSERT_EQ(::listen(holder_, 1), 0);
        ASSERT_EQ(::getsockname(holder_, generic, &size), 0);
        options_.local.ip = {127, 0, 0, 1};
        options_.local.port = ntohs(address.sin_port);
    }
    Status listen() { return SessionAcceptor::listen(*loop_, log_, {}, options_, none_).status(); }

    std::unique_ptr<UringLoop> loop_;
    QuietSink log_;
    NoSessions none_;
    SessionAcceptor::Options options_;
    int holder_ = -1;
};

TEST_F(SessionAcceptorTest, WithoutPatienceAnAddressInUseIsAnError) {
    EXPECT_TRUE(listen().is_errno(EADDRINUSE));
    ::close(holder_);
    EXPECT_TRUE(listen().ok());
}

TEST_F(SessionAcceptorTest, WithPatienceItWaitsUntilTheAddressIsFree) {
    options_.patience = Duration::seconds(60);
    std::thread killed([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        ::close(holder_);
    });
    const Status status = listen();
    killed.join();
    EXPECT_TRUE(status.ok()) << status.to_string();
}

}  // namespace
}  // namespace gemel
