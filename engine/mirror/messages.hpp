// SPDX-License-Identifier: Apache-2.0
// The small frames of a replication session (docs/wire.md). Decoders validate bounds only.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/mirror/intent_rules.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

inline constexpr std::size_t kFailureTextMax = 1024;

// intend: intents that ops on their way will need, sent ahead so that both logs are written at
// once.
void encode_intents(std::span<const IntentKey> keys, ByteBuffer& payload);
// Appends to `keys`. Errors: corrupt.
Status decode_intents(Bytes payload, std::vector<IntentKey>& keys) noexcept;

// ack: every op up to this number has been applied.  round, round_synced, round_durable: a number.
void encode_number(std::uint64_t number, ByteBuffer& payload);
Result<std::uint64_t> decode_number(Bytes payload) noexcept;

// sync: make this object (none: everything of the volume) durable.
struct SyncRequest {
    std::uint64_t token = 0;
    std::uint16_t volume = 0;
    ObjectId object;
    bool data_only = false;

    [[nodiscard]] bool is_of_everything() const noexcept {
        return object.is_none() || object == kRootObject;
    }
};
void encode_sync(const SyncRequest& request, ByteBuffer& payload);
Result<SyncRequest> decode_sync(Bytes payload) noexcept;

// resize: a block volume has this size from here on, on a target; or shall have it, on a secondary.
// resized: it has; or `refusal` says why it can't, and it has the size that it had.
struct SizeMessage {
    std::uint16_t volume = 0;
    std::uint64_t size = 0;
    std::string refusal;
};
void encode_size(const SizeMessage& message, ByteBuffer& payload);
Result<SizeMessage> decode_size(Bytes payload) noexcept;

// failed: the sender's copy can't follow any more; a sentence for people.
void encode_failure(std::string_view text, ByteBuffer& payload);
Result<std::string> decode_failure(Bytes payload) noexcept;

}  // namespace gemel
