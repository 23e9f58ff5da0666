// SPDX-License-Identifier: Apache-2.0
// The handshake of a connection between two nodes, as a state machine without I/O (docs/wire.md).
// Each side sends a challenge of 32 random bytes, then says who it is with an HMAC-SHA-256 that
// proves that it knows the cluster's key. The accepting side says nothing of itself before the
// other has proved that, so a stranger learns no more than the protocol versions and that it is
// refused. An accepting side may know several clusters: the other names its own, and has to prove
// that one's key.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/mirror/peer_link.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

// What a connection is for; the connecting side says it, the accepting side agrees or refuses
// later.
enum class SessionPurpose : std::uint8_t {
    mirror = 1,   // replication of the named mirror between its two nodes
    witness = 2,  // a node that asks the witness for registers
};

// The protocol versions that this program speaks.
// 2: checks of a resync cover a MiB by the digests of its blocks; verify.
inline constexpr std::uint16_t kProtocolVersionMin = 2;
inline constexpr std::uint16_t kProtocolVersionMax = 2;

struct SessionIdentity {
    std::string cluster, node;  // at most 255 bytes each
    // Secret of the cluster, at least 16 bytes.
    ByteBuffer key;
    std::uint16_t version_min = kProtocolVersionMin, version_max = kProtocolVersionMax;
};

// Who is at the other end: proved to know the key, so it belongs to the cluster; that it is the
// node it calls itself is its word.
struct PeerHello {
    std::string cluster, node, mirror;
    SessionPurpose purpose = SessionPurpose::mirror;
    std::uint16_t version = 0;  // agreed on
};

class Handshake {
   public:
    using Nonce = std::array<std::byte, 32>;
    enum class State : std::uint8_t { going_on, done, failed };

    struct Reply {
        FrameType type = FrameType::hello;
        ByteBuffer payload;
    };
    struct Step {
        State state = State::going_on;
        std::vector<Reply> replies;  // to send, also when the handshake has failed
    };

    // The nonce must be unpredictable and used once. Requires: `identity` outlives it; so do
    // `identities`: at least one, no two of one cluster, all with the same versions.
    static Handshake connect(const SessionIdentity& identity, SessionPurpose purpose,
                             std::string_view mirror, const Nonce& nonce) noexcept;
    static Handshake accept(std::span<const SessionIdentity> identities,
                            const Nonce& nonce) noexcept;

    // First frames of this side: both may start at once.
    Step start() noexcept;
    // A frame has come. Requires: start() was called and the state is going_on.
    Step on_frame(FrameType type, Bytes payload) noexcept;

    // Failed: a sentence for the log. Of what a stranger chose it has at most a plain name.
    [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
    // The other side proved nothing before it failed: no reason to tell people about each one.
    [[nodiscard]] bool is_stranger() const noexcept { return is_stranger_; }
    // Done: the other side, and the tag of the session's frames.
    [[nodiscard]] const PeerHello& peer() const noexcept { return peer_; }
    [[nodiscard]] std::uint64_t session_tag() const noexcept { return session_tag_; }

   private:
    enum class Role : std::uint8_t { connector, acceptor };
    enum class Waiting : std::uint8_t { hello, proof, nothing };
    enum class Refusal : std::uint8_t { versions = 1, key_or_cluster = 2, itself = 3 };
    using Mac = std::array<std::byte, 32>;

    Handshake(std::span<const SessionIdentity> identities, Role role, const Nonce& nonce) noexcept
        : identities_(identities), identity_(&identities.front()), role_(role), nonce_(nonce) {}

    Step on_hello(Bytes payload) noexcept;
    Step on_proof(Bytes payload) noexcept;
    Step on_refuse(Bytes payload) noexcept;
    Step fail(std::string sentence) noexcept;
    Step refuse_cluster() noexcept;
    // None: not known here.
    [[nodiscard]] const SessionIdentity* find_identity(std::string_view cluster) const noexcept;
    [[nodiscard]] std::string versions_sentence(std::uint16_t low, std::uint16_t high) const;
    Step refuse(Refusal reason, std::string sentence) noexcept;
    Reply own_proof() const noexcept;
    // HMAC over the label, both hellos and `facts`.
    Mac mac_of(std::string_view label, Bytes facts) const noexcept;

    std::span<const SessionIdentity> identities_;
    const SessionIdentity* identity_;  // the acceptor's is settled by the other side's proof
    Role role_;
    Nonce nonce_;
    Waiting waiting_ = Waiting::hello;
    bool is_stranger_ = true;
    ByteBuffer own_hello_, peer_hello_;
    PeerHello peer_;
    SessionPurpose purpose_ = SessionPurpose::mirror;
    std::string mirror_;
    std::uint64_t session_tag_ = 0;
    std::string failure_;
};

}  // namespace gemel
