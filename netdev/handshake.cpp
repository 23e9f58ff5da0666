// SPDX-License-Identifier: Apache-2.0
//   connector            acceptor
//   hello        ->
//                <-      hello
//   proof        ->                  the acceptor now knows who it is talking to
//                <-      proof       and so does the connector
// The label of a proof names the role, so neither side can be answered with its own proof; both
// hellos are in it, challenges included, so an earlier conversation is worth nothing. The
// connector's proof names its cluster, by which the acceptor finds the key to check it with.
#include "netdev/handshake.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/plain_name.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

namespace gemel {

namespace {

constexpr std::uint64_t kHelloMagic = 0x6C68'6C65'6D65'6731;  // names the hello's layout
constexpr std::size_t kNameSizeMax = 255;
constexpr std::size_t kKeySizeMin = 16;
constexpr std::string_view kAcceptorLabel = "gemel 1 acceptor";
constexpr std::string_view kConnectorLabel = "gemel 1 connector";
constexpr std::string_view kSessionLabel = "gemel 1 session";
constexpr std::string_view kSameCluster =
    "'name' and the file of 'key' in [cluster] have to be the same on all machines";

struct Hello {
    std::uint16_t version_min = 0, version_max = 0;
};

// Fields added by later versions may follow; the proofs cover them all the same.
bool parse_hello(Bytes payload, Hello& hello) noexcept {
    ByteReader reader(payload);
    if (reader.get<std::uint64_t>() != kHelloMagic) reader.fail();
    hello.version_min = reader.get<std::uint16_t>();
    hello.version_max = reader.get<std::uint16_t>();
    (void)reader.bytes(sizeof(Handshake::Nonce));
    return reader.ok() && hello.version_min <= hello.version_max;
}

ByteBuffer make_hello(const SessionIdentity& identity, const Handshake::Nonce& nonce) {
    ByteBuffer payload;
    ByteWriter writer(payload);
    writer.put(kHelloMagic);
    writer.put(identity.version_min);
    writer.put(identity.version_max);
    writer.bytes(nonce);
    return payload;
}

// Who the sender of a proof is and what it wants.
bool parse_facts(Bytes facts, PeerHello& peer) noexcept {
    ByteReader reader(facts);
    peer.purpose = reader.get<SessionPurpose>();
    peer.cluster = as_text(reader.sized(kNameSizeMax));
    peer.node = as_text(reader.sized(kNameSizeMax));
    peer.mirror = as_text(reader.sized(kNameSizeMax));
    return reader.ok() &&
           (peer.purpose == SessionPurpose::mirror || peer.purpose == SessionPurpose::witness);
}

std::string version_range(std::uint16_t low, std::uint16_t high) {
    std::string text = std::to_string(low);
    if (low != high) text += " to " + std::to_string(high);
    return text;
}

}  // namespace

Handshake Handshake::connect(const SessionIdentity& identity, SessionPurpose purpose,
                             std::string_view mirror, const Nonce& nonce) noexcept {
    Handshake handshake({&identity, 1}, Role::connector, nonce);
    handshake.purpose_ = purpose;
    handshake.mirror_ = mirror;
    return handshake;
}

Handshake Handshake::accept(std::span<const SessionIdentity> identities,
                            const Nonce& nonce) noexcept {
    GEMEL_ASSERT(!identities.empty());
    return {identities, Role::acceptor, nonce};
}

Handshake::Step Handshake::start() noexcept {
    for (const SessionIdentity& identity : identities_) {
        GEMEL_ASSERT(identity.key.size() >= kKeySizeMin);
        GEMEL_ASSERT(identity.cluster.size() <= kNameSizeMax);
        GEMEL_ASSERT(identity.node.size() <= kNameSizeMax);
    }
    GEMEL_ASSERT(mirror_.size() <= kNameSizeMax);
    own_hello_ = make_hello(*identity_, nonce_);
    Step step;
    if (role_ == Role::connector) step.replies.push_back({FrameType::hello, own_hello_});
    return step;
}

Handshake::Step Handshake::on_frame(FrameType type, Bytes payload) noexcept {
    GEMEL_ASSERT(waiting_ != Waiting::nothing);
    if (type == FrameType::refuse) return on_refuse(payload);
    if (type == FrameType::hello && waiting_ == Waiting::hello) return on_hello(payload);
    if (type == FrameType::proof && waiting_ == Waiting::proof) return on_proof(payload);
    return fail("the other side does not keep to the handshake");
}

Handshake::Step Handshake::on_hello(Bytes payload) noexcept {
    Hello hello;
    if (!parse_hello(payload, hello)) return fail("the other side's hello is malformed");
    peer_hello_.assign(payload.begin(), payload.end());
    peer_.version = std::min(hello.version_max, identity_->version_max);
    if (peer_.version < std::max(hello.version_min, identity_->version_min)) {
        return refuse(Refusal::versions, versions_sentence(hello.version_min, hello.version_max));
    }
    waiting_ = Waiting::proof;
    Step step;
    if (role_ == Role::acceptor) {
        step.replies.push_back({FrameType::hello, own_hello_});
    } else {
        step.replies.push_back(own_proof());
    }
    return step;
}

std::string Handshake::versions_sentence(std::uint16_t low, std::uint16_t high) const {
    return "no common protocol version: this side speaks " +
           version_range(identity_->version_min, identity_->version_max) + ", the other " +
           version_range(low, high) + "; bring the older gemel up to date";
}

Handshake::Step Handshake::on_proof(Bytes payload) noexcept {
    const bool is_connector = role_ == Role::connector;
    if (payload.size() < sizeof(Mac)) return fail("the other side's proof is malformed");
    const Bytes facts = payload.first(payload.size() - sizeof(Mac));
    if (!parse_facts(facts, peer_)) return fail("the other side's proof is malformed");
    identity_ = find_identity(peer_.cluster);
    if (identity_ == nullptr) return refuse_cluster();
    const Mac expected = mac_of(is_connector ? kAcceptorLabel : kConnectorLabel, facts);
    if (CRYPTO_memcmp(payload.data() + facts.size(), expected.data(), expected.size()) != 0) {
        return refuse(Refusal::key_or_cluster, "the other side has another key for cluster '" +
                                                   peer_.cluster + "'; " +
                                                   std::string(kSameCluster));
    }
    // From here on the other side is one that knows the key.
    is_stranger_ = false;
    if (peer_.node == identity_->node) {
        return refuse(Refusal::itself,
                      "the other side calls itself by this node's name; is gemeld started with the "
                      "wrong --node?");
    }
    Step step;
    if (!is_connector) {
        purpose_ = peer_.purpose;
        mirror_ = peer_.mirror;
        step.replies.push_back(own_proof());
    } else if (peer_.purpose != purpose_ || peer_.mirror != mirror_) {
        return fail("the other side answered about something else than it was asked");
    }
    const Mac tag = mac_of(kSessionLabel, {});
    std::memcpy(&session_tag_, tag.data(), sizeof session_tag_);
    waiting_ = Waiting::nothing;
    step.state = State::done;
    return step;
}

Handshake::Step Handshake::refuse_cluster() noexcept {
    identity_ = &identities_.front();
    // Nothing is proved: anybody may say this.
    std::string name = "a cluster of an impossible name";
    if (is_plain_name(peer_.cluster, kNameSizeMax)) name = "cluster '" + peer_.cluster + "'";
    return refuse(Refusal::key_or_cluster, "the other side says that it belongs to " + name +
                                               ", which is not known here; " +
                                               std::string(kSameCluster));
}

const SessionIdentity* Handshake::find_identity(std::string_view cluster) const noexcept {
    const auto found =
        std::find_if(identities_.begin(), identities_.end(),
                     [&](const SessionIdentity& known) { return known.cluster == cluster; });
    return found == identities_.end() ? nullptr : &*found;
}

Handshake::Mac Handshake::mac_of(std::string_view label, Bytes facts) const noexcept {
    const bool is_connector = role_ == Role::connector;
    ByteBuffer message;
    ByteWriter writer(message);
    writer.sized(label);
    writer.sized(is_connector ? own_hello_ : peer_hello_);
    writer.sized(is_connector ? peer_hello_ : own_hello_);
    writer.sized(facts);
    Mac mac{};
    std::size_t size = 0;
    const unsigned char* result =
        EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, identity_->key.data(),
                  identity_->key.size(), reinterpret_cast<const unsigned char*>(message.data()),
                  message.size(), reinterpret_cast<unsigned char*>(mac.data()), mac.size(), &size);
    GEMEL_ASSERT(result != nullptr && size == mac.size());
    return mac;
}

Handshake::Reply Handshake::own_proof() const noexcept {
    Reply reply{FrameType::proof, {}};
    ByteWriter writer(reply.payload);
    writer.put(purpose_);
    writer.sized(identity_->cluster);
    writer.sized(identity_->node);
    writer.sized(mirror_);
    const Mac mac =
        mac_of(role_ == Role::connector ? kConnectorLabel : kAcceptorLabel, reply.payload);
    writer.bytes(mac);
    return reply;
}

Handshake::Step Handshake::fail(std::string sentence) noexcept {
    failure_ = std::move(sentence);
    waiting_ = Waiting::nothing;
    Step step;
    step.state = State::failed;
    return step;
}

// Another cluster and another key are told apart in our log only.
Handshake::Step Handshake::refuse(Refusal reason, std::string sentence) noexcept {
    Step step = fail(std::move(sentence));
    Reply reply{FrameType::refuse, {}};
    ByteWriter writer(reply.payload);
    writer.put(reason);
    writer.put(identity_->version_min);
    writer.put(identity_->version_max);
    step.replies.push_back(std::move(reply));
    return step;
}

Handshake::Step Handshake::on_refuse(Bytes payload) noexcept {
    ByteReader reader(payload);
    const auto reason = reader.get<Refusal>();
    const auto version_min = reader.get<std::uint16_t>();
    const auto version_max = reader.get<std::uint16_t>();
    if (!reader.ok()) return fail("the other side's refusal is malformed");
    switch (reason) {
        case Refusal::versions:
            return fail("refused: " + versions_sentence(version_min, version_max));
        case Refusal::key_or_cluster:
            return fail("refused: the other side knows no cluster '" + identity_->cluster +
                        "' or has another key for it; " + std::string(kSameCluster));
        case Refusal::itself:
            return fail(
                "refused: the other side has this node's name; is the address its own, or "
                "is gemeld started with the wrong --node?");
    }
    return fail("refused for a reason that this version does not know");
}

}  // namespace gemel
