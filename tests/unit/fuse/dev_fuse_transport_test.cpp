// SPDX-License-Identifier: Apache-2.0
// The transport over a socket in place of /dev/fuse, with a loop that completes reads when told.
#include "frontends/fuse/dev_fuse_transport.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace gemel {
namespace {

class ManualLoop final : public Loop {
   public:
    [[nodiscard]] Instant now() const noexcept override { return {}; }
    [[nodiscard]] WallTime wall_time() const noexcept override { return {}; }
    [[nodiscard]] Prng& prng() noexcept override { return prng_; }
    void secure_random(MutableBytes) noexcept override {}
    [[nodiscard]] Uuid boot_id() noexcept override { return {}; }
    [[nodiscard]] Vfs& vfs() noexcept override { GEMEL_ASSERT(false); }
    [[nodiscard]] Network& network() noexcept override { GEMEL_ASSERT(false); }
    void post(std::function<void()> task) noexcept override { posted.push_back(std::move(task)); }
    void run_from_any_thread(std::function<void()>) noexcept override {}
    void offload(Job&) noexcept override {}
    void read(IoOp& op, Fd, MutableBytes buffer, std::uint64_t offset) noexcept override {
        EXPECT_EQ(offset, kNoOffset);
        reads.push_back({&op, buffer});
    }
    void write(IoOp&, Fd, Bytes, std::uint64_t) noexcept override {}
    void sync(IoOp&, Fd, bool) noexcept override {}
    void cancel(IoOp& op) noexcept override { cancelled.push_back(&op); }
    void start_timer(Timer&, Instant) noexcept override {}
    void cancel_timer(Timer&) noexcept override {}

    // The kernel hands over one request.
    void complete(const std::string& request) {
        ASSERT_FALSE(reads.empty());
        const auto [op, buffer] = reads.front();
        reads.pop_front();
        std::memcpy(buffer.data(), request.data(), request.size());
        op->on_complete(Status(), request.size());
    }
    void fail(Status status) {
        IoOp* op = reads.front().op;
        reads.pop_front();
        op->on_complete(status, 0);
    }
    void run_posted() {
        for (const auto& task : std::exchange(posted, {})) task();
    }

    struct Read {
        IoOp* op;
        MutableBytes buffer;
    };
    std::deque<Read> reads;
    std::vector<IoOp*> cancelled;
    std::vector<std::function<void()>> posted;

   private:
    Prng prng_{1};
};

class Collector final : public FuseTransport::Receiver, public LogSink {
   public:
    void on_request(FuseSlot& slot) noexcept override { slots.push_back(&slot); }
    void on_space() noexcept override { ++spaces; }
    void on_closed(Status reason) noexcept override {
        ++closes;
        closed = reason;
    }
    void log(LogLevel, std::string_view) noexcept override { ++complaints; }

    std::vector<FuseSlot*> slots;
    int spaces = 0, closes = 0, complaints = 0;
    Status closed;
};

class DevFuseTransportTest : public ::testing::Test {
   protected:
    DevFuseTransportTest() {
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends_), 0);
    }
    ~DevFuseTransportTest() override {
        for (FuseSlot* slot : receiver_.slots) transport_->drop(*slot);
        if (receiver_.closes == 0) {
            transport_->close();
            while (!loop_.reads.empty()) loop_.fail(Status(Code::cancelled));
            loop_.run_posted();
        }
        EXPECT_EQ(receiver_.closes, 1);
        transport_.reset();
        ::close(ends_[1]);
    }
    void start(const DevFuseTransport::Options& options) {
        transport_ = std::make_unique<DevFuseTransport>(loop_, receiver_, ends_[0], options);
        transport_->start(receiver_);
    }
    static std::string request(std::uint64_t unique, std::size_t size) {
        fuse::InHeader header{};
        header.len = static_cast<std::uint32_t>(size);
        header.unique = unique;
        std::string text(reinterpret_cast<const char*>(&header), sizeof header);
        text.resize(size, static_cast<char>('a' + unique));
        return text;
    }
    // Stays with the kernel until somebody reads.
    void queue(const std::string& request) {
        EXPECT_EQ(::send(ends_[1], request.data(), request.size(), 0),
                  static_cast<ssize_t>(request.size()));
    }
    void answer_last(int error, std::span<const Bytes> parts = {}) {
        FuseSlot* slot = receiver_.slots.back();
        receiver_.slots.pop_back();
        transport_->answer(*slot, error, parts);
    }
    // What the kernel's side has received: header and rest.
    std::pair<fuse::OutHeader, std::string> received() {
        char text[8192];
        fuse::OutHeader header{};
        const ssize_t size = ::recv(ends_[1], text, sizeof text, 0);
        if (size < static_cast<ssize_t>(sizeof header)) return {header, "nothing"};
        std::memcpy(&header, text, sizeof header);
        EXPECT_EQ(header.len, size);
        return {header,
                std::string(text + sizeof header, static_cast<std::size_t>(size) - sizeof header)};
    }

    int ends_[2];
    ManualLoop loop_;
    Collector receiver_;
    std::unique_ptr<DevFuseTransport> transport_;
};

TEST_F(DevFuseTransportTest, AnswersCarryHeaderAndParts) {
    start({4, 4});
    EXPECT_EQ(loop_.reads.size(), 1U);
    loop_.complete(request(5, 100));
    ASSERT_EQ(receiver_.slots.size(), 1U);
    EXPECT_EQ(receiver_.slots[0]->message.size(), 100U);
    EXPECT_EQ(loop_.reads.size(), 1U) << "reading goes on";
    const Bytes parts[] = {as_bytes("one"), as_bytes("two")};
    answer_last(0, parts);
    const auto [header, rest] = received();
    EXPECT_EQ(header.unique, 5U);
    EXPECT_EQ(header.error, 0);
    EXPECT_EQ(rest, "onetwo");
    loop_.complete(request(6, 100));
    answer_last(ENOENT);
    EXPECT_EQ(received().first.error, -ENOENT);
}

TEST_F(DevFuseTransportTest, RequestsBeyondTheSlotsWaitAndAreNotLost) {
    start({2, 8});
    for (std::uint64_t i = 1; i <= 3; ++i) loop_.complete(request(i, 64));
    ASSERT_EQ(receiver_.slots.size(), 2U);
    EXPECT_TRUE(loop_.reads.empty()) << "more is read than can be kept";
    answer_last(0);
    ASSERT_EQ(receiver_.slots.size(), 2U) << "the waiting request was lost";
    EXPECT_EQ(loop_.reads.size(), 1U);
}

TEST_F(DevFuseTransportTest, TakesAllThatHasQueuedUpInOneTurn) {
    start({8, 4});
    queue(request(2, 64));
    queue(request(3, 100000));
    queue(request(4, 64));
    loop_.complete(request(1, 64));
    ASSERT_EQ(receiver_.slots.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
        fuse::InHeader header{};
        std::memcpy(&header, receiver_.slots[i]->message.data(), sizeof header);
        EXPECT_EQ(header.unique, i + 1) << "out of order";
    }
    EXPECT_EQ(loop_.reads.size(), 1U) << "nobody waits for the next one";
}

TEST_F(DevFuseTransportTest, QueuedRequestsBeyondTheSlotsStayWithTheKernel) {
    start({2, 4});
    for (std::uint64_t i = 2; i <= 5; ++i) queue(request(i, 64));
    loop_.complete(request(1, 64));
    ASSERT_EQ(receiver_.slots.size(), 2U);
    EXPECT_TRUE(loop_.reads.empty());
    answer_last(0);
    EXPECT_EQ(receiver_.slots.size(), 2U) << "the request that was read already was lost";
    ASSERT_EQ(loop_.reads.size(), 1U);
}

TEST_F(DevFuseTransportTest, LargeRequestKeepsItsBufferUntilAnswered) {
    start({8, 3});
    loop_.complete(request(1, 500000));
    loop_.complete(request(2, 500000));
    loop_.complete(request(3, 500000));
    ASSERT_EQ(receiver_.slots.size(), 3U);
    EXPECT_TRUE(loop_.reads.empty()) << "no buffer is left to read into";
    for (std::size_t i = 0; i < 3; ++i) {
        const Bytes message = receiver_.slots[i]->message;
        ASSERT_EQ(message.size(), 500000U);
        EXPECT_EQ(message[499999], std::byte('a' + i + 1)) << "overwritten by a later request";
    }
    answer_last(0);
    EXPECT_EQ(loop_.reads.size(), 1U);
}

TEST_F(DevFuseTransportTest, LargeAnswersLeaveABufferForReading) {
    start({8, 3});
    for (std::uint64_t i = 1; i <= 3; ++i) loop_.complete(request(i, 80));
    EXPECT_EQ(transport_->answer_space(*receiver_.slots[0], 300000).size(), 300000U);
    EXPECT_TRUE(transport_->answer_space(*receiver_.slots[1], 300000).empty());
    EXPECT_EQ(loop_.reads.size(), 1U);
    EXPECT_EQ(transport_->answer_space(*receiver_.slots[2], 4096).size(), 4096U);
    std::swap(receiver_.slots[0], receiver_.slots[2]);
    answer_last(0);
    EXPECT_EQ(receiver_.spaces, 1);
    EXPECT_EQ(transport_->answer_space(*receiver_.slots[1], 300000).size(), 300000U);
}

TEST_F(DevFuseTransportTest, InterruptedReadsAreRepeatedAndOthersEndIt) {
    start({4, 4});
    for (const int error : {EINTR, EAGAIN, ENOENT}) {
        loop_.fail(Status::from_errno(error));
        EXPECT_EQ(loop_.reads.size(), 1U) << error;
    }
    loop_.fail(Status::from_errno(ENODEV));
    EXPECT_TRUE(loop_.reads.empty());
    EXPECT_EQ(receiver_.closes, 0) << "called from inside a completion";
    loop_.run_posted();
    EXPECT_EQ(receiver_.closes, 1);
    EXPECT_EQ(receiver_.closed.code(), Code::disconnected);
}

TEST_F(DevFuseTransportTest, LyingLengthEndsTheConnection) {
    start({4, 4});
    std::string lying = request(1, 64);
    lying.resize(60);
    loop_.complete(lying);
    EXPECT_TRUE(receiver_.slots.empty());
    EXPECT_EQ(receiver_.complaints, 1);
    loop_.run_posted();
    EXPECT_EQ(receiver_.closed.code(), Code::corrupt);
}

TEST_F(DevFuseTransportTest, AnswersAfterTheEndGoNowhere) {
    start({4, 4});
    loop_.complete(request(1, 64));
    transport_->close();
    while (!loop_.reads.empty()) loop_.fail(Status(Code::cancelled));
    EXPECT_EQ(receiver_.closes, 1);
    ::shutdown(ends_[0], SHUT_RDWR);
    answer_last(0);
    EXPECT_TRUE(loop_.reads.empty());
}

}  // namespace
}  // namespace gemel
