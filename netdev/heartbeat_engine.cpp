// SPDX-License-Identifier: Apache-2.0
#include "netdev/heartbeat_engine.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <utility>

namespace gemel {

namespace {

constexpr std::uint32_t kMagic = 0x62686d67;  // "gmhb", little endian
constexpr std::uint16_t kVersion = 2;
constexpr std::size_t kTagSize = 16;
constexpr std::size_t kNameSizeMax = 64;
constexpr std::size_t kAgesMax = 60;

using Tag = std::array<std::byte, kTagSize>;

Tag tag_of(Bytes key, Bytes data) noexcept {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    const unsigned char* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                                     reinterpret_cast<const unsigned char*>(data.data()),
                                     data.size(), digest.data(), &size);
    GEMEL_ASSERT(made != nullptr && size >= kTagSize);
    Tag tag;
    std::memcpy(tag.data(), digest.data(), kTagSize);
    return tag;
}

// The greatest, as many as a datagram has room for.
std::vector<DiskAge> greatest(std::span<const DiskAge> ages) {
    std::vector<DiskAge> told(ages.begin(), ages.end());
    std::sort(told.begin(), told.end(),
              [](const DiskAge& a, const DiskAge& b) { return a.age > b.age; });
    told.resize(std::min(told.size(), kAgesMax));
    return told;
}

}  // namespace

std::uint64_t disk_age_key(std::string_view mirror) noexcept {
    return std::max<std::uint64_t>(checksum64(as_bytes(mirror)), 1);
}

HeartbeatEngine::HeartbeatEngine(Options options, Instant now) : options_(std::move(options)) {
    for (const Peer& peer : options_.peers) {
        HeartbeatMonitor::Options monitor;
        monitor.link_count = peer.link_count;
        monitor.interval = options_.interval;
        monitor.detect = options_.detect;
        peers_.push_back(
            {HeartbeatMonitor(monitor, now), std::vector<Echo>(peer.link_count), 0, 0, 0, {}, {}});
    }
}

ByteBuffer HeartbeatEngine::make(std::size_t peer, std::size_t link, Instant now,
                                 std::span<const DiskAge> ages) {
    const Echo& echo = peers_[peer].echoes[link];
    ByteBuffer datagram;
    ByteWriter out(datagram);
    out.put(kMagic);
    out.put(kVersion);
    out.put(options_.start);
    out.put(++sequence_);
    out.put(static_cast<std::uint64_t>(now.ns));
    // Its own start and time, and how long ago they came here: so it can tell that this is no copy
    // from before its start, and the round trip.
    out.put(echo.start);
    out.put(echo.sent_ns);
    out.put(echo.sent_ns == 0 ? std::int64_t{0} : (now - echo.heard).ns);
    out.sized(options_.cluster);
    out.sized(options_.node);
    out.sized(options_.peers[peer].node);
    const std::vector<DiskAge> told = greatest(ages);
    out.put(static_cast<std::uint8_t>(told.size()));
    for (const DiskAge& one : told) {
        out.put(one.mirror);
        out.put(one.age.ns);
    }
    const Tag tag = tag_of(options_.key, datagram);
    out.bytes(tag);
    return datagram;
}

// Whether it is not a copy of an old one; notes it.
bool HeartbeatEngine::is_new(PeerState& peer, std::uint64_t start, std::uint64_t sequence) {
    constexpr std::uint64_t kWindow = 64;
    constexpr std::size_t kRetiredMax = 64;
    if (start == peer.start && sequence > peer.sequence) {
        const std::uint64_t ahead = sequence - peer.sequence;
        peer.seen = (ahead < kWindow ? peer.seen << ahead : 0) | 1;
        peer.sequence = sequence;
        return true;
    }
    if (start == peer.start) {
        // Overtaken on another link; counts if it is the first of its number.
        const std::uint64_t behind = peer.sequence - sequence;
        if (behind >= kWindow || (peer.seen >> behind & 1) != 0) return false;
        peer.seen |= std::uint64_t{1} << behind;
        return true;
    }
    if (std::find(peer.retired.begin(), peer.retired.end(), start) != peer.retired.end()) {
        return false;
    }
    if (peer.retired.size() == kRetiredMax) peer.retired.erase(peer.retired.begin());
    peer.retired.push_back(peer.start);
    peer.start = start;
    peer.sequence = sequence;
    peer.seen = 1;
    return true;
}

std::optional<HeartbeatEngine::Verdict> HeartbeatEngine::receive(std::size_t link, Bytes datagram,
                                                                 Instant now) {
    if (datagram.size() > kHeartbeatSizeMax || datagram.size() <= kTagSize) return std::nullopt;
    const Bytes body = datagram.first(datagram.size() - kTagSize);
    const Tag tag = tag_of(options_.key, body);
    if (CRYPTO_memcmp(tag.data(), datagram.last(kTagSize).data(), kTagSize) != 0) {
        return std::nullopt;
    }
    ByteReader in(body);
    const auto magic = in.get<std::uint32_t>();
    const auto version = in.get<std::uint16_t>();
    const auto start = in.get<std::uint64_t>();
    const auto sequence = in.get<std::uint64_t>();
    const auto sent_ns = in.get<std::uint64_t>();
    const auto echoed_start = in.get<std::uint64_t>();
    const auto echoed_ns = in.get<std::uint64_t>();
    const auto held_ns = in.get<std::int64_t>();
    const std::string_view cluster = as_text(in.sized(kNameSizeMax));
    const std::string_view node = as_text(in.sized(kNameSizeMax));
    const std::string_view target = as_text(in.sized(kNameSizeMax));
    std::vector<DiskAge> ages(std::min<std::size_t>(in.get<std::uint8_t>(), kAgesMax));
    for (DiskAge& one : ages) {
        one.mirror = in.get<std::uint64_t>();
        one.age.ns = in.get<std::int64_t>();
    }
    if (!in.at_end() || magic != kMagic || version != kVersion) return std::nullopt;
    if (cluster != options_.cluster || target != options_.node) return std::nullopt;
    const auto known = std::find_if(options_.peers.begin(), options_.peers.end(),
                                    [&](const Peer& peer) { return peer.node == node; });
    if (known == options_.peers.end() || link >= known->link_count) return std::nullopt;
    const auto index = static_cast<std::size_t>(known - options_.peers.begin());
    PeerState& peer = peers_[index];
    const bool is_echo = echoed_start == options_.start;
    // Echoed before it is believed: otherwise neither would ever believe the other.
    if (start != peer.start) peer.echoes[link] = {start, sent_ns, now};
    if (start != peer.start && !is_echo) return std::nullopt;
    if (!is_new(peer, start, sequence)) return std::nullopt;
    if (sequence == peer.sequence) peer.ages = std::move(ages);
    peer.echoes[link] = {start, sent_ns, now};
    std::optional<Duration> round_trip;
    if (is_echo && echoed_ns != 0) {
        const std::int64_t ns = now.ns - static_cast<std::int64_t>(echoed_ns) - held_ns;
        if (ns >= 0) round_trip = Duration::nanoseconds(ns);
    }
    const auto change = peer.monitor.heard(link, now, round_trip);
    if (!change) return std::nullopt;
    return Verdict{index, *change};
}

std::vector<HeartbeatEngine::Verdict> HeartbeatEngine::tick(Instant now) {
    std::vector<Verdict> verdicts;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
        if (const auto change = peers_[i].monitor.tick(now)) verdicts.push_back({i, *change});
    }
    return verdicts;
}

Duration HeartbeatEngine::disk_age(std::size_t peer, std::uint64_t mirror) const noexcept {
    Duration age;
    for (const DiskAge& one : peers_[peer].ages) {
        if (one.mirror == mirror || one.mirror == 0) age = std::max(age, one.age);
    }
    return age;
}

}  // namespace gemel
