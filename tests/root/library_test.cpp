// SPDX-License-Identifier: Apache-2.0
// libgemel as its users see it, through libgemel.so: this process is one node, by its own event
// loop, and a child of it the other one, with the library's thread. Their mirror's backing has one
// path, below which each has its own directory, as on two machines.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gemel/node.hpp>
#include <optional>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

using libgemel::Completion;
using libgemel::Durability;
using libgemel::Error;
using libgemel::EventKind;
using libgemel::State;

constexpr std::uint64_t kSize = 8 << 20;
constexpr int kPatienceMs = 60'000;
constexpr std::size_t kEventKinds = 6;

std::filesystem::path base;

// All of 127/8 is this machine; no other test run has this one's addresses.
std::string address(int node) {
    static const auto run = static_cast<unsigned>(::getpid());
    return "127." + std::to_string(192 + 2 * (run >> 16 & 15) + static_cast<unsigned>(node)) + '.' +
           std::to_string(run >> 8 & 255) + '.' + std::to_string(run & 255) + ":7800";
}

libgemel::NodeOptions options_of(const std::string& name) {
    libgemel::NodeOptions options;
    options.cluster.emplace();
    options.cluster->name = "library-test";
    options.cluster->key_file = base / "key";
    options.cluster->nodes = {{"alpha", {address(1)}}, {"beta", {address(2)}}};
    options.cluster->mirrors = {{"data", {"alpha", "beta"}, {{"disk0", base / "disk/0", kSize}}}};
    options.node = name;
    options.state_directory = base / ("state-" + name);
    return options;
}

// A mount namespace of this process's own, in which base/disk is the node's directory.
void enter(const std::string& name) {
    std::filesystem::create_directories(base / name);
    GTEST_ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    GTEST_ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    GTEST_ASSERT_EQ(
        ::mount((base / name).c_str(), (base / "disk").c_str(), nullptr, MS_BIND, nullptr), 0);
}

// The other node, until `end` is closed.
int run_beta(int end) {
    enter("beta");
    std::string why;
    const auto node = libgemel::open_node(options_of("beta"), why);
    if (node == nullptr) {
        std::fprintf(stderr, "beta: %s\n", why.c_str());
        return 1;
    }
    char ignored = 0;
    while (::read(end, &ignored, 1) < 0) {
    }
    return 0;
}

class Pair final : public testing::Environment {
   public:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        (void)address(1);  // for the child as well
        base = std::filesystem::temp_directory_path() /
               ("gemel-library-" + std::to_string(::getpid()));
        std::filesystem::create_directories(base / "disk");
        std::ofstream(base / "key") << "gemel cluster key 1\n" << std::string(64, '7') << '\n';
        std::filesystem::permissions(base / "key", std::filesystem::perms::owner_read);
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        end_ = ends[1];
        beta_ = ::fork();  // before there is any thread
        if (beta_ == 0) {
            ::close(ends[1]);
            std::_Exit(run_beta(ends[0]));
        }
        ::close(ends[0]);
        enter("alpha");
    }
    void TearDown() override {
        if (base.empty()) return;
        ::close(end_);
        int status = -1;
        ::waitpid(beta_, &status, 0);
        EXPECT_EQ(status, 0) << "beta did not end in order";
        ::umount((base / "disk").c_str());
        std::error_code ignored;
        std::filesystem::remove_all(base, ignored);
    }

   private:
    int end_ = -1;
    pid_t beta_ = 0;
};
const auto* const environment = testing::AddGlobalTestEnvironment(new Pair());

class LibraryTest : public testing::Test {
   protected:
    void SetUp() override {
        if (base.empty()) GTEST_SKIP() << "needs root";
        libgemel::NodeOptions options = options_of("alpha");
        options.threads = libgemel::Threads::caller;
        options.end_limit = std::chrono::milliseconds(kPatienceMs);
        options.on_event = [this](const libgemel::Event& event) {
            ++events_[static_cast<std::size_t>(event.kind)];
        };
        std::string why;
        node_ = libgemel::open_node(options, why);
        ASSERT_NE(node_, nullptr) << why;
        mirror_ = node_->find_mirror("data");
        ASSERT_NE(mirror_, nullptr);
        volume_ = mirror_->find_volume("disk0");
        ASSERT_NE(volume_, nullptr);
        wait_for_state(State::primary, State::secondary);
        if (mirror_->status().state == State::primary) return;
        ASSERT_EQ(command(libgemel::Command::swap), Error::none);
        wait_for_state(State::primary, State::primary);
    }

    // Waits for nothing but the node's descriptor.
    void run_until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
        while (!condition()) {
            ASSERT_LT(std::chrono::steady_clock::now(), end) << mirror_->status().reason;
            pollfd ready{node_->descriptor(), POLLIN, 0};
            ASSERT_EQ(::poll(&ready, 1, kPatienceMs), 1) << "nothing happens any more";
            node_->dispatch();
        }
    }
    void wait_for_state(State one, State other) {
        run_until([&] {
            const State now = mirror_->status().state;
            return now == one || now == other;
        });
    }
    Error command(libgemel::Command command) {
        std::optional<Error> outcome;
        mirror_->command(command, [&](Error error, const std::string& why) {
            EXPECT_TRUE(error == Error::none) << why;
            outcome = error;
        });
        run_until([&] { return outcome.has_value(); });
        return outcome.value_or(Error::refused);
    }
    // How a request ended; it has to end once, and not inside the call that begins it.
    template <typename Begin>
    Error outcome_of(Begin begin) {
        int completions = 0;
        Error outcome = Error::none;
        begin([&](Error error) {
            ++completions;
            outcome = error;
        });
        EXPECT_EQ(completions, 0) << "inside the call";
        run_until([&] { return completions > 0; });
        EXPECT_EQ(completions, 1);
        return outcome;
    }
    Error write(std::uint64_t offset, const std::vector<std::byte>& data,
                Durability durability = Durability::acknowledged) {
        return outcome_of([&](Completion done) { volume_->write(offset, data, done, durability); });
    }
    std::vector<std::byte> read(std::uint64_t offset, std::size_t size) {
        std::vector<std::byte> data(size, std::byte{0xee});
        EXPECT_EQ(outcome_of([&](Completion done) { volume_->read(offset, data, done); }),
                  Error::none);
        return data;
    }
    [[nodiscard]] int events(EventKind kind) const {
        return events_[static_cast<std::size_t>(kind)];
    }

    std::unique_ptr<libgemel::Node> node_;
    libgemel::Mirror* mirror_ = nullptr;
    libgemel::Volume* volume_ = nullptr;
    std::array<int, kEventKinds> events_{};
};

std::vector<std::byte> bytes(std::size_t size, unsigned char value) {
    return std::vector<std::byte>(size, std::byte{value});
}

TEST_F(LibraryTest, ChangesAreReadBack) {
    EXPECT_EQ(volume_->size(), kSize);
    EXPECT_EQ(&volume_->mirror(), mirror_);
    EXPECT_EQ(mirror_->volume_count(), 1U);
    EXPECT_EQ(mirror_->find_volume("disk1"), nullptr);
    EXPECT_EQ(write(5000, bytes(10'001, 1)), Error::none);
    EXPECT_EQ(write(7000, bytes(100, 2), Durability::durable), Error::none);
    EXPECT_EQ(write(kSize - 1, bytes(1, 3)), Error::none);
    auto expected = bytes(10'001, 1);
    std::fill_n(expected.begin() + 2000, 100, std::byte{2});
    EXPECT_EQ(read(5000, 10'001), expected);
    EXPECT_EQ(read(kSize - 1, 1), bytes(1, 3));
    EXPECT_EQ(outcome_of([&](Completion done) { volume_->flush(done); }), Error::none);

    EXPECT_EQ(outcome_of([&](Completion done) { volume_->zero(6000, 50, done); }), Error::none);
    std::fill_n(expected.begin() + 1000, 50, std::byte{0});
    EXPECT_EQ(read(5000, 10'001), expected);
    EXPECT_EQ(outcome_of([&](Completion done) {
                  volume_->zero(0, kSize - 4096, done, Durability::durable);
              }),
              Error::none);
    EXPECT_EQ(read(5000, 10'001), bytes(10'001, 0));
    EXPECT_EQ(read(kSize - 1, 1), bytes(1, 3));
    EXPECT_EQ(outcome_of([&](Completion done) { volume_->trim(kSize - 4096, 4096, done); }),
              Error::none);
    EXPECT_EQ(read(kSize - 1, 1), bytes(1, 0));
}

TEST_F(LibraryTest, WhatMakesNoSenseIsRefused) {
    EXPECT_EQ(write(kSize, bytes(1, 1)), Error::invalid_argument);
    EXPECT_EQ(write(~std::uint64_t{0}, bytes(2, 1)), Error::invalid_argument);
    EXPECT_EQ(write(kSize - 1, bytes(2, 1)), Error::invalid_argument);
    EXPECT_EQ(write(0, bytes(1, 1), static_cast<Durability>(2)), Error::invalid_argument);
    EXPECT_EQ(write(0, bytes(1, 1), static_cast<Durability>(-1)), Error::invalid_argument);
    EXPECT_EQ(outcome_of([&](Completion done) { volume_->zero(1, kSize, done); }),
              Error::invalid_argument);
    EXPECT_EQ(write(kSize, bytes(0, 1)), Error::none);
    std::string why;
    mirror_->command(static_cast<libgemel::Command>(99), [&](Error error, const std::string& text) {
        EXPECT_EQ(error, Error::refused);
        why = text;
    });
    run_until([&] { return !why.empty(); });
}

TEST_F(LibraryTest, RequestsOfOtherThreadsAreServed) {
    constexpr int kThreads = 4, kRequests = 100;
    std::atomic<int> done{0}, failed{0};
    const auto data = bytes(512, 9);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < kRequests; ++i) {
                const auto offset = static_cast<std::uint64_t>(t * kRequests + i) * 512;
                volume_->write(offset, data, [&](Error error) {
                    if (error != Error::none) ++failed;
                    ++done;
                });
            }
        });
    }
    run_until([&] { return done.load() == kThreads * kRequests; });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failed.load(), 0);
    EXPECT_EQ(read(0, 512 * kThreads * kRequests), bytes(512 * kThreads * kRequests, 9));
}

TEST_F(LibraryTest, ASwapWaitsForTheProgramAndComesBack) {
    ASSERT_EQ(write(0, bytes(4096, 5)), Error::none);
    bool swapped = false;
    mirror_->command(libgemel::Command::swap, [&](Error, const std::string&) { swapped = true; });
    run_until([&] { return events(EventKind::ending) == 1; });
    EXPECT_TRUE(mirror_->serves());
    EXPECT_EQ(write(0, bytes(4096, 6)), Error::none);
    EXPECT_FALSE(swapped);
    mirror_->end_use();
    run_until([&] { return swapped; });
    EXPECT_EQ(events(EventKind::stopped_serving), 1);
    EXPECT_EQ(write(0, bytes(1, 1)), Error::not_serving);
    EXPECT_EQ(outcome_of([&](Completion done) { volume_->flush(done); }), Error::not_serving);
    wait_for_state(State::secondary, State::secondary);

    EXPECT_EQ(command(libgemel::Command::swap), Error::none);
    wait_for_state(State::primary, State::primary);
    EXPECT_EQ(read(0, 4096), bytes(4096, 6));
    EXPECT_GE(events(EventKind::state), 2);
}

TEST_F(LibraryTest, TheEndAnswersWhatIsUnderWay) {
    constexpr int kRequests = 50;
    const auto data = bytes(4096, 8);
    int done = 0;
    for (int i = 0; i < kRequests; ++i) {
        volume_->write(static_cast<std::uint64_t>(i) * 4096, data, [&](Error) { ++done; });
    }
    node_.reset();
    EXPECT_EQ(done, kRequests);
}

TEST(Library, HasATextForEverything) {
    for (int i = 0; i <= 7; ++i) {
        EXPECT_STRNE(libgemel::error_text(static_cast<Error>(i)), "unknown error");
    }
    EXPECT_STREQ(libgemel::error_text(static_cast<Error>(8)), "unknown error");
    EXPECT_STREQ(libgemel::state_name(State::alone), "alone");
}

}  // namespace
