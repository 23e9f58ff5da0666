// SPDX-License-Identifier: Apache-2.0
// Virtual addresses on the interfaces of this machine.
#include "netdev/virtual_ip.hpp"
#include "netdev/virtual_ip_announce.hpp"
#include "netdev/virtual_ip_netlink.hpp"

#include <algorithm>
#include <cerrno>
#include <vector>

namespace gemel {
namespace {

// One announcement may be lost, and a switch that has just learned of a failure may drop the first.
constexpr Duration kRepeatAfter[] = {Duration::seconds(1), Duration::seconds(2)};

class KernelVirtualIp final : public VirtualIp {
   public:
    KernelVirtualIp(Loop& loop, LogSink& log) noexcept : loop_(loop), log_(log) {
        // The socket belongs to the namespace of this moment. A failure shows again at the first
        // use.
        if (const Status status = netlink_.open(); !status.ok()) {
            log_.log(LogLevel::warning, "no netlink socket: " + status.to_string());
        }
    }

    Status claim(const VirtualAddress& address, std::string& sentence) noexcept override;
    Status drop(const VirtualAddress& address, std::string& sentence) noexcept override;
    bool holds(const VirtualAddress& address) noexcept override;

   private:
    // An address whose announcements are not all out yet.
    struct Announcing {
        Announcing(KernelVirtualIp& owner, const VirtualAddress& a, const Interface& i) noexcept
            : address(a),
              interface(i),
              timer(owner.loop_, [this, &owner] { owner.repeat(*this); }) {}
        VirtualAddress address;
        Interface interface;
        std::size_t repeated = 0;
        Timer timer;
    };

    // The interfaces that have the address (whatever its prefix there).
    Status find(const VirtualAddress& address, std::vector<InterfaceAddress>& found) noexcept;
    void start_announcing(const VirtualAddress& address, const Interface& interface) noexcept;
    void stop_announcing(const VirtualAddress& address) noexcept;
    void repeat(Announcing& announcing) noexcept;
    void announce_once(const Announcing& announcing) noexcept;
    static Status kernel_failure(const VirtualAddress& address, std::string_view what,
                                 Status status, std::string& sentence) noexcept;

    Loop& loop_;
    LogSink& log_;
    RouteNetlink netlink_;
    std::vector<std::unique_ptr<Announcing>> announcing_;
};

std::string host_text(const VirtualAddress& address) {
    const std::string text = address.to_string();
    return text.substr(0, text.find('@'));
}

Status KernelVirtualIp::kernel_failure(const VirtualAddress& address, std::string_view what,
                                       Status status, std::string& sentence) noexcept {
    sentence = std::string(what) + " " + address.to_string() + ": " + status.to_string();
    if (status.is_errno(EPERM)) sentence += " (CAP_NET_ADMIN is needed)";
    return status;
}

Status KernelVirtualIp::find(const VirtualAddress& address,
                             std::vector<InterfaceAddress>& found) noexcept {
    std::vector<InterfaceAddress> all;
    GEMEL_TRY(netlink_.list_addresses(all));
    std::copy_if(all.begin(), all.end(), std::back_inserter(found), [&](const auto& other) {
        return other.is_v6 == address.is_v6 && other.ip == address.ip;
    });
    return {};
}

Status KernelVirtualIp::claim(const VirtualAddress& address, std::string& sentence) noexcept {
    std::vector<Interface> interfaces;
    std::vector<InterfaceAddress> addresses;
    Status status = netlink_.list_interfaces(interfaces);
    if (status.ok()) status = netlink_.list_addresses(addresses);
    if (!status.ok()) return kernel_failure(address, "cannot claim", status, sentence);

    // Where it is already decides before where it would belong: its own /24 would name the network.
    const auto held = std::find_if(addresses.begin(), addresses.end(), [&](const auto& other) {
        return other.is_v6 == address.is_v6 && other.ip == address.ip;
    });
    const int held_on = held == addresses.end() ? 0 : held->interface_index;
    std::erase_if(addresses, [&](const auto& other) {
        return other.is_v6 == address.is_v6 && other.ip == address.ip;
    });
    int index = choose_interface(address, interfaces, addresses);
    if (index == 0 && address.interface.empty()) index = held_on;
    const auto interface = std::find_if(interfaces.begin(), interfaces.end(),
                                        [&](const auto& other) { return other.index == index; });
    if (interface == interfaces.end()) {
        sentence =
            address.interface.empty()
                ? "no interface has an address of the network of " + host_text(address) +
                      "; name one, as in \"" + host_text(address) + "@eth0\""
                : "there is no interface '" + address.interface + "' for " + host_text(address);
        return Status(Code::not_found);
    }
    if (held_on != 0 && held_on != index) {
        sentence = host_text(address) + " is on another interface of this node already, not on '" +
                   interface->name + "'";
        return Status(Code::conflict);
    }
    if (held_on == 0) {
        status = netlink_.add_address({index, address.is_v6, address.ip, address.prefix});
        if (!status.ok() && !status.is_errno(EEXIST)) {
            return kernel_failure(address, "cannot claim", status, sentence);
        }
    }
    start_announcing(address, *interface);
    return {};
}

Status KernelVirtualIp::drop(const VirtualAddress& address, std::string& sentence) noexcept {
    stop_announcing(address);
    std::vector<InterfaceAddress> found;
    if (const Status status = find(address, found); !status.ok()) {
        return kernel_failure(address, "cannot drop", status, sentence);
    }
    for (const InterfaceAddress& on : found) {
        const Status status = netlink_.remove_address(on);
        if (status.ok() || status.is_errno(EADDRNOTAVAIL)) continue;
        return kernel_failure(address, "cannot drop", status, sentence);
    }
    return {};
}

bool KernelVirtualIp::holds(const VirtualAddress& address) noexcept {
    std::vector<InterfaceAddress> found;
    return find(address, found).ok() && !found.empty();
}

void KernelVirtualIp::start_announcing(const VirtualAddress& address,
                                       const Interface& interface) noexcept {
    stop_announcing(address);
    auto announcing = std::make_unique<Announcing>(*this, address, interface);
    announce_once(*announcing);
    announcing->timer.start(kRepeatAfter[0]);
    announcing_.push_back(std::move(announcing));
}

void KernelVirtualIp::stop_announcing(const VirtualAddress& address) noexcept {
    std::erase_if(announcing_, [&](const auto& item) { return item->address.ip == address.ip; });
}

void KernelVirtualIp::repeat(Announcing& announcing) noexcept {
    announce_once(announcing);
    if (++announcing.repeated < std::size(kRepeatAfter)) {
        announcing.timer.start(kRepeatAfter[announcing.repeated]);
    }
}

// An address that could not be announced is ours all the same; neighbours learn it more slowly.
void KernelVirtualIp::announce_once(const Announcing& announcing) noexcept {
    const Status status = announce(announcing.address, announcing.interface);
    if (status.ok()) return;
    log_.log(LogLevel::warning, "cannot announce " + host_text(announcing.address) + " on " +
                                    announcing.interface.name + ": " + status.to_string());
}

}  // namespace

std::unique_ptr<VirtualIp> make_virtual_ip(Loop& loop, LogSink& log) noexcept {
    return std::make_unique<KernelVirtualIp>(loop, log);
}

}  // namespace gemel
