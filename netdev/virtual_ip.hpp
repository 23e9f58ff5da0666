// SPDX-License-Identifier: Apache-2.0
// Addresses that move with a mirror. Claimed after the write path is ours, dropped before it is
// given up (protocol.md 4); claiming them announces them to the neighbours.
//
// The real one speaks rtnetlink(7) itself: RTM_NEWADDR and RTM_DELADDR, announced by gratuitous ARP
// (RFC 5227, 3) or unsolicited neighbour advertisements (RFC 4861, 7.2.6).
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "engine/io/loop.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace gemel {

// "10.0.0.50/24", "fd00::50/64", or with the interface named: "10.0.0.50/24@eth0".
struct VirtualAddress {
    bool is_v6 = false;
    std::array<std::uint8_t, 16> ip{};  // network order; IPv4 in the first four bytes
    std::uint8_t prefix = 0;            // length of the network part in bits
    std::string interface;              // empty: the one that has an address of the same network

    // `refused` unless it is numeric, has a prefix length in range and an interface name of at
    // most 15 characters; network, multicast, loopback and unspecified addresses are refused too.
    static Result<VirtualAddress> parse(std::string_view text) noexcept;
    [[nodiscard]] std::string to_string() const;
    friend bool operator==(const VirtualAddress&, const VirtualAddress&) noexcept = default;
};

class VirtualIp {
   public:
    virtual ~VirtualIp() = default;

    // Makes the address one of this node's and announces it: at once, then twice more after 1 s and
    // 3 s. An address that this interface has already (left by a killed daemon) is taken as it is,
    // and announced. On failure `sentence` says what is wrong, for a person:
    //   not_found  no such interface, or none has an address of this network
    //   conflict   another interface of this node has it
    //   errno      what the kernel answered
    virtual Status claim(const VirtualAddress& address, std::string& sentence) noexcept = 0;
    // Takes it from whichever interface has it; one that is on none is dropped already: ok.
    virtual Status drop(const VirtualAddress& address, std::string& sentence) noexcept = 0;
    // Whether an interface of this node has it.
    [[nodiscard]] virtual bool holds(const VirtualAddress& address) noexcept = 0;
};

// Calls are synchronous and take microseconds; on the loop's thread. They concern the network
// namespace that the process is in when the object is made.
// Requires: `loop` and `log` outlive it. Needs CAP_NET_ADMIN and CAP_NET_RAW to do anything.
std::unique_ptr<VirtualIp> make_virtual_ip(Loop& loop, LogSink& log) noexcept;

}  // namespace gemel
