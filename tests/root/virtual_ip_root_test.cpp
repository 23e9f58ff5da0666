// SPDX-License-Identifier: Apache-2.0
// Goal: an address that is claimed is on the right interface and its neighbours hear of it, until
// it is dropped. Method: two network namespaces of our own, joined by a veth pair; the other end
// listens to every frame. The namespaces die with their descriptors.
#include "engine/io/uring/uring_loop.hpp"
#include "netdev/virtual_ip.hpp"
#include "netdev/virtual_ip_announce.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace gemel {
namespace {

class NoLog final : public LogSink {
   public:
    void log(LogLevel, std::string_view text) noexcept override {
        ADD_FAILURE() << "warned: " << text;
    }
};

int this_namespace() { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

// In the namespace that the thread is in.
std::string output_of(const std::string& command) {
    std::string text;
    FILE* pipe = popen(command.c_str(), "r");
    for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    EXPECT_EQ(pclose(pipe), 0) << command;
    return text;
}

class VirtualIpTest : public testing::Test {
   protected:
    void SetUp() override {
        outside_ = this_namespace();
        ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs root";
        neighbour_ = this_namespace();
        ASSERT_EQ(unshare(CLONE_NEWNET), 0);
        own_ = this_namespace();
        const std::string there =
            "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(neighbour_);
        output_of("ip link add veth0 address 02:00:00:00:00:aa type veth peer name veth1");
        output_of("ip link set veth1 netns " + there);
        output_of("ip addr add 10.99.0.1/24 dev veth0 && ip link set veth0 up");
        output_of("ip -6 addr add fd99::1/64 dev veth0 nodad");
        at_neighbour([&] {
            output_of("ip addr add 10.99.0.2/24 dev veth1 && ip link set veth1 up");
            output_of("ip -6 addr add fd99::2/64 dev veth1 nodad");
            listen_to_frames();
        });
        Result<std::unique_ptr<UringLoop>> loop = UringLoop::create({});
        ASSERT_TRUE(loop.ok());
        loop_ = std::move(loop).value();
        loop_->turn(Duration{});
        virtual_ip_ = make_virtual_ip(*loop_, log_);
    }
    void TearDown() override {
        virtual_ip_.reset();
        loop_.reset();
        setns(outside_, CLONE_NEWNET);
        for (const int fd : {outside_, neighbour_, own_, frames_}) {
            if (fd >= 0) close(fd);
        }
    }

    void at_neighbour(const std::function<void()>& task) {
        ASSERT_EQ(setns(neighbour_, CLONE_NEWNET), 0);
        task();
        ASSERT_EQ(setns(own_, CLONE_NEWNET), 0);
    }
    void listen_to_frames() {
        frames_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = static_cast<int>(if_nametoindex("veth1"));
        ASSERT_EQ(bind(frames_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    // Frames that the neighbour has got since the last call and that are exactly `wanted`.
    unsigned count_frames(Bytes wanted) {
        unsigned count = 0;
        std::array<std::byte, 2048> frame;
        for (ssize_t size; (size = recv(frames_, frame.data(), frame.size(), 0)) > 0;) {
            const auto length = static_cast<std::size_t>(size);
            if (length == wanted.size() && std::memcmp(frame.data(), wanted.data(), length) == 0) {
                ++count;
            }
        }
        return count;
    }
    void claim_and_await_announcements(const std::string& text, Bytes wanted) {
        claim(text);
        unsigned heard = 0;
        while (heard < 3) {
            heard += count_frames(wanted);
            loop_->turn(Duration::milliseconds(20));
        }
        EXPECT_EQ(heard, 3u);
    }
    static VirtualAddress address_of(const std::string& text) {
        return VirtualAddress::parse(text).value();
    }
    void claim(const std::string& text) {
        std::string sentence;
        EXPECT_TRUE(virtual_ip_->claim(address_of(text), sentence).ok()) << sentence;
        EXPECT_TRUE(virtual_ip_->holds(address_of(text)));
    }
    void drop(const std::string& text) {
        std::string sentence;
        EXPECT_TRUE(virtual_ip_->drop(address_of(text), sentence).ok()) << sentence;
        EXPECT_FALSE(virtual_ip_->holds(address_of(text)));
    }

    int outside_ = -1;
    int neighbour_ = -1;
    int own_ = -1;
    int frames_ = -1;
    NoLog log_;
    std::unique_ptr<UringLoop> loop_;
    std::unique_ptr<VirtualIp> virtual_ip_;
};

constexpr std::array<std::uint8_t, 6> kMac{0x02, 0, 0, 0, 0, 0xaa};

TEST_F(VirtualIpTest, NeighboursForgetTheOldOwnerOfAnIpv4Address) {
    const std::string ask = "ip neigh show 10.99.0.50 dev veth1";
    at_neighbour(
        [&] { output_of("ip neigh add 10.99.0.50 lladdr 02:00:00:00:00:01 dev veth1 nud stale"); });
    claim_and_await_announcements("10.99.0.50/24",
                                  make_arp_announcement(kMac, address_of("10.99.0.50/24").ip));
    EXPECT_NE(output_of("ip -o addr show dev veth0").find("inet 10.99.0.50/24 brd 10.99.0.255"),
              std::string::npos);
    at_neighbour([&] {
        EXPECT_NE(output_of(ask).find("02:00:00:00:00:aa"), std::string::npos) << output_of(ask);
    });
    drop("10.99.0.50/24");
    EXPECT_EQ(output_of("ip -o addr show dev veth0").find("10.99.0.50"), std::string::npos);
}

TEST_F(VirtualIpTest, NeighboursForgetTheOldOwnerOfAnIpv6Address) {
    const std::string ask = "ip -6 neigh show fd99::50 dev veth1";
    at_neighbour([&] {
        output_of("ip -6 neigh add fd99::50 lladdr 02:00:00:00:00:01 dev veth1 nud stale");
    });
    claim_and_await_announcements("fd99::50/64",
                                  make_neighbour_advertisement(kMac, address_of("fd99::50/64").ip));
    EXPECT_NE(output_of("ip -o -6 addr show dev veth0").find("inet6 fd99::50/64"),
              std::string::npos);
    at_neighbour([&] {
        EXPECT_NE(output_of(ask).find("02:00:00:00:00:aa"), std::string::npos) << output_of(ask);
    });
    drop("fd99::50/64");
}

TEST_F(VirtualIpTest, IsTakenAsItIsWhenAKilledDaemonLeftIt) {
    output_of("ip addr add 10.99.0.50/24 dev veth0");
    claim("10.99.0.50/24");
    drop("10.99.0.50/24");
    drop("10.99.0.50/24");
    EXPECT_NE(output_of("ip -o addr show dev veth0").find("10.99.0.1/24"), std::string::npos);
}

TEST_F(VirtualIpTest, IsNotAnnouncedAnyMoreOnceDropped) {
    const ArpFrame wanted = make_arp_announcement(kMac, address_of("10.99.0.50/24").ip);
    claim("10.99.0.50/24");
    drop("10.99.0.50/24");
    while (count_frames(wanted) == 0) loop_->turn(Duration::milliseconds(1));
    bool is_over = false;
    Timer timer(*loop_, [&] { is_over = true; });
    timer.start(Duration::milliseconds(1500));
    while (!is_over) loop_->turn(Duration::milliseconds(100));
    EXPECT_EQ(count_frames(wanted), 0u);
}

TEST_F(VirtualIpTest, SaysWhyItCannotBeClaimed) {
    std::string sentence;
    EXPECT_EQ(virtual_ip_->claim(address_of("10.98.0.50/24"), sentence).code(), Code::not_found);
    EXPECT_EQ(sentence,
              "no interface has an address of the network of 10.98.0.50/24; name one, as in "
              "\"10.98.0.50/24@eth0\"");
    EXPECT_EQ(virtual_ip_->claim(address_of("10.98.0.50/24@eth7"), sentence).code(),
              Code::not_found);
    EXPECT_EQ(sentence, "there is no interface 'eth7' for 10.98.0.50/24");
    output_of("ip addr add 10.99.0.50/24 dev lo");
    EXPECT_EQ(virtual_ip_->claim(address_of("10.99.0.50/24"), sentence).code(), Code::conflict);
    EXPECT_EQ(sentence,
              "10.99.0.50/24 is on another interface of this node already, not on 'veth0'");
    // Named, an interface needs no other address of the network.
    claim("10.98.0.50/24@veth0");
    drop("10.98.0.50/24@veth0");
}

}  // namespace
}  // namespace gemel
