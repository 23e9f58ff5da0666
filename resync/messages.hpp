// SPDX-License-Identifier: Apache-2.0
// The frames of a resync (docs/wire.md). Everything from the source that changes the target is an
// *item*: it has a number, rising by one, and is answered in order. Decoders validate bounds, names
// and types before any effect; their errors are corrupt. Views point into the payload.
//
// From the target: resync_begin (ResyncHello), resync_intents, resync_answer, resync_done (a
// number). From the source: resync_begin (ResyncPlan), the items, resync_end (a number).
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/store/directory_volume.hpp"
#include "engine/store/intent_log.hpp"
#include "resync/chunk.hpp"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel {

inline constexpr std::size_t kResyncVolumesMax = 1024;
inline constexpr std::size_t kXattrsMax = 65536;        // of one object
inline constexpr std::size_t kResyncIntentsMax = 4096;  // keys in one resync_intents
// A directory's listing is cut into frames of about this size.
inline constexpr std::size_t kNamesFrameSize = 256 * kKiB;

struct ResyncHello {
    struct Volume {
        Uuid id;
        bool must_compare = false;  // what is there is not known: everything is compared
    };
    Uuid boot;
    // Changes whenever there is a new reason for must_compare, so that a comparison of everything
    // that was interrupted goes on where it was only if it was begun after that.
    Uuid comparison;
    std::vector<Volume> volumes;
};
void encode_hello(const ResyncHello& hello, ByteBuffer& payload);
Result<ResyncHello> decode_hello(Bytes payload) noexcept;

struct ResyncPlan {
    struct Volume {
        Uuid id;            // the target's volume becomes this one
        bool full = false;  // everything is compared
    };
    std::vector<Volume> volumes;
};
void encode_plan(const ResyncPlan& plan, ByteBuffer& payload);
Result<ResyncPlan> decode_plan(Bytes payload) noexcept;

void encode_resync_intents(std::span<const IntentKey> keys, bool last, ByteBuffer& payload);
// Appends to `keys`; returns whether it was the last frame.
Result<bool> decode_resync_intents(Bytes payload, std::vector<IntentKey>& keys) noexcept;

// Common head of all items.
struct ItemHead {
    std::uint64_t number = 0;
    std::uint64_t done_bytes = 0, total_bytes = 0;  // ResyncProgress of the source
    std::uint16_t volume = 0;
    ObjectId object;
};
// Of any item frame, without looking further.
Result<ItemHead> decode_item_head(Bytes payload) noexcept;

// resync_names: a directory's listing or a part of it; only the last part is answered, all have the
// same number.
struct NamesItem {
    ItemHead head;
    bool first = false, last = false;
    WallTime accessed, modified;
    std::vector<std::pair<std::string_view, ObjectId>> entries;
};
void encode_names(const NamesItem& item, ByteBuffer& payload);
Result<NamesItem> decode_names(Bytes payload) noexcept;

// resync_attributes: all attributes; `make`: also what is needed to make the object, and the name
// by which an older copy of it may be found. Extended attributes that do not fit in one frame come
// in several, equal in all else; only the last is answered, all have the same number.
struct AttributesItem {
    ItemHead head;
    DirectoryVolume::FullAttributes attributes;
    bool last = true;
    bool make = false;
    Bytes link_target;
    ObjectId parent;  // none: no name known
    std::string_view name;
};
void encode_attributes(const AttributesItem& item, ByteBuffer& payload);
Result<AttributesItem> decode_attributes(Bytes payload) noexcept;

// resync_check: the source's content of the range has this digest (of the digests of its blocks).
struct CheckItem {
    ItemHead head;
    std::uint64_t offset = 0, size = 0;
    Digest128 digest;
};
void encode_check(const CheckItem& item, ByteBuffer& payload);
Result<CheckItem> decode_check(Bytes payload) noexcept;

// resync_content: the range becomes this; what no segment covers becomes a hole. The segments' data
// are the frame's body. Without segments the range may be longer than kChunkSizeMax.
// `partial`: only the segments and the holes become what they say, the rest stays as it is; then
// the range may be kPartialSpanMax long, and its data kChunkSizeMax.
struct ContentItem {
    ItemHead head;
    std::uint64_t offset = 0, size = 0;
    WallTime modified;
    std::vector<DataSegment> segments;
    bool partial = false;
    std::vector<DataSegment> holes;  // of a partial one
    Bytes data;                      // decode only
};
inline constexpr std::uint64_t kPartialSpanMax = 16 * kMiB;
void encode_content(const ContentItem& item, ByteBuffer& head);
Result<ContentItem> decode_content(Bytes payload) noexcept;

enum class Verdict : std::uint8_t {
    ok = 0,
    want = 1,     // check: differs, send it. attributes with `make`: the object has just been made
    missing = 2,  // the object is not here; names: these ids are not
};
struct ItemAnswer {
    std::uint64_t number = 0;
    Verdict verdict = Verdict::ok;
    std::vector<ObjectId> missing;  // at most kMissingMax, the rest is asked for again
    // Of a check's range as the target has it, when the verdict is want; at most kChunkBlocksMax.
    std::vector<Digest128> blocks;
};
inline constexpr std::size_t kMissingMax = 1024;
void encode_answer(const ItemAnswer& answer, ByteBuffer& payload);  // appends
Result<std::vector<ItemAnswer>> decode_answers(Bytes payload) noexcept;

}  // namespace gemel
