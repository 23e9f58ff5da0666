// SPDX-License-Identifier: Apache-2.0
// The part of the configuration that two nodes compare when they meet.
#include "controller/config.hpp"
#include "controller/duration.hpp"
#include "engine/base/assert.hpp"
#include "netdev/pinger.hpp"

#include <algorithm>

namespace gemel {
namespace {

// Bounds of what a peer may send.
constexpr std::size_t kEntriesMax = 10'000;
constexpr std::size_t kTextSizeMax = 64 * 1024;

std::string join(const std::vector<std::string>& items) {
    std::string text = "[";
    for (const std::string& item : items) {
        if (text.size() > 1) text += ", ";
        text += '"';
        for (const char c : item) {
            if (c == '"' || c == '\\') text += '\\';
            text += c;
        }
        text += '"';
    }
    return text + "]";
}

template <typename T>
std::vector<std::string> texts_of(const std::vector<T>& items) {
    std::vector<std::string> texts;
    for (const T& item : items) texts.push_back(item.to_string());
    return texts;
}

std::string shown(const std::string* value) { return value == nullptr ? "not set" : *value; }

}  // namespace

ConfigListing config_listing(const Config& config, const MirrorConfig& mirror) {
    const std::string own = "mirror." + mirror.name + ".";
    ConfigListing listing{
        {"cluster.name", config.cluster},
        {"failover.heartbeat", format_duration(config.failover.heartbeat)},
        {"failover.detect", format_duration(config.failover.detect)},
        {"failover.io-timeout", format_duration(config.failover.io_timeout)},
        {"failover.slow-peer", format_duration(config.failover.slow_peer)},
        {"failover.slow-for", format_duration(config.failover.slow_for)},
        {"arbiter.kind", std::string(arbiter_kind_name(config.arbiter.kind))},
        {own + "nodes", join({mirror.nodes[0], mirror.nodes[1]})},
        {own + "directories", join(mirror.directories)},
        {own + "exclude", join(mirror.exclude)},
        {own + "sync", std::string(sync_mode_name(mirror.sync))},
        {own + "sync-interval", format_duration(mirror.sync_interval)},
        {own + "virtual-ip", join(texts_of(mirror.virtual_ips))},
        {own + "start", mirror.start},
        {own + "stop", mirror.stop},
        {own + "start-timeout", format_duration(mirror.start_timeout)},
        {own + "stop-timeout", format_duration(mirror.stop_timeout)},
    };
    if (config.arbiter.kind == ArbiterKind::witness) {
        listing.emplace_back("arbiter.address", config.arbiter.address.to_string());
    } else if (config.arbiter.kind == ArbiterKind::etcd) {
        // In whatever order: each node begins with the one that answered it last.
        std::vector<SocketAddress> members = config.arbiter.members;
        std::sort(members.begin(), members.end());
        listing.emplace_back("arbiter.address", join(texts_of(members)));
    } else if (config.arbiter.kind == ArbiterKind::ping) {
        std::vector<std::string> targets;
        for (const SocketAddress& target : config.arbiter.targets) {
            targets.push_back(ip_text(target));
        }
        std::sort(targets.begin(), targets.end());
        listing.emplace_back("arbiter.address", join(targets));
    }
    // Their order is what tells volumes apart between the nodes.
    std::vector<std::string> blocks;
    for (const BlockConfig& block : mirror.blocks) {
        blocks.push_back(block.name);
        const std::string of = own + "block." + block.name;
        listing.emplace_back(of + ".backing", block.backing);
        listing.emplace_back(of + ".size", std::to_string(block.size));
    }
    if (!blocks.empty()) listing.emplace_back(own + "block", join(blocks));
    if (mirror.listen) listing.emplace_back(own + "listen", mirror.listen->to_string());
    for (const std::string& name : mirror.nodes) {
        const NodeConfig* node = config.find_node(name);
        GEMEL_ASSERT(node != nullptr);
        listing.emplace_back("node." + name + ".links", join(texts_of(node->links)));
    }
    std::sort(listing.begin(), listing.end());
    return listing;
}

Digest128 config_digest(const ConfigListing& listing) { return digest128(encode_listing(listing)); }

ByteBuffer encode_listing(const ConfigListing& listing) {
    ByteBuffer buffer;
    ByteWriter writer(buffer);
    writer.put(static_cast<std::uint32_t>(listing.size()));
    for (const auto& [key, value] : listing) {
        writer.sized(key);
        writer.sized(value);
    }
    return buffer;
}

std::optional<ConfigListing> decode_listing(Bytes data) {
    ByteReader reader(data);
    const auto count = reader.get<std::uint32_t>();
    if (count > kEntriesMax) return std::nullopt;
    ConfigListing listing;
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        std::string key(as_text(reader.sized(kTextSizeMax)));
        std::string value(as_text(reader.sized(kTextSizeMax)));
        listing.emplace_back(std::move(key), std::move(value));
    }
    if (!reader.at_end() || !std::is_sorted(listing.begin(), listing.end())) return std::nullopt;
    return listing;
}

std::string describe_difference(const ConfigListing& ours, std::string_view our_node,
                                const ConfigListing& theirs, std::string_view their_node) {
    auto a = ours.begin();
    auto b = theirs.begin();
    while (a != ours.end() && b != theirs.end() && *a == *b) {
        ++a;
        ++b;
    }
    if (a == ours.end() && b == theirs.end()) return {};
    const bool has_a = a != ours.end() && (b == theirs.end() || a->first <= b->first);
    const bool has_b = b != theirs.end() && (a == ours.end() || b->first <= a->first);
    const std::string& path = has_a ? a->first : b->first;
    const std::size_t dot = path.rfind('.');
    std::string text = "'" + path.substr(dot + 1) + "'";
    if (dot != std::string::npos) text += " in [" + path.substr(0, dot) + "]";
    text += " is " + shown(has_a ? &a->second : nullptr) + " on " + std::string(our_node);
    return text + " and " + shown(has_b ? &b->second : nullptr) + " on " + std::string(their_node);
}

}  // namespace gemel
