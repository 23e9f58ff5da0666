// SPDX-License-Identifier: Apache-2.0
// The register of one mirror: who is in sync, who serves, at which epoch. Every change is a
// compare-and-swap on (epoch, token) at the arbiter; the order of its values is the order of
// everything that is decided about the mirror (protocol.md 1 to 3).
//
// Epochs only grow and tokens are never used twice, so a value that has been replaced never comes
// back: a proposal whose expected value is gone can never be carried out later.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/units.hpp"
#include "engine/store/superblock.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

inline constexpr std::size_t kNodeNameSizeMax = 64;
inline constexpr std::size_t kInSyncMax = 8;

struct RegisterMember {
    std::string node;
    Incarnation incarnation;

    friend bool operator==(const RegisterMember&, const RegisterMember&) noexcept = default;
};

struct RegisterValue {
    std::uint64_t epoch = 0;  // 0: nothing was ever recorded, all else is empty
    // Who serves under this value, or may begin first. Not one of in_sync when its copy failed and
    // it named the other, which has not begun yet.
    std::string serving;
    std::vector<RegisterMember> in_sync;
    // The set before the node in `in_sync` became the only one. While that node has not begun to
    // serve under this value, whoever is named here with its incarnation holds as much as it does.
    std::vector<RegisterMember> previous;
    Uuid token;  // of the proposal that made this value

    [[nodiscard]] bool is_empty() const noexcept { return epoch == 0; }
    // Null when the node is not named.
    [[nodiscard]] const RegisterMember* find(std::string_view node) const noexcept;
    [[nodiscard]] const RegisterMember* find_previous(std::string_view node) const noexcept;
    // Named with exactly this incarnation, which is a live one.
    [[nodiscard]] bool has(std::string_view node, const Incarnation& incarnation) const noexcept;
    [[nodiscard]] bool is_only(std::string_view node) const noexcept {
        return in_sync.size() == 1 && in_sync.front().node == node;
    }
    // Same place in the order of values.
    [[nodiscard]] bool same_as(const RegisterValue& other) const noexcept {
        return epoch == other.epoch && token == other.token;
    }
    friend bool operator==(const RegisterValue&, const RegisterValue&) noexcept = default;
};

// What a node asks the arbiter to do. `forced`: by a person's promote --force; only then may the
// epoch grow by more than one (the arbiter's own value may have been restored from a backup).
struct RegisterProposal {
    std::uint64_t expected_epoch = 0;
    Uuid expected_token;
    bool forced = false;
    RegisterValue value;
};

// Whether the proposal may follow `current` at all: the one rule of every arbiter. Where each node
// keeps to epochs of its own (kind ping) they grow by one or two: `step_max`.
enum class SwapVerdict : std::uint8_t {
    won,       // apply it
    repeated,  // `current` is this very proposal's: won earlier
    lost,      // something else is recorded
};
[[nodiscard]] SwapVerdict judge(const RegisterProposal& proposal, const RegisterValue& current,
                                std::uint64_t step_max = 1) noexcept;

void encode(const RegisterValue& value, ByteWriter& writer);
void encode(const RegisterProposal& proposal, ByteWriter& writer);
// The reader fails on anything that could not have been encoded from a sound value.
[[nodiscard]] RegisterValue decode_register_value(ByteReader& reader);
[[nodiscard]] RegisterProposal decode_register_proposal(ByteReader& reader);
void encode(const Incarnation& incarnation, ByteWriter& writer);
[[nodiscard]] Incarnation decode_incarnation(ByteReader& reader);
// "epoch 5, alpha serving, in sync: alpha, beta"; "nothing recorded".
[[nodiscard]] std::string describe(const RegisterValue& value);

}  // namespace gemel
