// SPDX-License-Identifier: Apache-2.0
#include "resync/verify_messages.hpp"

#include "engine/store/op.hpp"
#include "resync/wire_fields.hpp"

namespace gemel {

namespace {

// XATTR_LIST_MAX of names, a short value and a digest each.
constexpr std::size_t kDescriptionSizeMax = 4 * kMiB;

// None, or an object that may have a name.
ObjectId get_entry(ByteReader& in) noexcept {
    const ObjectId id = in.object_id();
    if (!id.is_none() && id < kFirstObject) in.fail();
    return id;
}

void put_unit(ByteWriter& out, const VerifyUnit& unit) {
    out.put(unit.kind);
    out.put(unit.volume);
    out.put(unit.object);
    switch (unit.kind) {
        case VerifyKind::names:
            put_digest(out, unit.digest);
            out.put(unit.count);
            return;
        case VerifyKind::entry:
            out.put(unit.entry);
            out.sized(unit.name);
            return;
        case VerifyKind::attributes:
            put_digest(out, unit.digest);
            return;
        case VerifyKind::content:
        case VerifyKind::hole:
            out.put(unit.offset);
            out.put(unit.size);
            if (unit.kind == VerifyKind::hole) return;
            out.put(static_cast<std::uint8_t>(unit.disk));
            put_digest(out, unit.digest);
            return;
        case VerifyKind::listing:
            out.put(unit.position);
            return;
    }
}

void get_range(ByteReader& in, VerifyUnit& unit) noexcept {
    unit.offset = in.get<std::uint64_t>();
    unit.size = in.get<std::uint64_t>();
    const std::uint64_t size_max =
        unit.kind == VerifyKind::content ? kCheckSizeMax : kVerifyHoleMax;
    if (unit.size == 0 || unit.size > size_max || unit.offset % kChunkBlock != 0 ||
        unit.offset > kFileSizeMax - unit.size) {
        in.fail();
    }
}

VerifyUnit get_unit(ByteReader& in) noexcept {
    VerifyUnit unit;
    unit.kind = in.get<VerifyKind>();
    unit.volume = in.get<std::uint16_t>();
    unit.object = in.object_id();
    // The directories of a volume that are private have no peers.
    if (unit.object != kRootObject && unit.object < kBlockObject) in.fail();
    switch (unit.kind) {
        case VerifyKind::names:
            unit.digest = get_digest(in);
            unit.count = in.get<std::uint64_t>();
            return unit;
        case VerifyKind::entry:
            unit.entry = get_entry(in);
            unit.name = get_name(in);
            return unit;
        case VerifyKind::attributes:
            unit.digest = get_digest(in);
            return unit;
        case VerifyKind::content:
            get_range(in, unit);
            unit.disk = get_flag(in);
            unit.digest = get_digest(in);
            return unit;
        case VerifyKind::hole:
            get_range(in, unit);
            return unit;
        case VerifyKind::listing:
            unit.position = in.get<std::uint64_t>();
            return unit;
    }
    in.fail();
    return unit;
}

}  // namespace

void encode_verify_check(const VerifyCheck& check, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(check.run);
    out.put(check.number);
    out.put(static_cast<std::uint16_t>(check.units.size()));
    for (const VerifyUnit& unit : check.units) put_unit(out, unit);
}

Result<VerifyCheck> decode_verify_check(Bytes payload) noexcept {
    ByteReader in(payload);
    VerifyCheck check;
    check.run = in.get<std::uint64_t>();
    check.number = in.get<std::uint64_t>();
    const auto count = in.get<std::uint16_t>();
    if (count == 0 || count > kVerifyUnitsMax) in.fail();
    for (std::size_t i = 0; i < count && in.ok(); ++i) check.units.push_back(get_unit(in));
    if (!in.at_end()) return Code::corrupt;
    return check;
}

void encode_verify_answer(const VerifyAnswer& answer, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(answer.run);
    out.put(answer.number);
    out.put(static_cast<std::uint16_t>(answer.differing.size()));
    for (const std::uint16_t place : answer.differing) out.put(place);
}

Result<VerifyAnswer> decode_verify_answer(Bytes payload) noexcept {
    ByteReader in(payload);
    VerifyAnswer answer;
    answer.run = in.get<std::uint64_t>();
    answer.number = in.get<std::uint64_t>();
    const auto count = in.get<std::uint16_t>();
    if (count > kVerifyUnitsMax) in.fail();
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        answer.differing.push_back(in.get<std::uint16_t>());
    }
    if (!in.at_end()) return Code::corrupt;
    return answer;
}

void encode_verify_reply(const VerifyReply& reply, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(reply.run);
    out.put(reply.number);
    out.put(static_cast<std::uint8_t>(reply.failed));
    out.put(static_cast<std::uint8_t>(reply.is_there));
    out.put(static_cast<std::uint8_t>(reply.has_more));
    out.put(reply.entry);
    out.put(reply.position);
    out.sized(reply.description);
    out.put(static_cast<std::uint16_t>(reply.blocks.size()));
    for (const BlockMark& block : reply.blocks) {
        out.put(block.checksum);
        out.put(static_cast<std::uint8_t>(block.is_data));
    }
    out.put(static_cast<std::uint16_t>(reply.entries.size()));
    for (const auto& [name, id] : reply.entries) {
        out.put(id);
        out.sized(name);
    }
}

Result<VerifyReply> decode_verify_reply(Bytes payload) noexcept {
    ByteReader in(payload);
    VerifyReply reply;
    reply.run = in.get<std::uint64_t>();
    reply.number = in.get<std::uint64_t>();
    reply.failed = get_flag(in);
    reply.is_there = get_flag(in);
    reply.has_more = get_flag(in);
    reply.entry = get_entry(in);
    reply.position = in.get<std::uint64_t>();
    reply.description = in.sized(kDescriptionSizeMax);
    const auto blocks = in.get<std::uint16_t>();
    if (blocks > kCheckSizeMax / kChunkBlock) in.fail();
    for (std::size_t i = 0; i < blocks && in.ok(); ++i) {
        BlockMark block;
        block.checksum = in.get<std::uint64_t>();
        block.is_data = get_flag(in);
        reply.blocks.push_back(block);
    }
    const auto entries = in.get<std::uint16_t>();
    if (entries > kVerifyListedMax) in.fail();
    for (std::size_t i = 0; i < entries && in.ok(); ++i) {
        const ObjectId id = get_entry(in);
        reply.entries.emplace_back(get_name(in), id);
    }
    if (!in.at_end()) return Code::corrupt;
    return reply;
}

}  // namespace gemel
