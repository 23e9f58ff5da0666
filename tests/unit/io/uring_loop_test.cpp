// SPDX-License-Identifier: Apache-2.0
// What only the kernel's loop has: threads, stopping, pipes, and its own end.
#include "tests/unit/io/uring_world.hpp"

#include <array>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace gemel::test {
namespace {

struct CountingOp final : IoOp {
    int completions = 0;
    Status status;
    std::size_t count = 0;

    void on_complete(Status new_status, std::size_t new_count) noexcept override {
        ++completions;
        status = new_status;
        count = new_count;
    }
};

struct Pipe {
    Fd reader, writer;

    explicit Pipe(int flags) {
        int ends[2];
        EXPECT_EQ(::pipe2(ends, flags | O_CLOEXEC), 0);
        reader.value = ends[0];
        writer.value = ends[1];
    }
    ~Pipe() {
        ::close(reader.value);
        ::close(writer.value);
    }
};

class UringLoopTest : public testing::TestWithParam<UringLoop::Options> {
   protected:
    UringLoopTest() : world_(GetParam()) {}
    UringLoop& loop() { return world_.uring_loop(); }

    UringWorld world_;
};
INSTANTIATE_TEST_SUITE_P(
    Options, UringLoopTest,
    testing::Values(UringLoop::Options{.entries = 4, .workers = 2},
                    UringLoop::Options{.spin_max = Duration::microseconds(100)},
                    UringLoop::Options{.plain = true}),
    [](const auto& options) { return std::string(1, static_cast<char>('a' + options.index)); });

TEST_P(UringLoopTest, TasksOfOtherThreadsWakeItAndKeepTheirOrder) {
    constexpr int kThreads = 3, kTasks = 500;
    std::array<int, kThreads> next{};
    int done = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < kTasks; ++i) {
                loop().run_from_any_thread([&, t, i] {
                    EXPECT_EQ(next[t]++, i);
                    if (++done == kThreads * kTasks) loop().stop();
                });
                // Lets the loop fall asleep in between, which is where a wake-up can be lost.
                if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        });
    }
    loop().run();  // hangs if a wake-up is lost
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(done, kThreads * kTasks);
}

TEST_P(UringLoopTest, EveryPingOfAThreadIsAnswered) {
    std::atomic<int> answered{0};
    std::thread thread([&] {
        for (int i = 0; i < 2000; ++i) {
            loop().run_from_any_thread([&] { answered.fetch_add(1); });
            while (answered.load() == i) std::this_thread::yield();
        }
        loop().stop();
    });
    loop().run();
    thread.join();
    EXPECT_EQ(answered.load(), 2000);
}

TEST_P(UringLoopTest, RunsAgainAfterStop) {
    int runs = 0;
    for (int i = 0; i < 3; ++i) {
        loop().post([&] {
            ++runs;
            loop().stop();
        });
        loop().run();
    }
    EXPECT_EQ(runs, 3);
    loop().stop();
    loop().run();  // a stop() before run() counts
}

TEST_P(UringLoopTest, RunsOnAnotherThreadThanItsMaker) {
    std::thread thread([] {
        auto made = UringLoop::create({});
        ASSERT_TRUE(made.ok());
        auto loop = std::move(made).value();
        std::thread runner([&] {
            loop->post([&] { loop->stop(); });
            loop->run();
            loop.reset();
        });
        runner.join();
    });
    thread.join();
}

TEST_P(UringLoopTest, ReadOfAnEmptyPipeWaitsAndIsCancelled) {
    for (const int flags : {0, O_NONBLOCK}) {
        const Pipe pipe(flags);
        CountingOp op;
        std::byte buffer[16];
        loop().read(op, pipe.reader, buffer, Loop::kNoOffset);
        world_.run_for(Duration::milliseconds(5));
        ASSERT_EQ(op.completions, 0) << op.status.to_string();
        EXPECT_EQ(loop().in_flight(), 1U);
        loop().cancel(op);
        EXPECT_EQ(op.completions, 0);
        world_.run_until([&] { return op.completions > 0; });
        EXPECT_EQ(op.status.code(), Code::cancelled) << op.status.to_string();
        world_.run_for(Duration::milliseconds(2));
        EXPECT_EQ(op.completions, 1);
        EXPECT_EQ(loop().in_flight(), 0U);
    }
}

TEST_P(UringLoopTest, ReadOfAPipeGetsWhatIsWrittenLater) {
    for (const int flags : {0, O_NONBLOCK}) {
        const Pipe pipe(flags);
        CountingOp op;
        std::byte buffer[16];
        loop().read(op, pipe.reader, buffer, Loop::kNoOffset);
        world_.run_for(Duration::milliseconds(2));
        ASSERT_EQ(::write(pipe.writer.value, "late", 4), 4);
        world_.run_until([&] { return op.completions > 0; });
        EXPECT_TRUE(op.status.ok()) << op.status.to_string();
        EXPECT_EQ(as_text({buffer, op.count}), "late");
    }
}

TEST_P(UringLoopTest, CancelledBeforeItWasHandedOver) {
    const Pipe pipe(0);
    CountingOp op;
    std::byte buffer[16];
    loop().read(op, pipe.reader, buffer, Loop::kNoOffset);
    loop().cancel(op);
    world_.run_until([&] { return op.completions > 0; });
    EXPECT_EQ(op.status.code(), Code::cancelled);
}

struct BothEnds final : ListenerHandler, ConnectHandler, StreamHandler {
    std::vector<std::unique_ptr<Stream>> streams;

    void take(std::unique_ptr<Stream> stream) {
        stream->set_handler(*this);
        streams.push_back(std::move(stream));
    }
    void on_accepted(std::unique_ptr<Stream> stream) noexcept override { take(std::move(stream)); }
    void on_connected(std::unique_ptr<Stream> stream) noexcept override { take(std::move(stream)); }
    void on_connect_failed(Status) noexcept override {}
    void on_data(Bytes) noexcept override {}
    void on_closed(Status) noexcept override {}
};

// How long each connection of this process waits for acknowledgements, in ms; 0: the kernel's way.
std::vector<unsigned> patience_of_connections() {
    constexpr int kDescriptorsMax = 1024;
    std::vector<unsigned> all;
    for (int descriptor = 0; descriptor < kDescriptorsMax; ++descriptor) {
        unsigned patience = 0;
        socklen_t size = sizeof patience;
        sockaddr_storage peer{};
        socklen_t peer_size = sizeof peer;
        auto* address = reinterpret_cast<sockaddr*>(&peer);
        if (::getpeername(descriptor, address, &peer_size) != 0) continue;
        if (::getsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, &size) != 0) {
            continue;
        }
        all.push_back(patience);
    }
    return all;
}

// network.hpp promises two minutes. Without it a session with a machine that was rebooted, behind a
// filter that drops resets, would live for a quarter of an hour.
TEST_P(UringLoopTest, StreamsDoNotWaitForAcknowledgementsForEver) {
    const SocketAddress address = world_.address(7810);
    BothEnds ends;
    auto listener = loop().network().listen(address, ends);
    ASSERT_TRUE(listener.ok()) << listener.status().to_string();
    const auto connecting = loop().network().connect(address, nullptr, ends);
    world_.run_until([&] { return ends.streams.size() == 2; });
    const std::vector<unsigned> patience = patience_of_connections();
    EXPECT_EQ(patience.size(), 2U);
    for (const unsigned ms : patience) {
        EXPECT_GT(ms, 0U);
        EXPECT_LE(ms, 120'000U);
    }
}

// The kernel may still receive into buffers and headers of handles that are gone: the loop's end
// waits for it. An address sanitizer sees it if not.
TEST_P(UringLoopTest, EndsWithHandlesJustDestroyed) {
    struct Silent final : StreamHandler, ListenerHandler, ConnectHandler, DatagramHandler {
        std::vector<std::unique_ptr<Stream>> streams;
        void take(std::unique_ptr<Stream> stream) {
            stream->set_handler(*this);
            streams.push_back(std::move(stream));
        }
        void on_data(Bytes) noexcept override {}
        void on_closed(Status) noexcept override {}
        void on_accepted(std::unique_ptr<Stream> stream) noexcept override {
            take(std::move(stream));
        }
        void on_connected(std::unique_ptr<Stream> stream) noexcept override {
            take(std::move(stream));
        }
        void on_connect_failed(Status) noexcept override {}
        void on_datagram(const SocketAddress&, Bytes) noexcept override {}
    } handler;
    const auto address = world_.address(7800);
    auto listener = loop().network().listen(address, handler);
    auto datagrams = loop().network().bind_datagram(address, handler);
    ASSERT_TRUE(listener.ok() && datagrams.ok());
    auto connecting = loop().network().connect(address, nullptr, handler);
    world_.run_until([&] { return handler.streams.size() == 2; });
    const ByteBuffer much(16 * kMiB);
    handler.streams[0]->send(as_bytes("x"), much);
    handler.streams[1]->send(as_bytes("x"), much);
    connecting = loop().network().connect(address, nullptr, handler);
    handler.streams.clear();
    connecting.reset();
    // Listener and datagram socket go at the end of this block, the loop right after it.
}

// Left behind by a process that was killed: a socket is replaced, anything else is not.
TEST_P(UringLoopTest, ASocketThatNobodyListensOnIsReplaced) {
    struct Refuser final : ListenerHandler {
        void on_accepted(std::unique_ptr<Stream>) noexcept override {}
    } handler;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    world_.socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    const int left = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(left, 1), 0);
    auto busy = loop().network().listen_local(world_.socket_path(), handler);
    ASSERT_FALSE(busy.ok());
    EXPECT_TRUE(busy.status().is_errno(EADDRINUSE)) << busy.status().to_string();
    ::close(left);

    auto listening = loop().network().listen_local(world_.socket_path(), handler);
    ASSERT_TRUE(listening.ok()) << listening.status().to_string();
    struct stat file {};
    ASSERT_EQ(::stat(address.sun_path, &file), 0);
    EXPECT_EQ(file.st_mode, S_IFSOCK | 0600U);
    listening.value().reset();
    EXPECT_EQ(::stat(address.sun_path, &file), -1) << "the path stays after the listener";

    ::close(::open(address.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    auto blocked = loop().network().listen_local(world_.socket_path(), handler);
    ASSERT_FALSE(blocked.ok());
    EXPECT_TRUE(blocked.status().is_errno(EADDRINUSE)) << blocked.status().to_string();
    EXPECT_EQ(::unlink(address.sun_path), 0);

    auto long_path = loop().network().listen_local(std::string(200, 'x'), handler);
    ASSERT_FALSE(long_path.ok());
    EXPECT_TRUE(long_path.status().is_errno(ENAMETOOLONG)) << long_path.status().to_string();
}

}  // namespace
}  // namespace gemel::test
