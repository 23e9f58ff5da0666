// SPDX-License-Identifier: Apache-2.0
// The frames of a verify (docs/wire.md). The serving node sends checks and questions in the ordered
// stream, each about the moment at which it is sent; the other node answers each, in order. All
// carry the number of their run, so that what is left of an earlier one is known as such. Decoders
// validate bounds, names and ids before any effect; their errors are corrupt. Views point into the
// payload.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/base/status.hpp"
#include "resync/chunk.hpp"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel {

inline constexpr std::size_t kVerifyUnitsMax = 1024;   // in one check
inline constexpr std::size_t kVerifyListedMax = 1024;  // names in one reply
// A stretch without data is compared in pieces of this size.
inline constexpr std::uint64_t kVerifyHoleMax = 64 * kMiB;

enum class VerifyKind : std::uint8_t {
    names = 1,       // all names of the directory `object`
    entry = 2,       // one of its names
    attributes = 3,  // all of the object's
    content = 4,     // a range of its content
    hole = 5,        // a range of it without any data
    listing = 6,     // some of its names (a question only)
};

// What is compared at once.
struct VerifyUnit {
    VerifyKind kind = VerifyKind::attributes;
    std::uint16_t volume = 0;
    ObjectId object;
    Digest128 digest;                    // names, attributes, content; not of a question
    std::uint64_t count = 0;             // names
    std::uint64_t offset = 0, size = 0;  // content, hole
    bool disk = false;                   // content: as the disk has it, not what is cached
    ObjectId entry;                      // entry: what the name stands for; none: nothing
    std::string_view name;               // entry
    std::uint64_t position = 0;          // listing: goes on behind it; 0: the start
};

// verify_check: are these equal there? verify_question (exactly one unit): what is it there?
struct VerifyCheck {
    std::uint64_t run = 0, number = 0;
    std::vector<VerifyUnit> units;
};
void encode_verify_check(const VerifyCheck& check, ByteBuffer& payload);
Result<VerifyCheck> decode_verify_check(Bytes payload) noexcept;

// verify_answer: the units of a check that are not equal, by their places.
struct VerifyAnswer {
    std::uint64_t run = 0, number = 0;
    std::vector<std::uint16_t> differing;
};
void encode_verify_answer(const VerifyAnswer& answer, ByteBuffer& payload);
Result<VerifyAnswer> decode_verify_answer(Bytes payload) noexcept;

// A block of kChunkBlock bytes.
struct BlockMark {
    std::uint64_t checksum = 0;  // of its bytes; a hole's are zeros
    bool is_data = false;

    friend bool operator==(const BlockMark&, const BlockMark&) noexcept = default;
};

// verify_reply: to a question.
struct VerifyReply {
    std::uint64_t run = 0, number = 0;
    bool failed = false;            // it can't be read: nothing else counts
    bool is_there = false;          // the object; entry: something of that name
    bool has_more = false;          // listing: the end is not reached
    ObjectId entry;                 // entry: its id; none: it has no valid one
    Bytes description;              // attributes: of the object (verify_compare.hpp)
    std::vector<BlockMark> blocks;  // content
    std::vector<std::pair<std::string_view, ObjectId>> entries;  // listing
    std::uint64_t position = 0;                                  // listing: to go on from
};
void encode_verify_reply(const VerifyReply& reply, ByteBuffer& payload);
Result<VerifyReply> decode_verify_reply(Bytes payload) noexcept;

}  // namespace gemel
