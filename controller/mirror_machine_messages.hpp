// SPDX-License-Identifier: Apache-2.0
// What two nodes' mirror machines say to each other, in frames mirror_state (MirrorHello: a node's
// facts, sent at the start of a session and after every change) and control (ControlMessage: one
// step of an agreement). docs/wire.md names the fields.
//
// A hello is evidence, never authority: whoever serves is decided at the register alone.
#pragma once

#include "controller/register_value.hpp"
#include "controller/status_model.hpp"
#include "engine/base/bytes.hpp"
#include "engine/store/superblock.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

inline constexpr std::size_t kConfigListingSizeMax = 32 * kKiB;
inline constexpr std::size_t kSentenceSizeMax = 1024;

struct MirrorHello {
    MirrorState state = MirrorState::stopped;
    bool is_serving = false;         // applications may be writing through this node's mount
    bool is_failed = false;          // its copy had an error; no source, no target until it rejoins
    bool is_consistent = true;       // not left half-filled by a resync
    bool is_empty = false;           // its directories hold nothing
    bool must_compare = false;       // released, restored or suspect: compare everything
    bool accepts_overwrite = false;  // a person said `resync --full` here: a diverged copy may go
    bool is_unrecorded = false;      // serves by promote --force, unknown to the register
    bool gives_way = false;          // its disk hangs: proposes nothing, for a while
    std::uint64_t epoch = 0;         // highest this node acted on, durable
    RegisterValue known;             // the newest register value it has seen
    Incarnation incarnation;         // number is none: in no set
    std::vector<Uuid> histories;     // newest first; empty: never held this mirror's content
    ByteBuffer config;               // canonical listing of the mirror's configuration

    [[nodiscard]] bool is_virgin() const noexcept { return histories.empty(); }
};

enum class ControlKind : std::uint8_t {
    follow = 1,          // source: become my target (value, histories, flag: compare everything)
    following = 2,       // target: ready for your frames
    complete = 3,        // source: everything has been sent and acknowledged
    ready = 4,           // target: all of it is on my disk; add me with `incarnation`
    joined = 5,          // source: the register says so (value)
    decline = 6,         // either: not now, and why (text)
    leave = 7,           // secondary: take me out of the set
    swap_request = 8,    // secondary: a person asks to exchange the roles
    register_read = 20,  // arbiter none: between the two nodes' own registers
    register_value = 21,
    register_propose = 22,
    register_answer = 23,
};

struct ControlMessage {
    ControlKind kind = ControlKind::decline;
    bool flag = false;
    RegisterValue value;
    Incarnation incarnation;
    std::vector<Uuid> histories;
    std::string text;
    RegisterProposal proposal;  // register_propose only
    std::uint64_t number = 0;   // pairs an answer with its question
};

[[nodiscard]] ByteBuffer encode(const MirrorHello& hello);
[[nodiscard]] ByteBuffer encode(const ControlMessage& message);
// corrupt: not something that encode() makes.
[[nodiscard]] Result<MirrorHello> decode_mirror_hello(Bytes payload);
[[nodiscard]] Result<ControlMessage> decode_control(Bytes payload);

}  // namespace gemel
