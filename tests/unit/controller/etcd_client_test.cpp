// SPDX-License-Identifier: Apache-2.0
// What libcurl makes of servers that refuse, break off, are silent or do not stop: whether the
// request may have arrived is what everything depends on.
#include "controller/etcd_client.hpp"

#include "engine/io/uring/uring_loop.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <optional>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

// Takes connections one after the other and does with each what it is told to.
class Server {
   public:
    explicit Server(std::function<void(int)> handle) : handle_(std::move(handle)) {
        listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof here;
        auto* address = reinterpret_cast<sockaddr*>(&here);
        GEMEL_ASSERT(bind(listener_, address, size) == 0 && listen(listener_, 8) == 0);
        GEMEL_ASSERT(getsockname(listener_, address, &size) == 0);
        port_ = ntohs(here.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ~Server() {
        shutdown(listener_, SHUT_RDWR);
        thread_.join();
        close(listener_);
    }
    [[nodiscard]] SocketAddress address() const { return {false, {127, 0, 0, 1}, port_}; }
    [[nodiscard]] std::string request() {
        const std::lock_guard lock(mutex_);
        return request_;
    }

    // Reads what the client sends until there is all of it.
    void take(int fd) {
        char buffer[4096];
        while (request().find('}') == std::string::npos) {
            const ssize_t size = recv(fd, buffer, sizeof buffer, 0);
            if (size <= 0) return;
            const std::lock_guard lock(mutex_);
            request_.append(buffer, static_cast<std::size_t>(size));
        }
    }
    static void say(int fd, const std::string& text) {
        for (std::size_t sent = 0; sent < text.size();) {
            const ssize_t size = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
            if (size <= 0) return;
            sent += static_cast<std::size_t>(size);
        }
    }

   private:
    void serve() {
        for (;;) {
            const int fd = accept(listener_, nullptr, nullptr);
            if (fd < 0) return;
            handle_(fd);
            close(fd);
        }
    }

    std::function<void(int)> handle_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::mutex mutex_;
    std::string request_;
    std::thread thread_;
};

class EtcdClientTest : public testing::Test {
   protected:
    EtcdClientTest() {
        Result<std::unique_ptr<UringLoop>> made = UringLoop::create({});
        GEMEL_ASSERT(made.ok());
        loop_ = std::move(made).value();
    }
    EtcdReply ask(const SocketAddress& address, Duration limit = Duration::seconds(60)) {
        EtcdClient client(*loop_, {address}, {});
        std::optional<EtcdReply> result;
        client.ask({0, "/v3/kv/range", R"({"key":"YQ=="})", limit},
                   [&](const EtcdReply& reply) { result = reply; });
        while (!result) loop_->turn(Duration::milliseconds(100));
        return *result;
    }

    std::unique_ptr<UringLoop> loop_;
};

TEST_F(EtcdClientTest, AnAnswerArrives) {
    Server* self = nullptr;
    Server server([&](int fd) {
        self->take(fd);
        Server::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    self = &server;
    const EtcdReply reply = ask(server.address());
    EXPECT_TRUE(reply.is_answered);
    EXPECT_EQ(reply.http_status, 200);
    EXPECT_EQ(reply.body, "{}");
    EXPECT_EQ(server.request().find("POST /v3/kv/range HTTP/1.1\r\n"), 0u);
    EXPECT_NE(server.request().find("\r\n\r\n{\"key\":\"YQ==\"}"), std::string::npos);
}

TEST_F(EtcdClientTest, NobodyListens) {
    SocketAddress address;
    {
        const Server server([](int) {});
        address = server.address();
    }
    const EtcdReply reply = ask(address);
    EXPECT_FALSE(reply.is_answered);
    EXPECT_FALSE(reply.may_have_arrived);
    EXPECT_EQ(reply.error, "Connection refused");
}

// Killed after it has read the request, and perhaps carried it out.
TEST_F(EtcdClientTest, AnAnswerThatNeverComesMayHaveArrived) {
    Server* self = nullptr;
    Server server([&](int fd) { self->take(fd); });
    self = &server;
    const EtcdReply reply = ask(server.address());
    EXPECT_FALSE(reply.is_answered);
    EXPECT_TRUE(reply.may_have_arrived);
    EXPECT_FALSE(reply.error.empty());
}

TEST_F(EtcdClientTest, SilenceEndsInTime) {
    Server server([](int fd) {
        char byte = 0;
        while (recv(fd, &byte, 1, 0) > 0) {  // until the client is gone
        }
    });
    const EtcdReply reply = ask(server.address(), Duration::milliseconds(200));
    EXPECT_FALSE(reply.is_answered);
    EXPECT_TRUE(reply.may_have_arrived);
    EXPECT_EQ(reply.error, "no answer in time");
}

TEST_F(EtcdClientTest, AnAnswerWithoutEndIsCutOff) {
    Server server([](int fd) {
        Server::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        const std::string much(1 << 20, 'x');
        Server::say(fd, much);
    });
    const EtcdReply reply = ask(server.address());
    EXPECT_FALSE(reply.is_answered);
    EXPECT_EQ(reply.error, "answered more than a register can be");
    EXPECT_LE(reply.body.size(), std::size_t{64} << 10);
}

TEST_F(EtcdClientTest, AnErrorIsAnAnswer) {
    Server* self = nullptr;
    Server server([&](int fd) {
        self->take(fd);
        Server::say(fd, "HTTP/1.1 503 No\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}");
    });
    self = &server;
    const EtcdReply reply = ask(server.address());
    EXPECT_TRUE(reply.is_answered);
    EXPECT_EQ(reply.http_status, 503);
}

// Nobody is told anything after the client is gone, and its end waits for no server.
TEST_F(EtcdClientTest, EndsInTheMiddle) {
    Server server([](int fd) {
        char byte = 0;
        while (recv(fd, &byte, 1, 0) > 0) {
        }
    });
    bool told = false;
    {
        EtcdClient client(*loop_, {server.address()}, {});
        client.ask({0, "/v3/kv/range", "{}", Duration::seconds(600)},
                   [&](const EtcdReply&) { told = true; });
        loop_->turn(Duration::milliseconds(1));
    }
    loop_->turn(Duration::milliseconds(1));
    EXPECT_FALSE(told);
}

}  // namespace
}  // namespace gemel
