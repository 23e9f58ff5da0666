// SPDX-License-Identifier: Apache-2.0
// The wire form of a resolved op (docs/wire.md, frame `op`). Each kind carries only what applying
// it needs; written data goes as the frame's body, behind the head. Decoding validates everything
// that can be judged without a volume, before any effect.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/store/op.hpp"

#include <cstdint>

namespace gemel {

inline constexpr std::size_t kNameSizeMax = 255;
inline constexpr std::size_t kLinkTargetSizeMax = 4096;
inline constexpr std::size_t kXattrSizeMax = 64 * kKiB;
// Largest data of one write op.
inline constexpr std::size_t kWriteSizeMax = 4 * kMiB;

// Appends the head of `op`, whose number in the session is `number`, to `head`; op.data follows
// as the body (not copied).
void encode_op(const Op& op, std::uint64_t number, ByteBuffer& head);

struct DecodedOp {
    std::uint64_t number = 0;
    Op op;  // its views point into the payload
};
// Errors: corrupt.
Result<DecodedOp> decode_op(Bytes payload) noexcept;

}  // namespace gemel
