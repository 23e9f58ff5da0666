// SPDX-License-Identifier: Apache-2.0
// What a node says of its mirrors, as plain values: the daemon fills them, status_json.hpp carries
// them over the control socket, status_text.hpp shows them to a person. The names of the JSON keys
// are a contract with users; keys may be added, never renamed.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

// States of a mirror on a node; the words are those of every text, log and JSON.
enum class MirrorState : std::uint8_t {
    stopped,    // not taking part
    wait,       // wants to run but may not: not known to be current, or no vote can be had
    alone,      // serves; the peer does not hold the newest data; what it misses is recorded
    primary,    // serves; every acknowledged write is on the peer too
    secondary,  // receives every write; ready to take over
    resync,     // is being brought up to date; may not take over
};
inline constexpr MirrorState kMirrorStates[] = {
    MirrorState::stopped, MirrorState::wait,      MirrorState::alone,
    MirrorState::primary, MirrorState::secondary, MirrorState::resync,
};

std::string_view mirror_state_name(MirrorState state) noexcept;
std::optional<MirrorState> parse_mirror_state(std::string_view name) noexcept;

struct LinkStatus {
    std::string address;  // the peer's, as configured
    bool up = false;
    std::optional<std::uint64_t> rtt_us;  // unknown while nothing has been answered
};

struct PeerStatus {
    std::string node;
    std::optional<MirrorState> state;  // last heard of; unknown before the first word
    bool connected = false;            // a session is established
    std::vector<LinkStatus> links;
    std::string trouble = {};  // why there is no session, as was seen last; may be empty
};

// A resync under way, in the same figures on both nodes. `total_bytes` may grow: the application
// goes on writing.
struct ResyncStatus {
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;
    std::uint64_t rate_bytes_per_s = 0;
    std::optional<std::uint64_t> eta_s;  // unknown while nothing moves
};

struct VolumeStatus {
    std::string kind = "directory";  // "directory" or "block"
    std::string name;
    std::string path;
    std::string sync = "write";     // "write", "fsync" or "async"
    std::uint64_t dirty_bytes = 0;  // what the peer lacks, as far as this node knows
    std::uint64_t dirty_objects = 0;
    std::optional<ResyncStatus> resync;
    std::uint64_t size_bytes = 0;  // of a block volume
};

struct ApplicationStatus {
    std::string state = "none";  // application_state_name(); "none": no command configured
    WallTime since;
};

struct VirtualIpStatus {
    std::string address;  // as configured, "10.0.0.50/24"
    bool held = false;    // by this node
};

struct MirrorStatus {
    std::string name;
    MirrorState state = MirrorState::stopped;
    WallTime since;      // when it entered `state`
    std::string reason;  // why it is in `state`: a sentence for people, may be empty
    std::uint64_t epoch = 0;
    std::vector<std::string> in_sync;  // nodes that hold every acknowledged write
    PeerStatus peer;
    std::vector<VolumeStatus> volumes;
    std::vector<std::string> exclude = {};  // patterns of names that each node keeps for itself
    // By what changes made without the mirror are seen, or why not; empty: not looked for.
    std::string tracking = {};
    ApplicationStatus application;
    std::vector<VirtualIpStatus> virtual_ip;
};

struct NodeStatus {
    std::string cluster;
    std::string node;
    std::string version;
    std::vector<MirrorStatus> mirrors;  // in the order of the configuration
};

}  // namespace gemel
