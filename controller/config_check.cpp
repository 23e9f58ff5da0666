// SPDX-License-Identifier: Apache-2.0
// What the parts of a configuration demand of each other, and of the machine's directories.
#include "controller/config_suggest.hpp"
#include "controller/config_value.hpp"
#include "controller/duration.hpp"

#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <unistd.h>

namespace gemel {
namespace {

void check_nodes(ConfigDraft& draft) {
    std::map<SocketAddress, std::string> owners;
    for (const NodeConfig& node : draft.config.nodes) {
        for (const SocketAddress& link : node.links) {
            const auto [found, is_new] = owners.emplace(link, node.name);
            if (is_new) continue;
            draft.error_at("node." + node.name + ".links",
                           link.to_string() + " is a link of node '" + found->second + "' already");
        }
    }
}

// A node answers its own pings whatever has become of the network.
void check_targets(ConfigDraft& draft) {
    const auto check = [&](bool is_v6, const std::array<std::uint8_t, 16>& ip,
                           const std::string& what) {
        for (const SocketAddress& target : draft.config.arbiter.targets) {
            if (target.ip != ip || target.is_v6 != is_v6) continue;
            draft.error_at("arbiter.address", "'address' in [arbiter] names " + what +
                                                  ": it has to be a third machine's, like that "
                                                  "of the gateway");
        }
    };
    for (const NodeConfig& node : draft.config.nodes) {
        for (const SocketAddress& link : node.links) {
            check(link.is_v6, link.ip, "an address of node '" + node.name + "'");
        }
    }
    for (const MirrorConfig& mirror : draft.config.mirrors) {
        for (const VirtualAddress& address : mirror.virtual_ips) {
            check(address.is_v6, address.ip, "a virtual address of mirror '" + mirror.name + "'");
        }
    }
}

void check_failover(ConfigDraft& draft) {
    const FailoverConfig& failover = draft.config.failover;
    if (failover.io_timeout.ns != 0 && failover.io_timeout < failover.detect) {
        draft.error_at("failover.io-timeout",
                       "'io-timeout' (" + format_duration(failover.io_timeout) +
                           ") has to be at least 'detect' (" + format_duration(failover.detect) +
                           "), or 0s: off");
    }
    if (failover.detect >= failover.heartbeat * 3) return;
    const bool has_detect = draft.places.contains("failover.detect");
    draft.error_at(has_detect ? "failover.detect" : "failover.heartbeat",
                   "'detect' (" + format_duration(failover.detect) +
                       ") has to be at least three times 'heartbeat' (" +
                       format_duration(failover.heartbeat) + ")");
}

void check_mirror_nodes(ConfigDraft& draft, const MirrorConfig& mirror) {
    const std::string path = "mirror." + mirror.name + ".nodes";
    if (mirror.nodes[0].empty()) return;
    std::vector<std::string_view> known;
    for (const NodeConfig& node : draft.config.nodes) known.emplace_back(node.name);
    for (std::size_t i = 0; i < 2; ++i) {
        if (draft.config.find_node(mirror.nodes[i]) != nullptr) continue;
        draft.error_at(path + "." + std::to_string(i),
                       "there is no [node." + mirror.nodes[i] + "], the node that mirror '" +
                           mirror.name + "' names" + suggestion(mirror.nodes[i], known));
    }
    if (mirror.nodes[0] == mirror.nodes[1]) {
        draft.error_at(path + ".1", "mirror '" + mirror.name + "' names the node '" +
                                        mirror.nodes[1] + "' twice");
    }
}

// What is wrong with the form of a directory's path; empty when nothing is.
std::string path_mistake(const std::string& path) {
    if (!path.starts_with('/')) return "is not an absolute path";
    if (path == "/") return "cannot be mirrored";
    if (path.find('\n') != std::string::npos) return "contains a line break";
    std::size_t begin = 1;
    while (begin <= path.size()) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        const std::string_view part(path.data() + begin, end - begin);
        if (part == "." || part == "..") return "has a '" + std::string(part) + "' in it";
        if (part.empty() && end != path.size()) return "has a '//' in it";
        begin = end + 1;
    }
    return {};
}

bool is_inside(std::string_view inner, std::string_view outer) {
    return inner.size() > outer.size() && inner.starts_with(outer) &&
           (outer == "/" || inner[outer.size()] == '/');
}

std::string without_slash(std::string path) {
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    return path;
}

struct SeenDirectory {
    const MirrorConfig* mirror;
    std::string_view path;
};

// The two cannot both be: returns why, or empty.
std::string overlap(const SeenDirectory& a, const SeenDirectory& b) {
    const bool share_node =
        a.mirror->has_node(b.mirror->nodes[0]) || a.mirror->has_node(b.mirror->nodes[1]);
    if (!share_node) return {};
    const std::string of = a.mirror == b.mirror ? "" : " of mirror '" + b.mirror->name + "'";
    if (a.path == b.path) {
        return a.mirror == b.mirror ? "is named twice" : "is a directory" + of + " already";
    }
    if (is_inside(a.path, b.path)) return "lies inside '" + std::string(b.path) + "'" + of;
    if (is_inside(b.path, a.path)) return "contains '" + std::string(b.path) + "'" + of;
    return {};
}

void check_against_daemon(ConfigDraft& draft, const std::string& place, const std::string& path,
                          const ConfigContext& context) {
    const std::pair<const char*, std::string> own[] = {
        {"the state directory", without_slash(context.state_directory)},
        {"the run directory", without_slash(context.run_directory)}};
    for (const auto& [what, directory] : own) {
        if (directory.empty()) continue;
        if (path == directory || is_inside(directory, path)) {
            draft.error_at(place, "'" + path + "' contains " + what + " '" + directory + "'");
        } else if (is_inside(path, directory)) {
            draft.error_at(place, "'" + path + "' lies inside " + what + " '" + directory + "'");
        }
    }
    if (is_inside(draft.config.key_file, path)) {
        draft.error_at(place,
                       "'" + path + "' contains the cluster key '" + draft.config.key_file + "'");
    }
}

void check_directories(ConfigDraft& draft, const ConfigContext& context) {
    for (MirrorConfig& mirror : draft.config.mirrors) {
        for (std::string& path : mirror.directories) path = without_slash(path);
    }
    std::vector<SeenDirectory> seen;
    for (const MirrorConfig& mirror : draft.config.mirrors) {
        for (std::size_t i = 0; i < mirror.directories.size(); ++i) {
            const std::string& path = mirror.directories[i];
            const std::string place = "mirror." + mirror.name + ".directories." + std::to_string(i);
            if (const std::string mistake = path_mistake(path); !mistake.empty()) {
                draft.error_at(place, "'" + path + "' " + mistake);
                continue;
            }
            check_against_daemon(draft, place, path, context);
            const SeenDirectory directory{&mirror, path};
            for (const SeenDirectory& other : seen) {
                const std::string why = overlap(directory, other);
                if (why.empty()) continue;
                draft.error_at(place, "'" + path + "' " + why);
                break;
            }
            seen.push_back(directory);
        }
    }
}

struct SeenBacking {
    const MirrorConfig* mirror;
    const BlockConfig* block;
};

// Empty, or why the backing can't be one beside what else is mirrored.
std::string backing_overlap(const ConfigDraft& draft, const SeenBacking& backing,
                            const std::vector<SeenBacking>& seen) {
    const MirrorConfig& own = *backing.mirror;
    const auto shares_node = [&](const MirrorConfig& other) {
        return own.has_node(other.nodes[0]) || own.has_node(other.nodes[1]);
    };
    for (const MirrorConfig& mirror : draft.config.mirrors) {
        if (!shares_node(mirror)) continue;
        for (const std::string& directory : mirror.directories) {
            if (backing.block->backing != directory &&
                !is_inside(backing.block->backing, directory)) {
                continue;
            }
            return "lies inside '" + directory + "', a directory of mirror '" + mirror.name + "'";
        }
    }
    for (const SeenBacking& other : seen) {
        if (!shares_node(*other.mirror)) continue;
        if (backing.block->backing == other.block->backing) {
            return "is the backing of '" + other.block->name + "' of mirror '" +
                   other.mirror->name + "' already";
        }
    }
    return {};
}

void check_blocks(ConfigDraft& draft, const ConfigContext& context) {
    std::vector<SeenBacking> seen;
    for (const MirrorConfig& mirror : draft.config.mirrors) {
        std::set<std::string_view> names;
        for (std::size_t i = 0; i < mirror.blocks.size(); ++i) {
            const BlockConfig& block = mirror.blocks[i];
            const std::string place = "mirror." + mirror.name + ".block." + std::to_string(i);
            if (!block.name.empty() && !names.insert(block.name).second) {
                draft.error_at(place, "mirror '" + mirror.name + "' has two block volumes '" +
                                          block.name + "'");
            }
            if (block.backing.empty()) continue;  // reported
            std::string mistake = path_mistake(block.backing);
            if (mistake.empty() && block.backing.ends_with('/')) mistake = "names a directory";
            const SeenBacking backing{&mirror, &block};
            if (mistake.empty()) mistake = backing_overlap(draft, backing, seen);
            seen.push_back(backing);
            if (mistake.empty()) {
                check_against_daemon(draft, place, block.backing, context);
            } else {
                draft.error_at(place, "'" + block.backing + "' " + mistake);
            }
        }
    }
}

void check_addresses(ConfigDraft& draft) {
    std::map<std::array<std::uint8_t, 16>, std::string> owners;
    for (const NodeConfig& node : draft.config.nodes) {
        for (const SocketAddress& link : node.links) {
            owners.emplace(link.ip, "an address of node '" + node.name + "'");
        }
    }
    for (const MirrorConfig& mirror : draft.config.mirrors) {
        for (std::size_t i = 0; i < mirror.virtual_ips.size(); ++i) {
            const VirtualAddress& address = mirror.virtual_ips[i];
            const auto [found, is_new] =
                owners.emplace(address.ip, "a virtual address of mirror '" + mirror.name + "'");
            if (is_new) continue;
            draft.error_at("mirror." + mirror.name + ".virtual-ip.parsed." + std::to_string(i),
                           "'" + address.to_string() + "' is " + found->second + " already");
        }
    }
}

// Each mirror has its own server.
void check_listeners(ConfigDraft& draft) {
    std::map<SocketAddress, std::string> owners;
    for (const NodeConfig& node : draft.config.nodes) {
        for (const SocketAddress& link : node.links) {
            owners.emplace(link, "a link of node '" + node.name + "'");
        }
    }
    for (const MirrorConfig& mirror : draft.config.mirrors) {
        if (!mirror.listen) continue;
        const auto [found, is_new] =
            owners.emplace(*mirror.listen, "where mirror '" + mirror.name + "' listens");
        if (is_new) continue;
        draft.error_at("mirror." + mirror.name + ".listen",
                       "'" + mirror.listen->to_string() + "' is " + found->second + " already");
    }
}

void check_key_file(ConfigDraft& draft) {
    const std::string& path = draft.config.key_file;
    if (!path.starts_with('/') || access(path.c_str(), F_OK) == 0) return;
    const int error = errno;
    std::string sentence = "the cluster key '" + path + "' cannot be read: " + std::strerror(error);
    if (error == ENOENT) {
        sentence = "there is no cluster key '" + path + "'; `gemel keygen " + path + "` makes one";
    }
    draft.error_at("cluster.key", std::move(sentence));
}

void check_etcd_files(ConfigDraft& draft) {
    const ArbiterConfig& arbiter = draft.config.arbiter;
    const std::pair<const char*, const std::string*> files[] = {
        {"ca", &arbiter.ca},
        {"certificate", &arbiter.certificate},
        {"private-key", &arbiter.private_key}};
    for (const auto& [key, path] : files) {
        if (!path->starts_with('/') || access(path->c_str(), R_OK) == 0) continue;
        const int error = errno;
        draft.error_at(std::string("arbiter.") + key,
                       "'" + *path + "' cannot be read: " + std::strerror(error));
    }
}

}  // namespace

void check_config(ConfigDraft& draft, const ConfigContext& context) {
    check_nodes(draft);
    check_targets(draft);
    check_failover(draft);
    for (const MirrorConfig& mirror : draft.config.mirrors) check_mirror_nodes(draft, mirror);
    check_directories(draft, context);
    check_blocks(draft, context);
    check_addresses(draft);
    check_listeners(draft);
    if (context.check_files) {
        check_key_file(draft);
        check_etcd_files(draft);
    }
}

}  // namespace gemel
