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
#include <utility>
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

// The last consistent state of a copy that is being filled, or whose filling was interrupted.
struct BeforeResyncStatus {
    bool kept = false;    // `gemel promote --force --before-resync` goes back to it
    std::string why_not;  // may be empty
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

// How a verify ended.
enum class VerifyOutcome : std::uint8_t {
    equal,        // everything was compared, nothing differs
    differences,  // everything was compared
    mended,       // the same, and what differed has been mended
    stopped,      // by a person
    failed,       // the nodes did not stay in sync, or a copy could not be read
};
std::string_view verify_outcome_name(VerifyOutcome outcome) noexcept;
std::optional<VerifyOutcome> parse_verify_outcome(std::string_view name) noexcept;

struct VerifyResult {
    WallTime began, ended;
    VerifyOutcome outcome = VerifyOutcome::failed;
    std::string why;                          // stopped, failed: a sentence
    bool scheduled = false;                   // not started by a person
    std::uint64_t objects = 0, bytes = 0;     // compared
    std::uint64_t differing = 0, mended = 0;  // objects
};

struct VerifyRunning {
    WallTime began;
    bool mends = false;  // the comparison is through, what differs is being mended
    std::uint64_t done_bytes = 0, total_bytes = 0, rate_bytes_per_s = 0;
    std::optional<std::uint64_t> eta_s;  // unknown while nothing moves
    std::uint64_t objects = 0, differing = 0;
};

struct VerifyStatus {
    std::uint64_t run = 0;       // how many have begun since the daemon did
    std::uint64_t period_s = 0;  // of the schedule; 0: there is none
    std::optional<VerifyRunning> running;
    std::optional<VerifyResult> last;
};

// An object that is not the same on both nodes, and what differs of it.
struct VerifyFinding {
    struct Detail {
        std::string what, here, there;  // verify_report.hpp
    };
    using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // from, to (exclusive)
    std::string volume, path;
    std::vector<Detail> details;
    Ranges content, holes;
};

// How fast resyncs from this node may go.
struct ResyncPaceStatus {
    std::uint64_t min_bytes_per_s = 0;
    std::optional<std::uint64_t> max_bytes_per_s;  // none: no limit
    bool paused = false;
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
    ResyncPaceStatus resync_pace = {};
    std::optional<BeforeResyncStatus> before_resync = {};  // none: the copy is complete
    ApplicationStatus application;
    std::vector<VirtualIpStatus> virtual_ip;
    VerifyStatus verify = {};
};

struct NodeStatus {
    std::string cluster;
    std::string node;
    std::string version;
    std::vector<MirrorStatus> mirrors;  // in the order of the configuration
};

}  // namespace gemel
