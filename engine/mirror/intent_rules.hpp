// SPDX-License-Identifier: Apache-2.0
// Which regions an op touches: the intents that must be durable before it is carried out
// (protocol.md 12). Equal on both nodes for one op.
#pragma once

#include "engine/store/intent_log.hpp"
#include "engine/store/op.hpp"

#include <array>
#include <cstdint>
#include <span>

namespace gemel {

// A few keys without an allocation. More regions than fit become "all content of the object".
class IntentSet {
   public:
    static constexpr std::size_t kRegionsMax = 16;

    void add(const IntentKey& key) noexcept;
    // The regions of [offset, offset + size).
    void add_content(std::uint16_t volume, ObjectId object, std::uint64_t offset,
                     std::uint64_t size) noexcept;
    [[nodiscard]] std::span<const IntentKey> keys() const noexcept {
        return {keys_.data(), count_};
    }

   private:
    std::array<IntentKey, kRegionsMax + 4> keys_{};
    std::size_t count_ = 0;
};

// Appends the intents of `op` to `set`. `size_now`: the object's size before a truncate, else 0.
// For create, op.object is the id that the new object will have: it is covered by an id range, a
// new one that begins with it when `log` has none, so that a created file costs no log write.
// Requires: the op is mirrored, or the peer's part of one (peer_part.hpp).
void add_intents(const Op& op, std::uint64_t size_now, const IntentLog& log,
                 IntentSet& set) noexcept;

}  // namespace gemel
