// SPDX-License-Identifier: Apache-2.0
// gemel.toml, the same file on every node, as plain values. Loading reports every mistake of the
// file at once, each as `file:line:column: sentence`, and touches nothing.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/base/units.hpp"
#include "engine/io/network.hpp"
#include "netdev/virtual_ip.hpp"
#include "resync/pacer.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel {

enum class SyncMode : std::uint8_t { write, fsync, async };
std::string_view sync_mode_name(SyncMode mode) noexcept;

enum class ArbiterKind : std::uint8_t { none, witness, etcd, ping };
std::string_view arbiter_kind_name(ArbiterKind kind) noexcept;

// What becomes of changes that somebody makes behind a mirror's mount.
enum class ForeignWrites : std::uint8_t {
    off,     // they are not looked for
    ship,    // on the serving node they go to the other one, there they are undone
    warn,    // they are told of and left alone
    refuse,  // this node stops taking part
};

struct NodeConfig {
    std::string name;
    std::vector<SocketAddress> links;  // at least one; the first carries the data
};

struct FailoverConfig {
    Duration heartbeat = Duration::milliseconds(100);
    Duration detect = Duration::seconds(1);  // at least three heartbeats
    // ProgressWatch::Options (progress_watch.hpp); 0 is off.
    Duration io_timeout = Duration::seconds(30);
    Duration slow_peer;
    Duration slow_for = Duration::seconds(30);
};

struct ArbiterConfig {
    ArbiterKind kind = ArbiterKind::none;
    SocketAddress address;               // of a witness
    std::vector<SocketAddress> members;  // of etcd
    std::vector<SocketAddress> targets;  // of pings; without ports
    // Of etcd, PEM files of this node; empty: plain HTTP, or no certificate of this node's own.
    std::string ca, certificate, private_key;
};

struct BlockConfig {
    std::string name;        // as a mirror's; unique in the mirror
    std::string backing;     // absolute, normalized; a file or a block device
    std::uint64_t size = 0;  // bytes, a multiple of 512
};

struct MirrorConfig {
    std::string name;                      // letters, digits, '.', '_', '-'; at most 63
    std::array<std::string, 2> nodes;      // the first is preferred at the very first start
    std::vector<std::string> directories;  // absolute, normalized, neither equal nor nested
    std::vector<BlockConfig> blocks;       // a mirror has at least one of either
    std::optional<SocketAddress> listen;   // of NBD over TCP; may be every address of a node
    std::vector<std::string> exclude;      // globs; kept per node, not replicated
    SyncMode sync = SyncMode::write;
    Duration sync_interval = Duration::seconds(1);
    std::vector<VirtualAddress> virtual_ips;
    std::string start;  // empty: none
    std::string stop;
    Duration start_timeout = Duration::seconds(60);
    Duration stop_timeout = Duration::seconds(60);
    ForeignWrites foreign_writes = ForeignWrites::off;
    Duration verify_period;       // how often the copies are compared; 0: when a person asks for it
    ResyncRateRange resync_rate;  // each node's own: the nodes need not agree

    [[nodiscard]] bool has_node(std::string_view node) const noexcept {
        return nodes[0] == node || nodes[1] == node;
    }
    // Requires: has_node(node).
    [[nodiscard]] const std::string& peer_of(std::string_view node) const noexcept {
        return nodes[0] == node ? nodes[1] : nodes[0];
    }
};

struct Config {
    std::string cluster;
    std::string key_file;
    std::vector<NodeConfig> nodes;  // in the order of the file, as are the mirrors
    FailoverConfig failover;
    ArbiterConfig arbiter;
    std::vector<MirrorConfig> mirrors;

    // Null when there is none of that name.
    [[nodiscard]] const NodeConfig* find_node(std::string_view name) const noexcept;
    [[nodiscard]] const MirrorConfig* find_mirror(std::string_view name) const noexcept;
};

// One mistake. Line and column count from 1; both are 0 when it has no place in the file.
struct ConfigError {
    std::string file;
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::string sentence;

    [[nodiscard]] std::string to_string() const;  // "gemel.toml:17:9: unknown key ..."
};

struct ConfigContext {
    // Directories of the daemon that no mirrored directory may contain or lie in; empty: unknown.
    std::string state_directory;
    std::string run_directory;
    // Look whether the files that it names exist: the cluster key, what TLS needs.
    bool check_files = true;
};

struct ConfigResult {
    std::optional<Config> config;     // present exactly when there are no errors
    std::vector<ConfigError> errors;  // in the order of the file
};

// `file` is the name used in the errors.
ConfigResult parse_config(std::string_view text, const std::string& file,
                          const ConfigContext& context);
ConfigResult load_config(const std::string& path, const ConfigContext& context);

// What two nodes must describe alike for a mirror to be replicated: its own keys, and the cluster's
// that it depends on. Sorted by key; values in one canonical form, so that "1s" equals "1000ms".
using ConfigListing = std::vector<std::pair<std::string, std::string>>;
// Requires: `mirror` is one of `config`.
ConfigListing config_listing(const Config& config, const MirrorConfig& mirror);
Digest128 config_digest(const ConfigListing& listing);
// For the wire. Decoding gives none for anything that encoding did not make.
ByteBuffer encode_listing(const ConfigListing& listing);
std::optional<ConfigListing> decode_listing(Bytes data);
// Names the first key that differs with both values; empty when none does:
// "'sync-interval' in [mirror.db] is 1s on alpha and 2s on beta".
std::string describe_difference(const ConfigListing& ours, std::string_view our_node,
                                const ConfigListing& theirs, std::string_view their_node);

}  // namespace gemel
