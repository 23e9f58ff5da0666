// SPDX-License-Identifier: Apache-2.0
#include "controller/register_value.hpp"

#include "engine/base/plain_name.hpp"

#include <algorithm>

namespace gemel {

namespace {

constexpr std::uint8_t kFormat = 1;

bool is_sound(const RegisterValue& value) noexcept {
    if (value.epoch == 0) {
        return value.serving.empty() && value.in_sync.empty() && value.previous.empty() &&
               value.token.is_none();
    }
    if (value.token.is_none() || value.in_sync.empty() || value.in_sync.size() > kInSyncMax) {
        return false;
    }
    if (!is_plain_name(value.serving, kNodeNameSizeMax)) return false;
    if (value.previous.size() > kInSyncMax) return false;
    for (const RegisterMember& member : value.previous) {
        if (!is_plain_name(member.node, kNodeNameSizeMax)) return false;
    }
    for (const RegisterMember& member : value.in_sync) {
        if (!is_plain_name(member.node, kNodeNameSizeMax)) return false;
        // find() answers the first of that name, so a second one is not itself.
        if (value.find(member.node) != &member) return false;
    }
    return true;
}

const RegisterMember* find_in(const std::vector<RegisterMember>& members,
                              std::string_view node) noexcept {
    const auto found = std::find_if(members.begin(), members.end(),
                                    [&](const RegisterMember& m) { return m.node == node; });
    return found == members.end() ? nullptr : &*found;
}

}  // namespace

const RegisterMember* RegisterValue::find(std::string_view node) const noexcept {
    return find_in(in_sync, node);
}

const RegisterMember* RegisterValue::find_previous(std::string_view node) const noexcept {
    return find_in(previous, node);
}

bool RegisterValue::has(std::string_view node, const Incarnation& incarnation) const noexcept {
    const RegisterMember* member = find(node);
    return member != nullptr && !incarnation.number.is_none() && member->incarnation == incarnation;
}

SwapVerdict judge(const RegisterProposal& proposal, const RegisterValue& current,
                  std::uint64_t step_max) noexcept {
    if (current.token == proposal.value.token) return SwapVerdict::repeated;
    if (current.epoch != proposal.expected_epoch || current.token != proposal.expected_token) {
        return SwapVerdict::lost;
    }
    const std::uint64_t epoch = proposal.value.epoch;
    const bool follows =
        epoch > current.epoch && (proposal.forced || epoch - current.epoch <= step_max);
    return follows ? SwapVerdict::won : SwapVerdict::lost;
}

void encode(const Incarnation& incarnation, ByteWriter& writer) {
    writer.put(incarnation.boot);
    writer.put(incarnation.number);
}

Incarnation decode_incarnation(ByteReader& reader) {
    Incarnation incarnation;
    incarnation.boot = reader.uuid();
    incarnation.number = reader.uuid();
    return incarnation;
}

namespace {

void encode_members(const std::vector<RegisterMember>& members, ByteWriter& writer) {
    writer.put(static_cast<std::uint8_t>(members.size()));
    for (const RegisterMember& member : members) {
        writer.sized(member.node);
        encode(member.incarnation, writer);
    }
}

std::vector<RegisterMember> decode_members(ByteReader& reader) {
    std::vector<RegisterMember> members;
    const auto count = reader.get<std::uint8_t>();
    if (count > kInSyncMax) reader.fail();
    for (std::uint8_t i = 0; reader.ok() && i < count; ++i) {
        RegisterMember member;
        member.node = as_text(reader.sized(kNodeNameSizeMax));
        member.incarnation = decode_incarnation(reader);
        members.push_back(std::move(member));
    }
    return members;
}

}  // namespace

void encode(const RegisterValue& value, ByteWriter& writer) {
    GEMEL_ASSERT(is_sound(value));
    writer.put(kFormat);
    writer.put(value.epoch);
    writer.put(value.token);
    writer.sized(value.serving);
    encode_members(value.in_sync, writer);
    encode_members(value.previous, writer);
}

RegisterValue decode_register_value(ByteReader& reader) {
    RegisterValue value;
    if (reader.get<std::uint8_t>() != kFormat) reader.fail();
    value.epoch = reader.get<std::uint64_t>();
    value.token = reader.uuid();
    value.serving = as_text(reader.sized(kNodeNameSizeMax));
    value.in_sync = decode_members(reader);
    value.previous = decode_members(reader);
    if (!reader.ok() || !is_sound(value)) {
        reader.fail();
        return {};
    }
    return value;
}

void encode(const RegisterProposal& proposal, ByteWriter& writer) {
    writer.put(proposal.expected_epoch);
    writer.put(proposal.expected_token);
    writer.put(static_cast<std::uint8_t>(proposal.forced));
    encode(proposal.value, writer);
}

RegisterProposal decode_register_proposal(ByteReader& reader) {
    RegisterProposal proposal;
    proposal.expected_epoch = reader.get<std::uint64_t>();
    proposal.expected_token = reader.uuid();
    const auto forced = reader.get<std::uint8_t>();
    if (forced > 1) reader.fail();
    proposal.forced = forced == 1;
    proposal.value = decode_register_value(reader);
    if (proposal.value.is_empty()) reader.fail();
    return proposal;
}

std::string describe(const RegisterValue& value) {
    if (value.is_empty()) return "nothing recorded";
    std::string text =
        "epoch " + std::to_string(value.epoch) + ", " + value.serving + " serving, in sync:";
    const char* separator = " ";
    for (const RegisterMember& member : value.in_sync) {
        text += separator + member.node;
        separator = ", ";
    }
    return text;
}

}  // namespace gemel
