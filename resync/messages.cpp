// SPDX-License-Identifier: Apache-2.0
#include "resync/messages.hpp"

#include "engine/base/assert.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"
#include "resync/wire_fields.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace gemel {

namespace {

void put_head(ByteWriter& out, const ItemHead& head) {
    out.put(head.number);
    out.put(head.done_bytes);
    out.put(head.total_bytes);
    out.put(head.volume);
    out.put(head.object);
}

ItemHead get_head(ByteReader& in) noexcept {
    ItemHead head;
    head.number = in.get<std::uint64_t>();
    head.done_bytes = in.get<std::uint64_t>();
    head.total_bytes = in.get<std::uint64_t>();
    head.volume = in.get<std::uint16_t>();
    head.object = in.object_id();
    if (head.number == 0 || head.object.is_none() || head.object == kDetachedDirectory) in.fail();
    return head;
}

bool range_valid(std::uint64_t offset, std::uint64_t size) noexcept {
    return size > 0 && offset % kChunkBlock == 0 && offset <= kFileSizeMax &&
           size <= kFileSizeMax - offset;
}

void put_segments(ByteWriter& out, std::span<const DataSegment> segments) {
    out.put(static_cast<std::uint32_t>(segments.size()));
    for (const DataSegment& segment : segments) {
        out.put(segment.begin);
        out.put(segment.end);
    }
}

// Sorted and apart, in whole blocks of a range of that size. Returns the sum of their lengths.
std::uint64_t get_segments(ByteReader& in, std::uint64_t size,
                           std::vector<DataSegment>& segments) noexcept {
    const auto count = in.get<std::uint32_t>();
    if (count > kPartialSpanMax / kChunkBlock) in.fail();
    std::uint64_t sum = 0;
    std::uint64_t position = 0;
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        DataSegment segment;
        segment.begin = in.get<std::uint32_t>();
        segment.end = in.get<std::uint32_t>();
        const bool aligned = segment.begin % kChunkBlock == 0 &&
                             (segment.end % kChunkBlock == 0 || segment.end == size);
        if (!aligned || segment.begin < position || segment.end <= segment.begin ||
            segment.end > size) {
            in.fail();
        }
        position = segment.end;
        sum += segment.end - segment.begin;
        segments.push_back(segment);
    }
    return sum;
}

bool type_valid(std::uint32_t mode) noexcept {
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
           S_ISFIFO(mode) || S_ISSOCK(mode);
}

}  // namespace

void encode_hello(const ResyncHello& hello, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(hello.boot);
    out.put(hello.comparison);
    out.put(static_cast<std::uint16_t>(hello.volumes.size()));
    for (const ResyncHello::Volume& volume : hello.volumes) {
        out.put(volume.id);
        out.put(static_cast<std::uint8_t>(volume.must_compare));
    }
}

Result<ResyncHello> decode_hello(Bytes payload) noexcept {
    ByteReader in(payload);
    ResyncHello hello;
    hello.boot = in.uuid();
    hello.comparison = in.uuid();
    const auto count = in.get<std::uint16_t>();
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        ResyncHello::Volume volume;
        volume.id = in.uuid();
        volume.must_compare = get_flag(in);
        hello.volumes.push_back(volume);
    }
    if (!in.at_end() || count > kResyncVolumesMax) return Code::corrupt;
    return hello;
}

void encode_plan(const ResyncPlan& plan, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(static_cast<std::uint16_t>(plan.volumes.size()));
    for (const ResyncPlan::Volume& volume : plan.volumes) {
        out.put(volume.id);
        out.put(static_cast<std::uint8_t>(volume.full));
    }
}

Result<ResyncPlan> decode_plan(Bytes payload) noexcept {
    ByteReader in(payload);
    ResyncPlan plan;
    const auto count = in.get<std::uint16_t>();
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        ResyncPlan::Volume volume;
        volume.id = in.uuid();
        volume.full = get_flag(in);
        if (volume.id.is_none()) in.fail();
        plan.volumes.push_back(volume);
    }
    if (!in.at_end() || count > kResyncVolumesMax) return Code::corrupt;
    return plan;
}

void encode_resync_intents(std::span<const IntentKey> keys, bool last, ByteBuffer& payload) {
    ByteWriter(payload).put(static_cast<std::uint8_t>(last));
    encode_intents(keys, payload);
}

Result<bool> decode_resync_intents(Bytes payload, std::vector<IntentKey>& keys) noexcept {
    if (payload.empty() || payload[0] > std::byte{1}) return Code::corrupt;
    GEMEL_TRY(decode_intents(payload.subspan(1), keys));
    return payload[0] == std::byte{1};
}

Result<ItemHead> decode_item_head(Bytes payload) noexcept {
    ByteReader in(payload);
    const ItemHead head = get_head(in);
    if (!in.ok()) return Code::corrupt;
    return head;
}

void encode_names(const NamesItem& item, ByteBuffer& payload) {
    ByteWriter out(payload);
    put_head(out, item.head);
    out.put(static_cast<std::uint8_t>(item.first));
    out.put(static_cast<std::uint8_t>(item.last));
    out.put(item.accessed);
    out.put(item.modified);
    out.put(static_cast<std::uint32_t>(item.entries.size()));
    for (const auto& [name, id] : item.entries) {
        out.put(id);
        out.sized(name);
    }
}

Result<NamesItem> decode_names(Bytes payload) noexcept {
    ByteReader in(payload);
    NamesItem item;
    item.head = get_head(in);
    item.first = get_flag(in);
    item.last = get_flag(in);
    item.accessed = in.wall_time();
    item.modified = in.wall_time();
    const auto count = in.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        const ObjectId id = in.object_id();
        const std::string_view name = get_name(in);
        if (id < kFirstObject) in.fail();
        item.entries.emplace_back(name, id);
    }
    if (!in.at_end()) return Code::corrupt;
    return item;
}

void encode_attributes(const AttributesItem& item, ByteBuffer& payload) {
    ByteWriter out(payload);
    put_head(out, item.head);
    const FileStat& stat = item.attributes.stat;
    out.put(stat.mode);
    out.put(stat.uid);
    out.put(stat.gid);
    out.put(stat.special_device);
    out.put(stat.size);
    out.put(stat.accessed);
    out.put(stat.modified);
    out.put(static_cast<std::uint8_t>(item.last));
    out.put(static_cast<std::uint32_t>(item.attributes.xattrs.size()));
    for (const auto& [name, value] : item.attributes.xattrs) {
        out.sized(name);
        out.sized(value);
    }
    out.put(static_cast<std::uint8_t>(item.make));
    if (!item.make) return;
    out.sized(item.link_target);
    out.put(item.parent);
    out.sized(item.name);
}

Result<AttributesItem> decode_attributes(Bytes payload) noexcept {
    ByteReader in(payload);
    AttributesItem item;
    item.head = get_head(in);
    FileStat& stat = item.attributes.stat;
    stat.mode = in.get<std::uint32_t>();
    stat.uid = in.get<std::uint32_t>();
    stat.gid = in.get<std::uint32_t>();
    stat.special_device = in.get<std::uint64_t>();
    stat.size = in.get<std::uint64_t>();
    stat.accessed = in.wall_time();
    stat.modified = in.wall_time();
    item.last = get_flag(in);
    const auto count = in.get<std::uint32_t>();
    if (count > kXattrsMax || stat.size > kFileSizeMax || !type_valid(stat.mode)) in.fail();
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        const std::string_view name = as_text(in.sized(kNameSizeMax));
        const Bytes value = in.sized(kXattrSizeMax);
        if (name.empty() || name.find('\0') != std::string_view::npos) in.fail();
        item.attributes.xattrs.emplace_back(std::string(name),
                                            ByteBuffer(value.begin(), value.end()));
    }
    item.make = get_flag(in);
    if (item.make) {
        item.link_target = in.sized(kLinkTargetSizeMax);
        item.parent = in.object_id();
        if (item.parent.is_none()) {
            if (!in.sized(0).empty()) in.fail();
        } else {
            item.name = get_name(in);
        }
        if (item.head.object < kFirstObject) in.fail();
        if (S_ISLNK(stat.mode) == item.link_target.empty()) in.fail();
    }
    if (item.head.object == kOrphanDirectory) in.fail();
    if (!in.at_end()) return Code::corrupt;
    return item;
}

void encode_check(const CheckItem& item, ByteBuffer& payload) {
    ByteWriter out(payload);
    put_head(out, item.head);
    out.put(item.offset);
    out.put(item.size);
    put_digest(out, item.digest);
}

Result<CheckItem> decode_check(Bytes payload) noexcept {
    ByteReader in(payload);
    CheckItem item;
    item.head = get_head(in);
    item.offset = in.get<std::uint64_t>();
    item.size = in.get<std::uint64_t>();
    item.digest = get_digest(in);
    if (!in.at_end() || !range_valid(item.offset, item.size) || item.size > kChunkSizeMax) {
        return Code::corrupt;
    }
    return item;
}

void encode_content(const ContentItem& item, ByteBuffer& head) {
    ByteWriter out(head);
    put_head(out, item.head);
    out.put(item.offset);
    out.put(item.size);
    out.put(item.modified);
    out.put(static_cast<std::uint8_t>(item.partial));
    put_segments(out, item.segments);
    if (item.partial) put_segments(out, item.holes);
}

Result<ContentItem> decode_content(Bytes payload) noexcept {
    ByteReader in(payload);
    ContentItem item;
    item.head = get_head(in);
    item.offset = in.get<std::uint64_t>();
    item.size = in.get<std::uint64_t>();
    item.modified = in.wall_time();
    item.partial = get_flag(in);
    if (!range_valid(item.offset, item.size)) in.fail();
    const std::uint64_t data_size = get_segments(in, item.size, item.segments);
    if (item.partial) {
        get_segments(in, item.size, item.holes);
        if (item.size > kPartialSpanMax || data_size > kChunkSizeMax) in.fail();
    } else if (!item.segments.empty() && item.size > kChunkSizeMax) {
        in.fail();
    }
    if (!in.ok() || in.remaining() != data_size) return Code::corrupt;
    item.data = in.bytes(in.remaining());
    return item;
}

void encode_answer(const ItemAnswer& answer, ByteBuffer& payload) {
    GEMEL_ASSERT(answer.missing.size() <= kMissingMax && answer.blocks.size() <= kChunkBlocksMax);
    ByteWriter out(payload);
    out.put(answer.number);
    out.put(answer.verdict);
    out.put(static_cast<std::uint16_t>(answer.missing.size()));
    for (const ObjectId id : answer.missing) out.put(id);
    out.put(static_cast<std::uint16_t>(answer.blocks.size()));
    for (const Digest128& block : answer.blocks) {
        out.put(block.low);
        out.put(block.high);
    }
}

Result<std::vector<ItemAnswer>> decode_answers(Bytes payload) noexcept {
    ByteReader in(payload);
    std::vector<ItemAnswer> answers;
    while (in.ok() && in.remaining() > 0) {
        ItemAnswer answer;
        answer.number = in.get<std::uint64_t>();
        answer.verdict = in.get<Verdict>();
        const auto count = in.get<std::uint16_t>();
        if (answer.verdict > Verdict::missing || count > kMissingMax) in.fail();
        for (std::size_t i = 0; i < count && in.ok(); ++i) {
            const ObjectId id = in.object_id();
            if (id < kFirstObject) in.fail();
            answer.missing.push_back(id);
        }
        const auto blocks = in.get<std::uint16_t>();
        if (blocks > kChunkBlocksMax || (blocks != 0 && answer.verdict != Verdict::want)) in.fail();
        for (std::size_t i = 0; i < blocks && in.ok(); ++i) {
            Digest128 block;
            block.low = in.get<std::uint64_t>();
            block.high = in.get<std::uint64_t>();
            answer.blocks.push_back(block);
        }
        answers.push_back(std::move(answer));
    }
    if (!in.ok()) return Code::corrupt;
    return answers;
}

}  // namespace gemel
