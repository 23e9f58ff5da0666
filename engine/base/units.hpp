// SPDX-License-Identifier: Apache-2.0
// Quantities and identifiers that must not be exchanged for one another.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace gemel {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// A span of time in nanoseconds; may be negative.
struct Duration {
    std::int64_t ns = 0;

    static constexpr Duration nanoseconds(std::int64_t n) noexcept { return {n}; }
    static constexpr Duration microseconds(std::int64_t n) noexcept { return {n * 1'000}; }
    static constexpr Duration milliseconds(std::int64_t n) noexcept { return {n * 1'000'000}; }
    static constexpr Duration seconds(std::int64_t n) noexcept { return {n * 1'000'000'000}; }

    friend constexpr auto operator<=>(Duration, Duration) noexcept = default;
    friend constexpr Duration operator+(Duration a, Duration b) noexcept { return {a.ns + b.ns}; }
    friend constexpr Duration operator-(Duration a, Duration b) noexcept { return {a.ns - b.ns}; }
    friend constexpr Duration operator*(Duration a, std::int64_t n) noexcept { return {a.ns * n}; }
    friend constexpr Duration operator/(Duration a, std::int64_t n) noexcept { return {a.ns / n}; }
};

// A reading of a node's monotonic clock. Comparable only with readings of the same boot.
struct Instant {
    std::int64_t ns = 0;

    friend constexpr auto operator<=>(Instant, Instant) noexcept = default;
    friend constexpr Instant operator+(Instant t, Duration d) noexcept { return {t.ns + d.ns}; }
    friend constexpr Instant operator-(Instant t, Duration d) noexcept { return {t.ns - d.ns}; }
    friend constexpr Duration operator-(Instant a, Instant b) noexcept { return {a.ns - b.ns}; }
};

// Wall clock time since 1970-01-01 UTC; for file times and texts, never for a decision.
struct WallTime {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;

    friend constexpr auto operator<=>(WallTime, WallTime) noexcept = default;
};

// An object of a volume. 0 is none; 1 is the root directory of a directory volume (the number
// that FUSE fixes for it). The high 24 bits are the epoch tag of the range the id was allotted
// from, the low 40 bits count within that tag, so two nodes never allot the same id.
struct ObjectId {
    std::uint64_t value = 0;

    [[nodiscard]] constexpr bool is_none() const noexcept { return value == 0; }
    [[nodiscard]] constexpr std::uint32_t tag() const noexcept {
        return static_cast<std::uint32_t>(value >> 40);
    }
    [[nodiscard]] constexpr std::uint64_t sequence() const noexcept {
        return value & ((std::uint64_t{1} << 40) - 1);
    }
    static constexpr ObjectId make(std::uint32_t tag, std::uint64_t sequence) noexcept {
        return {(std::uint64_t{tag} << 40) | sequence};
    }
    friend constexpr auto operator<=>(ObjectId, ObjectId) noexcept = default;
};
inline constexpr ObjectId kNoObject{0};
inline constexpr ObjectId kRootObject{1};

// 128 random bits that name a volume, a history, an incarnation or a register token.
struct Uuid {
    std::array<std::uint8_t, 16> bytes{};

    [[nodiscard]] constexpr bool is_none() const noexcept { return *this == Uuid{}; }
    friend constexpr auto operator<=>(const Uuid&, const Uuid&) noexcept = default;
};

struct ObjectIdHash {
    std::size_t operator()(ObjectId id) const noexcept {
        return static_cast<std::size_t>(id.value * 0x9E3779B97F4A7C15ULL);
    }
};

}  // namespace gemel
