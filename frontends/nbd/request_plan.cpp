// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/request_plan.hpp"

#include "frontends/nbd/wire.hpp"

#include <algorithm>
#include <cerrno>

namespace gemel::nbd {
namespace {

using Action = RequestPlan::Action;

// The flags that a command may have besides FUA, which every command may.
unsigned flags_allowed(Command command, const Agreement& agreement) noexcept {
    switch (command) {
        case Command::read:
            return agreement.structured ? kDontFragment : 0;
        case Command::write:
            return agreement.extended ? kPayloadLength : 0;
        case Command::write_zeroes:
            return kNoHole | kFastZero;
        case Command::block_status:
            return agreement.extended ? kReqOne | kPayloadLength : kReqOne;
        default:
            return 0;
    }
}

std::optional<ExportRequestKind> kind_of(Command command) noexcept {
    switch (command) {
        case Command::read:
            return ExportRequestKind::read;
        case Command::write:
            return ExportRequestKind::write;
        case Command::flush:
            return ExportRequestKind::flush;
        case Command::trim:
            return ExportRequestKind::trim;
        case Command::cache:
            return ExportRequestKind::cache;
        case Command::write_zeroes:
            return ExportRequestKind::zero;
        case Command::block_status:
            return ExportRequestKind::status;
        default:
            return std::nullopt;
    }
}

bool is_change(ExportRequestKind kind) noexcept {
    return kind == ExportRequestKind::write || kind == ExportRequestKind::zero ||
           kind == ExportRequestKind::trim;
}

RequestPlan refusal(RequestPlan plan, Error error, const char* message) noexcept {
    plan.action = Action::answer;
    plan.error = error;
    plan.message = message;
    return plan;
}

// The checks of a command that concerns a range. Requires: kind, offset, length, flags are set.
RequestPlan check_range(RequestPlan plan, const Agreement& agreement,
                        const ExportFacts& facts) noexcept {
    const ExportRequestKind kind = plan.kind;
    if (is_change(kind) && facts.read_only) {
        return refusal(plan, Error::not_permitted, "the export is read-only");
    }
    if (plan.offset > facts.size || plan.length > facts.size - plan.offset) {
        const bool grows = kind == ExportRequestKind::write || kind == ExportRequestKind::zero;
        return refusal(plan, grows ? Error::no_space : Error::invalid, "beyond the export's end");
    }
    const std::uint64_t block_mask = facts.limits.minimum_block - 1;
    if (((plan.offset | plan.length) & block_mask) != 0) {
        return refusal(plan, Error::invalid, "not a multiple of the minimum block size");
    }
    const bool has_data = kind == ExportRequestKind::read || kind == ExportRequestKind::write;
    if (has_data && plan.length > facts.limits.maximum_payload) {
        const bool too_long_a_read = kind == ExportRequestKind::read && agreement.structured;
        return refusal(plan, too_long_a_read ? Error::overflow : Error::invalid,
                       "longer than the maximum payload");
    }
    if (kind == ExportRequestKind::status && plan.length == 0) {
        return refusal(plan, Error::invalid, "block status of nothing");
    }
    plan.action = plan.length == 0 ? Action::answer : Action::submit;
    return plan;
}

}  // namespace

std::optional<RequestHeader> read_request_header(Bytes data, bool extended) noexcept {
    WireReader reader(data);
    RequestHeader header;
    const auto magic = reader.get<std::uint32_t>();
    header.flags = reader.get<std::uint16_t>();
    header.command = static_cast<Command>(reader.get<std::uint16_t>());
    header.cookie = reader.get<std::uint64_t>();
    header.offset = reader.get<std::uint64_t>();
    header.length = extended ? reader.get<std::uint64_t>() : reader.get<std::uint32_t>();
    GEMEL_ASSERT(reader.ok());
    if (magic != (extended ? kExtendedRequestMagic : kRequestMagic)) return std::nullopt;
    return header;
}

RequestPlan plan_request(const RequestHeader& header, const Agreement& agreement,
                         const ExportFacts& facts) noexcept {
    RequestPlan plan;
    plan.offset = header.offset;
    plan.length = header.length;
    plan.flags = header.flags;
    const bool has_payload = agreement.extended ? (header.flags & kPayloadLength) != 0
                                                : header.command == Command::write;
    if (has_payload) {
        plan.payload = header.length;
        if (plan.payload > std::max(facts.limits.maximum_payload, kPayloadAlwaysTaken)) {
            plan.action = Action::close;
            plan.message = "a payload longer than any client may send";
            return plan;
        }
    }
    if (header.command == Command::disconnect) {
        plan.action = Action::finish;
        return plan;
    }
    const auto kind = kind_of(header.command);
    if (!kind.has_value()) return refusal(plan, Error::invalid, "unknown command");
    plan.kind = *kind;
    if ((header.flags & ~(flags_allowed(header.command, agreement) | kFua)) != 0) {
        return refusal(plan, Error::invalid, "a flag that this command does not have");
    }
    if (agreement.extended && (header.flags & kPayloadLength) != 0 && header.length == 0) {
        return refusal(plan, Error::invalid, "a payload of no length");
    }
    switch (plan.kind) {
        case ExportRequestKind::flush:
            if (header.offset != 0 || header.length != 0) {
                return refusal(plan, Error::invalid, "flush has no range");
            }
            plan.action = Action::submit;
            return plan;
        case ExportRequestKind::write:
            if (!has_payload) return refusal(plan, Error::invalid, "a write without its payload");
            return check_range(plan, agreement, facts);
        case ExportRequestKind::status:
            plan.contexts = agreement.contexts;
            if (plan.contexts == 0) {
                return refusal(plan, Error::invalid, "no context was agreed on");
            }
            if (!has_payload) return check_range(plan, agreement, facts);
            if (plan.payload > kStatusPayloadMax) {
                return refusal(plan, Error::invalid, "more contexts than there are");
            }
            plan.action = Action::look_again;
            return plan;
        default:
            return check_range(plan, agreement, facts);
    }
}

RequestPlan plan_status(const RequestHeader& header, Bytes payload, const Agreement& agreement,
                        const ExportFacts& facts) noexcept {
    RequestPlan plan;
    plan.kind = ExportRequestKind::status;
    plan.offset = header.offset;
    plan.flags = header.flags;
    WireReader reader(payload);
    plan.length = reader.get<std::uint64_t>();
    while (reader.remaining() > 0 && reader.ok()) {
        const auto id = reader.get<std::uint32_t>();
        const bool known = (id == kAllocationContext || id == kDirtyContext) &&
                           (agreement.contexts & id) != 0 && (plan.contexts & id) == 0;
        if (!known) return refusal(plan, Error::invalid, "a context that was not agreed on");
        plan.contexts |= id;
    }
    if (!reader.ok() || plan.contexts == 0) {
        return refusal(plan, Error::invalid, "block status: its payload does not fit");
    }
    return check_range(plan, agreement, facts);
}

Error error_of(Status status, const RequestPlan& plan) noexcept {
    if (status.ok()) return Error::none;
    switch (status.as_errno()) {
        case EPERM:
        case EACCES:
        case EROFS:
            return Error::not_permitted;
        case ENOMEM:
            return Error::no_memory;
        case EINVAL:
            return Error::invalid;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return Error::no_space;
        case EOPNOTSUPP:
            return plan.kind == ExportRequestKind::zero && (plan.flags & kFastZero) != 0
                       ? Error::not_supported
                       : Error::invalid;
        default:
            return Error::io;
    }
}

}  // namespace gemel::nbd
