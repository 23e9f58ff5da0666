// SPDX-License-Identifier: Apache-2.0
// The sections of gemel.toml: which keys there are, their types and ranges.
#include "controller/config_reader.hpp"
#include "controller/config_suggest.hpp"
#include "controller/duration.hpp"
#include "controller/rate_range.hpp"
#include "engine/base/plain_name.hpp"
#include "engine/store/exclude_list.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace gemel {
namespace {

constexpr Duration kSecond = Duration::seconds(1);
constexpr Duration kHour = Duration::seconds(3600);

// Names become parts of paths, of URLs and of lines of text.
bool is_name(std::string_view name) {
    return is_plain_name(name, 63) && name.front() != '.' && name.front() != '-';
}

void check_name(ConfigDraft& draft, const std::string& name, ConfigPlace place,
                std::string_view what) {
    if (is_name(name)) return;
    draft.error(place, "'" + name + "' is no name for a " + std::string(what) +
                           ": at most 63 letters, digits, '.', '_' and '-', beginning with a "
                           "letter, a digit or '_'");
}

void read_cluster(const ConfigValue& table, ConfigDraft& draft) {
    ConfigReader reader(draft, table, "cluster", table.place);
    reader.require("name");
    reader.require("key");
    if (auto name = reader.text("name")) {
        check_name(draft, *name, draft.places["cluster.name"], "cluster");
        draft.config.cluster = std::move(*name);
    }
    if (auto key = reader.text("key")) {
        if (!key->starts_with('/')) {
            reader.error("key", reader.name("key") + " has to be an absolute path");
        }
        draft.config.key_file = std::move(*key);
    }
}

void read_node(const ConfigEntry& entry, ConfigDraft& draft) {
    check_name(draft, entry.key, entry.place, "node");
    const std::string path = "node." + entry.key;
    ConfigReader reader(draft, entry.value, path, entry.value.place);
    reader.require("links");
    NodeConfig node;
    node.name = entry.key;
    std::size_t index = 0;
    for (const std::string& text : reader.texts("links")) {
        const std::string place = path + ".links." + std::to_string(index++);
        if (auto address = parse_address(text)) {
            node.links.push_back(*address);
        } else {
            draft.error_at(place, "'" + text + "' is no numeric address with a port, like " +
                                      "\"10.0.0.1:7800\" or \"[fd00::1]:7800\"");
        }
    }
    if (index == 0 && reader.has("links")) {
        reader.error("links", reader.name("links") + " has to name at least one address");
    }
    draft.places[path] = entry.value.place;
    draft.config.nodes.push_back(std::move(node));
}

void read_failover(const ConfigValue& table, ConfigDraft& draft) {
    ConfigReader reader(draft, table, "failover", table.place);
    FailoverConfig& failover = draft.config.failover;
    if (const auto time = reader.time("heartbeat", Duration::milliseconds(10), kSecond * 10)) {
        failover.heartbeat = *time;
    }
    if (const auto time = reader.time("detect", Duration::milliseconds(50), kSecond * 60)) {
        failover.detect = *time;
    }
    if (const auto time = reader.time("io-timeout", Duration(), kSecond * 600)) {
        failover.io_timeout = *time;
    }
    if (const auto time = reader.time("slow-peer", Duration(), kSecond * 60)) {
        failover.slow_peer = *time;
    }
    if (const auto time = reader.time("slow-for", kSecond, kSecond * 3600)) {
        failover.slow_for = *time;
    }
}

// The files of etcd's TLS. One of them without the others it needs would silently mean less.
void read_etcd_files(ConfigReader& reader, ArbiterConfig& arbiter) {
    const std::array<std::pair<std::string_view, std::string*>, 3> files{
        {{"ca", &arbiter.ca},
         {"certificate", &arbiter.certificate},
         {"private-key", &arbiter.private_key}}};
    for (const auto& [key, path] : files) {
        *path = reader.text(key).value_or("");
        if (!reader.has(key)) continue;
        if (arbiter.kind != ArbiterKind::etcd) {
            reader.error(key, reader.name(key) + " is for an arbiter of kind 'etcd'");
        } else if (!path->empty() && !path->starts_with('/')) {
            reader.error(key, reader.name(key) + " has to be an absolute path");
        }
    }
    if (arbiter.kind != ArbiterKind::etcd) return;
    if (reader.has("certificate") || reader.has("private-key")) {
        for (const auto& [key, path] : files) reader.require(key);
    }
}

void read_arbiter(const ConfigValue& table, ConfigDraft& draft) {
    constexpr std::array<std::string_view, 4> kKinds{"none", "witness", "etcd", "ping"};
    constexpr std::size_t kAddressesMax = 9;  // each is given its share of two seconds
    ConfigReader reader(draft, table, "arbiter", table.place);
    ArbiterConfig& arbiter = draft.config.arbiter;
    reader.require("kind");
    if (const auto kind = reader.choice("kind", kKinds)) {
        arbiter.kind = static_cast<ArbiterKind>(*kind);
    }
    if (arbiter.kind != ArbiterKind::none) reader.require("address");
    switch (arbiter.kind) {
        case ArbiterKind::none:
        case ArbiterKind::witness:
            arbiter.address = reader.address("address").value_or(SocketAddress{});
            break;
        case ArbiterKind::etcd:
            arbiter.members = reader.addresses("address", ConfigReader::Port::needed);
            break;
        case ArbiterKind::ping:
            arbiter.targets = reader.addresses("address", ConfigReader::Port::none);
            break;
    }
    if (std::max(arbiter.members.size(), arbiter.targets.size()) > kAddressesMax) {
        reader.error("address", reader.name("address") + " names more than " +
                                    std::to_string(kAddressesMax) + " addresses");
    }
    read_etcd_files(reader, arbiter);
}

void read_block(const ConfigValue& table, const std::string& path, MirrorConfig& mirror,
                ConfigDraft& draft) {
    constexpr std::uint64_t kFileUnit = 4 * kKiB;
    constexpr std::uint64_t kDeviceUnit = 512;  // its block may be larger: seen at the start
    constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 50;
    ConfigReader reader(draft, table, path, table.place);
    for (const std::string_view key : {"name", "backing", "size"}) reader.require(key);
    BlockConfig block;
    if (const auto name = reader.text("name")) {
        check_name(draft, *name, table.place, "volume");
        block.name = *name;
    }
    block.backing = reader.text("backing").value_or("");
    if (const auto size = reader.size("size")) {
        block.size = *size;
        const bool is_device = block.backing.starts_with("/dev/");
        if (*size == 0 || *size % (is_device ? kDeviceUnit : kFileUnit) != 0 || *size > kSizeMax) {
            reader.error("size", reader.name("size") + " has to be a multiple of " +
                                     (is_device ? "512 bytes" : "4KiB") + ", and at most 1024TiB");
        }
    }
    // Where mistakes of several blocks are told apart: at their own tables.
    draft.places[path + "." + std::to_string(mirror.blocks.size())] = table.place;
    mirror.blocks.push_back(std::move(block));
}

void read_check(const ConfigValue& table, const std::string& path, ConfigDraft& draft) {
    constexpr std::array<std::string_view, 2> kActions{"restart", "failover"};
    ConfigReader reader(draft, table, path, table.place);
    reader.address("tcp");
    for (const std::string_view key : {"http", "process", "ping", "command", "interface"}) {
        reader.text(key);
    }
    reader.time("interval", Duration::milliseconds(100), kHour);
    reader.time("timeout", Duration::milliseconds(100), kHour);
    reader.choice("on-failure", kActions);
    std::size_t targets = 0;
    for (const std::string_view key : {"tcp", "http", "process", "ping", "command", "interface"}) {
        if (reader.has(key)) ++targets;
    }
    if (targets != 1) {
        draft.error(table.place, reader.title() + " has to have exactly one of 'tcp', 'http', " +
                                     "'process', 'ping', 'command' and 'interface'");
    }
    draft.error(table.place, "checks on the application are not served by this version");
}

void read_lists(ConfigReader& reader, const std::string& path, MirrorConfig& mirror,
                ConfigDraft& draft) {
    const std::vector<std::string> nodes = reader.texts("nodes");
    if (nodes.size() == 2) {
        mirror.nodes = {nodes[0], nodes[1]};
    } else if (reader.has("nodes")) {
        reader.error("nodes", reader.name("nodes") + " has to name exactly two nodes, not " +
                                  std::to_string(nodes.size()));
    }
    mirror.directories = reader.texts("directories");
    if (mirror.directories.empty() && reader.has("directories")) {
        reader.error("directories", reader.name("directories") + " is empty");
    }
    mirror.exclude = reader.texts("exclude");
    ExcludeList list;
    for (std::size_t i = 0; i < mirror.exclude.size(); ++i) {
        const std::string mistake = list.add(mirror.exclude[i]);
        if (mistake.empty()) continue;
        draft.error_at(path + ".exclude." + std::to_string(i),
                       "the pattern '" + mirror.exclude[i] + "' " + mistake);
    }
    std::size_t index = 0;
    for (const std::string& text : reader.texts("virtual-ip")) {
        const std::string place = path + ".virtual-ip." + std::to_string(index++);
        Result<VirtualAddress> address = VirtualAddress::parse(text);
        if (address.ok()) {
            draft.places[path + ".virtual-ip.parsed." + std::to_string(mirror.virtual_ips.size())] =
                draft.places[place];
            mirror.virtual_ips.push_back(std::move(address).value());
        } else {
            draft.error_at(place, "'" + text + "' is no address with a prefix length, like " +
                                      "\"10.0.0.50/24\", \"fd00::50/64\" or \"10.0.0.50/24@eth0\"");
        }
    }
}

void read_sync(ConfigReader& reader, MirrorConfig& mirror) {
    constexpr std::array<std::string_view, 3> kModes{"write", "fsync", "async"};
    if (const auto mode = reader.choice("sync", kModes)) {
        mirror.sync = static_cast<SyncMode>(*mode);
        if (mirror.sync == SyncMode::async) {
            reader.error("sync", "sync = \"async\" is not served by this version; use \"write\"");
        } else if (mirror.sync == SyncMode::fsync && reader.has("directories")) {
            reader.error("sync",
                         "sync = \"fsync\" is served for mirrors without directories only; use "
                         "\"write\", or make two mirrors of it");
        }
    }
    if (const auto time = reader.time("sync-interval", Duration::milliseconds(10), kSecond * 60)) {
        mirror.sync_interval = *time;
    }
}

void read_foreign_writes(ConfigReader& reader, MirrorConfig& mirror) {
    constexpr std::array<std::string_view, 4> kPolicies{"off", "ship", "warn", "refuse"};
    if (const auto policy = reader.choice("foreign-writes", kPolicies)) {
        mirror.foreign_writes = static_cast<ForeignWrites>(*policy);
    }
}

void read_verify(ConfigReader& reader, MirrorConfig& mirror) {
    const std::optional<std::string> text = reader.text("verify");
    if (!text) return;
    if (const std::optional<Duration> period = parse_period(*text)) {
        mirror.verify_period = *period;
        return;
    }
    constexpr std::array<std::string_view, 4> kWords{"daily", "weekly", "monthly", "off"};
    reader.error("verify", reader.name("verify") +
                               " has to be 'daily', 'weekly', 'monthly', 'off' or a time like "
                               "\"12h\" or \"3d\", not '" +
                               *text + "'" + suggestion(*text, kWords));
}

void read_resync_rate(ConfigReader& reader, MirrorConfig& mirror) {
    constexpr std::string_view kKey = "resync-rate";
    const std::optional<std::string> text = reader.text(kKey);
    if (!text) return;
    const std::string mistake = parse_rate_range(*text, mirror.resync_rate);
    if (!mistake.empty()) reader.error(kKey, reader.name(kKey) + ' ' + mistake);
}

void read_application(ConfigReader& reader, MirrorConfig& mirror) {
    mirror.start = reader.text("start").value_or("");
    mirror.stop = reader.text("stop").value_or("");
    const std::array<std::pair<std::string_view, Duration*>, 2> limits{
        {{"start-timeout", &mirror.start_timeout}, {"stop-timeout", &mirror.stop_timeout}}};
    for (const auto& [key, limit] : limits) {
        if (const auto time = reader.time(key, Duration::milliseconds(100), kHour)) *limit = *time;
    }
}

void read_listen(ConfigReader& reader, const std::string& path, MirrorConfig& mirror,
                 ConfigDraft& draft) {
    const std::optional<std::string> text = reader.text("listen");
    if (!text) return;
    // Not as a link's: who serves may do so on all its addresses.
    const Result<SocketAddress> address = SocketAddress::parse(*text);
    if (!address.ok() || address->port == 0) {
        reader.error("listen", reader.name("listen") +
                                   " has to be a numeric address with a port, like "
                                   "\"10.0.0.50:10809\" or \"[::]:10809\", not '" +
                                   *text + "'");
    } else if (!reader.has("block")) {
        draft.error_at(path + ".listen", reader.name("listen") +
                                             " is for block volumes, and mirror '" + mirror.name +
                                             "' has none");
    } else {
        mirror.listen = address.value();
    }
}

void read_mirror(const ConfigEntry& entry, ConfigDraft& draft) {
    check_name(draft, entry.key, entry.place, "mirror");
    const std::string path = "mirror." + entry.key;
    ConfigReader reader(draft, entry.value, path, entry.value.place);
    draft.places[path] = entry.value.place;
    MirrorConfig mirror;
    mirror.name = entry.key;
    reader.require("nodes");
    read_lists(reader, path, mirror, draft);
    read_sync(reader, mirror);
    read_application(reader, mirror);
    read_foreign_writes(reader, mirror);
    read_verify(reader, mirror);
    read_resync_rate(reader, mirror);
    read_listen(reader, path, mirror, draft);
    const ConfigValue* checks = reader.table_list("check");
    const ConfigValue* blocks = reader.table_list("block");
    if (!reader.has("block")) reader.require("directories");
    if (checks != nullptr) {
        for (const ConfigValue& check : checks->items) read_check(check, path + ".check", draft);
    }
    if (blocks != nullptr) {
        for (const ConfigValue& block : blocks->items) {
            read_block(block, path + ".block", mirror, draft);
        }
    }
    draft.config.mirrors.push_back(std::move(mirror));
}

using EntryReader = void (*)(const ConfigEntry&, ConfigDraft&);

// [node.NAME] and [mirror.NAME].
void read_named(ConfigReader& reader, std::string_view key, EntryReader read, ConfigDraft& draft) {
    const std::string expected =
        "a table with one table for each " + std::string(key) + ", [" + std::string(key) + ".NAME]";
    const ConfigValue* tables = reader.tables(key, expected);
    if (tables == nullptr) return;
    for (const ConfigEntry& entry : tables->entries) {
        if (entry.value.kind == ConfigValue::Kind::table) {
            read(entry, draft);
        } else {
            draft.error(entry.place, "'" + entry.key + "' in [" + std::string(key) +
                                         "] has to be a table, [" + std::string(key) + "." +
                                         entry.key + "]");
        }
    }
}

}  // namespace

void read_config(const ConfigValue& root, ConfigDraft& draft) {
    ConfigReader reader(draft, root, "", {});
    using SectionReader = void (*)(const ConfigValue&, ConfigDraft&);
    constexpr std::array<std::pair<std::string_view, SectionReader>, 3> kSections{
        {{"cluster", read_cluster}, {"failover", read_failover}, {"arbiter", read_arbiter}}};
    for (const auto& [key, read] : kSections) {
        if (const ConfigValue* table = reader.tables(key, "a table")) read(*table, draft);
    }
    read_named(reader, "node", read_node, draft);
    read_named(reader, "mirror", read_mirror, draft);
    if (!reader.has("cluster")) draft.error({}, "there is no [cluster]");
}

}  // namespace gemel
