// SPDX-License-Identifier: Apache-2.0
#include "controller/doctor.hpp"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <optional>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel {
namespace {

using Findings = std::vector<DoctorFinding>;

std::string kernel_release() {
    utsname name{};
    return uname(&name) == 0 ? name.release : "";
}

std::string first_line(const char* path) {
    std::ifstream input(path);
    std::string line;
    std::getline(input, line);
    return line;
}

DoctorFinding by_version(const std::string& release, const char* feature, unsigned major,
                         unsigned minor, const char* cost) {
    const std::string since = std::to_string(major) + "." + std::to_string(minor);
    if (kernel_is_at_least(release, major, minor)) {
        return {feature, DoctorVerdict::present, "kernels have it since " + since, ""};
    }
    return {feature, DoctorVerdict::absent, "this kernel is older than " + since, cost};
}

DoctorFinding examine_kernel(const std::string& release) {
    const bool is_new_enough = kernel_is_at_least(release, 6, 1);
    return {"kernel 6.1", is_new_enough ? DoctorVerdict::present : DoctorVerdict::needed,
            "this is " + release, is_new_enough ? "" : "gemel is neither made nor tested for it"};
}

DoctorFinding examine_io_uring() {
    io_uring_params parameters{};
    const long ring = syscall(SYS_io_uring_setup, 2, &parameters);
    if (ring >= 0) {
        close(static_cast<int>(ring));
        return {"io_uring", DoctorVerdict::present, "a ring was made", ""};
    }
    std::string why = std::strerror(errno);
    if (errno == EPERM) why += "; see the sysctl kernel.io_uring_disabled, or a seccomp filter";
    return {"io_uring", DoctorVerdict::needed, why, "gemeld cannot run"};
}

DoctorFinding examine_fuse() {
    const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device >= 0) {
        close(device);
        return {"FUSE", DoctorVerdict::present, "/dev/fuse can be opened", ""};
    }
    return {"FUSE", DoctorVerdict::needed, std::string("/dev/fuse: ") + std::strerror(errno),
            "directories cannot be mirrored"};
}

DoctorFinding examine_fuse_over_uring(const std::string& release) {
    constexpr const char* kFeature = "FUSE over io_uring";
    constexpr const char* kCost =
        "requests are read from /dev/fuse: one more copy and wake-up each";
    const std::string value = first_line("/sys/module/fuse/parameters/enable_uring");
    if (value == "Y") return {kFeature, DoctorVerdict::present, "enabled", ""};
    if (value == "N") {
        return {kFeature, DoctorVerdict::absent,
                "disabled; 'options fuse enable_uring=1' in modprobe.d enables it", kCost};
    }
    const bool is_old = !kernel_is_at_least(release, 6, 14);
    return {kFeature, DoctorVerdict::absent,
            is_old ? "this kernel is older than 6.14" : "this kernel was built without it", kCost};
}

DoctorFinding examine_bpf() {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_ARRAY;
    attributes.key_size = 4;
    attributes.value_size = 4;
    attributes.max_entries = 1;
    constexpr const char* kCost =
        "changes behind the mount's back are found by comparing, not by being told";
    const long map = syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
    if (map < 0) return {"eBPF", DoctorVerdict::absent, std::strerror(errno), kCost};
    close(static_cast<int>(map));
    return {"eBPF", DoctorVerdict::present, "a map was made", ""};
}

DoctorFinding examine_path(const char* feature, const char* path, const char* cost) {
    if (access(path, R_OK) == 0) return {feature, DoctorVerdict::present, path, ""};
    return {feature, DoctorVerdict::absent, std::string(path) + ": " + std::strerror(errno), cost};
}

DoctorFinding examine_netlink() {
    const int route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (route >= 0) {
        close(route);
        return {"netlink", DoctorVerdict::present, "a route socket was made", ""};
    }
    return {"netlink", DoctorVerdict::absent, std::strerror(errno), "no virtual addresses"};
}

DoctorFinding examine_pings() {
    constexpr const char* kFeature = "pings";
    for (const int type : {SOCK_DGRAM, SOCK_RAW}) {
        const int ping = socket(AF_INET, type | SOCK_CLOEXEC, IPPROTO_ICMP);
        if (ping < 0) continue;
        close(ping);
        return {kFeature, DoctorVerdict::present,
                "can be sent; as an arbiter they can't tell a peer that is dead from a cut between "
                "the nodes, in which both would serve: a witness or etcd can",
                ""};
    }
    return {kFeature, DoctorVerdict::absent, std::strerror(errno),
            "no arbiter of kind 'ping': each node would wait for a person"};
}

// The effective capabilities of this process: those of `gemel` are those of root, as gemeld's.
std::optional<std::uint64_t> effective_capabilities() {
    std::ifstream input("/proc/self/status");
    for (std::string line; std::getline(input, line);) {
        if (!line.starts_with("CapEff:\t")) continue;
        std::uint64_t bits = 0;
        const char* end = line.data() + line.size();
        if (std::from_chars(line.data() + 8, end, bits, 16).ec == std::errc()) return bits;
    }
    return std::nullopt;
}

void examine_capabilities(Findings& findings) {
    struct Wanted {
        const char* name;
        unsigned bit;
        DoctorVerdict verdict;
        const char* cost;
    };
    constexpr Wanted kWanted[] = {
        {"CAP_SYS_ADMIN", CAP_SYS_ADMIN, DoctorVerdict::needed,
         "no mounts and no trusted. attributes: directories cannot be mirrored"},
        {"CAP_NET_ADMIN", CAP_NET_ADMIN, DoctorVerdict::absent, "no virtual addresses"},
        {"CAP_NET_RAW", CAP_NET_RAW, DoctorVerdict::absent,
         "virtual addresses are not announced: neighbours keep the old one for minutes"},
        {"CAP_SYS_NICE", CAP_SYS_NICE, DoctorVerdict::absent,
         "heartbeats without real-time priority: a node under full load may look dead"},
    };
    const std::optional<std::uint64_t> bits = effective_capabilities();
    for (const Wanted& wanted : kWanted) {
        if (!bits) {
            findings.push_back({wanted.name, DoctorVerdict::unknown, "no /proc", wanted.cost});
        } else if ((*bits >> wanted.bit & 1) != 0) {
            findings.push_back({wanted.name, DoctorVerdict::present, "effective here", ""});
        } else {
            findings.push_back({wanted.name, wanted.verdict, "not effective here", wanted.cost});
        }
    }
}

}  // namespace

std::string_view doctor_verdict_name(DoctorVerdict verdict) noexcept {
    switch (verdict) {
        case DoctorVerdict::present:
            return "present";
        case DoctorVerdict::absent:
            return "absent";
        case DoctorVerdict::needed:
            return "needed";
        case DoctorVerdict::unknown:
            return "unknown";
    }
    return "unknown";
}

bool kernel_is_at_least(std::string_view release, unsigned major, unsigned minor) noexcept {
    unsigned has_major = 0;
    unsigned has_minor = 0;
    const char* end = release.data() + release.size();
    const auto first = std::from_chars(release.data(), end, has_major);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return false;
    if (std::from_chars(first.ptr + 1, end, has_minor).ec != std::errc()) return false;
    return has_major != major ? has_major > major : has_minor >= minor;
}

std::vector<DoctorFinding> examine_machine() {
    const std::string release = kernel_release();
    Findings findings{
        examine_kernel(release),
        examine_io_uring(),
        examine_fuse(),
        examine_fuse_over_uring(release),
        by_version(release, "FUSE passthrough", 6, 9, "reads and writes are copied through gemeld"),
        by_version(release, "FUSE O_TMPFILE", 6, 2, "O_TMPFILE fails with EOPNOTSUPP on a mirror"),
        by_version(release, "FUSE statx", 6, 6, "no birth times on a mirror"),
        examine_bpf(),
        examine_path("BTF", "/sys/kernel/btf/vmlinux", "no eBPF programs on kernel functions"),
        examine_path("tracepoints", "/sys/kernel/tracing/events",
                     "no eBPF programs on tracepoints; tracefs is not mounted, perhaps"),
        examine_path("change times", "/sys/kernel/tracing/events/timestamp/ctime_ns_xchg",
                     "changes made without a mirror are not seen (Linux 6.13; 6.14 for ext4)"),
        examine_netlink(),
        examine_pings(),
    };
    examine_capabilities(findings);
    return findings;
}

DoctorFinding examine_attributes(const std::string& directory) {
    const std::string feature = "trusted. attributes in " + directory;
    constexpr const char* kCost = "this directory cannot be mirrored";
    const int file = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) {
        return {feature, DoctorVerdict::unknown,
                std::string("no file could be made there: ") + std::strerror(errno), kCost};
    }
    const int result = fsetxattr(file, "trusted.gemel.doctor", "x", 1, 0);
    const int error = errno;
    close(file);
    if (result == 0) return {feature, DoctorVerdict::present, "one was set", ""};
    return {feature, DoctorVerdict::needed, std::strerror(error), kCost};
}

std::string to_json(const std::vector<DoctorFinding>& findings) {
    using Json = nlohmann::ordered_json;
    Json list = Json::array();
    for (const DoctorFinding& finding : findings) {
        list.push_back(Json{{"feature", finding.feature},
                            {"verdict", doctor_verdict_name(finding.verdict)},
                            {"detail", finding.detail},
                            {"cost", finding.cost}});
    }
    return Json{{"features", std::move(list)}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_text(const std::vector<DoctorFinding>& findings) {
    std::size_t width = 0;
    for (const DoctorFinding& finding : findings) width = std::max(width, finding.feature.size());
    std::string text;
    for (const DoctorFinding& finding : findings) {
        std::string verdict(finding.verdict == DoctorVerdict::needed
                                ? "MISSING"
                                : doctor_verdict_name(finding.verdict));
        verdict.resize(9, ' ');
        std::string feature = finding.feature;
        feature.resize(width + 2, ' ');
        text += verdict + feature + finding.detail + "\n";
        if (!finding.cost.empty()) {
            text += std::string(9 + width + 2, ' ') + "costs: " + finding.cost + "\n";
        }
    }
    return text;
}

}  // namespace gemel
