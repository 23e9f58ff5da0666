// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/negotiation.hpp"

#include "frontends/nbd/wire.hpp"

#include <algorithm>
#include <string>

namespace gemel::nbd {
namespace {

constexpr std::string_view kAllocationName = "base:allocation";
constexpr std::string_view kDirtyName = "gemel:dirty";
// More queries than that are nobody's who knows what there is to ask for.
constexpr std::uint32_t kQueriesMax = 64;
constexpr std::size_t kReservedZeros = 124;

// Contexts that a query names; with `wildcards` a namespace alone names all in it.
std::uint32_t contexts_named(std::string_view query, bool wildcards) noexcept {
    if (query == kAllocationName || (wildcards && query == "base:")) return kAllocationContext;
    if (query == kDirtyName || (wildcards && query == "gemel:")) return kDirtyContext;
    return 0;
}

std::uint32_t contexts_of(const Export& exported) noexcept {
    return exported.has_dirty_context() ? kAllocationContext | kDirtyContext : kAllocationContext;
}

}  // namespace

std::uint16_t transmission_flags(const Agreement& agreement) noexcept {
    // Many connections are safe: they share one export, whose flush covers what any of them wrote.
    unsigned flags = kHasFlags | kSendFlush | kSendFua | kCanMultiConn | kSendCache;
    if (agreement.exported->is_read_only()) {
        flags |= kReadOnly;
    } else {
        flags |= kSendTrim | kSendWriteZeroes | kSendFastZero;
    }
    if (agreement.structured) flags |= kSendDf;
    if (agreement.extended && agreement.contexts != 0) flags |= kBlockStatusPayload;
    return static_cast<std::uint16_t>(flags);
}

void Negotiation::greet(ByteBuffer& replies) {
    WireWriter writer(replies);
    writer.put(kInitMagic);
    writer.put(kOptionMagic);
    writer.put(static_cast<std::uint16_t>(kFixedNewstyle | kNoZeroes));
}

std::size_t Negotiation::take(Bytes input, ByteBuffer& replies) {
    GEMEL_ASSERT(state_ == State::haggling);
    if (!has_flags_) {
        if (input.size() < kClientFlagsSize) return 0;
        take_flags(input);
        return kClientFlagsSize;
    }
    if (to_discard_ == 0) return take_option(input, replies);
    const std::uint64_t size = std::min<std::uint64_t>(to_discard_, input.size());
    to_discard_ -= size;
    if (to_discard_ == 0 && size > 0) {
        refuse(OptionReply::too_big, "the option's data are too long", replies);
    }
    return static_cast<std::size_t>(size);
}

void Negotiation::end(std::string_view reason) noexcept {
    state_ = State::ended;
    reason_ = reason;
}

void Negotiation::take_flags(Bytes input) noexcept {
    const auto flags = WireReader(input).get<std::uint32_t>();
    has_flags_ = true;
    no_zeroes_ = (flags & kNoZeroes) != 0;
    if ((flags & ~std::uint32_t{kFixedNewstyle | kNoZeroes}) != 0) end("unknown client flags");
}

std::size_t Negotiation::take_option(Bytes input, ByteBuffer& replies) {
    if (input.size() < kOptionHeaderSize) return 0;
    WireReader reader(input);
    const auto magic = reader.get<std::uint64_t>();
    const auto option = static_cast<Option>(reader.get<std::uint32_t>());
    const auto size = reader.get<std::uint32_t>();
    if (magic != kOptionMagic) {
        end("not an option");
        return kOptionHeaderSize;
    }
    option_ = option;
    if (size > kOptionDataMax) {
        if (option == Option::export_name) end("the export's name is too long");
        to_discard_ = size;
        return kOptionHeaderSize;
    }
    if (reader.remaining() < size) return 0;
    answer(reader.bytes(size), replies);
    return kOptionHeaderSize + size;
}

void Negotiation::answer(Bytes data, ByteBuffer& replies) {
    switch (option_) {
        case Option::export_name:
            return choose_by_name(as_text(data), replies);
        case Option::abort:
            reply(OptionReply::ack, {}, replies);
            return end({});
        case Option::list:
            return list(data, replies);
        case Option::starttls:
            if (!data.empty()) break;
            return refuse(OptionReply::policy, "no TLS here", replies);
        case Option::info:
        case Option::go:
            return inform(data, replies);
        case Option::structured_reply:
            return switch_structured(data, replies);
        case Option::extended_headers:
            return switch_extended(data, replies);
        case Option::list_meta_context:
        case Option::set_meta_context:
            return query_contexts(data, replies);
        default:
            return refuse(OptionReply::unsupported, "no such option here", replies);
    }
    refuse(OptionReply::invalid, "the option has no data", replies);
}

std::string Negotiation::name_of(const Export& exported) const {
    const std::string whole = exported.name();
    return short_names_ ? whole.substr(whole.rfind('/') + 1) : whole;
}

Export* Negotiation::find(std::string_view name) const noexcept {
    if (name.empty()) return exports_.size() == 1 ? exports_.front() : nullptr;
    for (Export* exported : exports_) {
        if (exported->name() == name || name_of(*exported) == name) return exported;
    }
    return nullptr;
}

Export* Negotiation::find(std::string_view name, ByteBuffer& replies) {
    Export* exported = find(name);
    if (exported == nullptr) {
        refuse(OptionReply::unknown, name.empty() ? "no default export" : "no such export",
               replies);
        return nullptr;
    }
    const std::string refusal = exported->refusal();
    if (refusal.empty()) return exported;
    refuse(OptionReply::policy, refusal, replies);
    return nullptr;
}

void Negotiation::choose_by_name(std::string_view name, ByteBuffer& replies) {
    if (agreement_.extended) return end("EXPORT_NAME after extended headers");
    Export* exported = find(name);
    if (exported == nullptr) return end("EXPORT_NAME of what is not exported");
    if (!exported->refusal().empty()) return end("EXPORT_NAME of what is refused");
    agreement_.exported = exported;
    if (contexts_of_ != exported) agreement_.contexts = 0;
    WireWriter writer(replies);
    writer.put(exported->size());
    writer.put(transmission_flags(agreement_));
    if (!no_zeroes_) writer.zeros(kReservedZeros);
    state_ = State::transmission;
}

void Negotiation::list(Bytes data, ByteBuffer& replies) {
    if (!data.empty()) return refuse(OptionReply::invalid, "LIST has no data", replies);
    for (const Export* exported : exports_) {
        // A client that looks at all that is listed takes a refusal for a failure of its own.
        if (!exported->refusal().empty()) continue;
        const std::string name = name_of(*exported);
        ByteBuffer entry;
        WireWriter writer(entry);
        writer.put(static_cast<std::uint32_t>(name.size()));
        writer.text(name);
        writer.text(exported->description());
        reply(OptionReply::server, entry, replies);
    }
    reply(OptionReply::ack, {}, replies);
}

void Negotiation::inform(Bytes data, ByteBuffer& replies) {
    WireReader reader(data);
    const std::string_view name = reader.text();
    const auto count = reader.get<std::uint16_t>();
    const Bytes wanted = reader.bytes(count * sizeof(std::uint16_t));
    if (!reader.at_end() || name.size() > kStringMax) {
        return refuse(OptionReply::invalid, "INFO and GO: lengths do not fit", replies);
    }
    Export* exported = find(name, replies);
    if (exported == nullptr) return;

    Agreement agreement = agreement_;
    agreement.exported = exported;
    if (contexts_of_ != exported) agreement.contexts = 0;
    const auto send = [&](Info type, auto fill) {
        ByteBuffer info;
        WireWriter writer(info);
        writer.put(type);
        fill(writer);
        reply(OptionReply::info, info, replies);
    };
    send(Info::exported, [&](WireWriter& writer) {
        writer.put(exported->size());
        writer.put(transmission_flags(agreement));
    });
    send(Info::block_size, [limits = exported->limits()](WireWriter& writer) {
        writer.put(limits.minimum_block);
        writer.put(limits.preferred_block);
        writer.put(limits.maximum_payload);
    });
    bool name_wanted = false, description_wanted = false;
    for (WireReader items(wanted); items.remaining() > 0;) {
        const auto item = static_cast<Info>(items.get<std::uint16_t>());
        name_wanted |= item == Info::name;
        description_wanted |= item == Info::description;
    }
    if (name_wanted) {
        send(Info::name, [&](WireWriter& writer) { writer.text(name_of(*exported)); });
    }
    if (description_wanted) {
        send(Info::description, [&](WireWriter& writer) { writer.text(exported->description()); });
    }
    reply(OptionReply::ack, {}, replies);
    if (option_ != Option::go) return;
    agreement_ = agreement;
    state_ = State::transmission;
}

void Negotiation::switch_structured(Bytes data, ByteBuffer& replies) {
    if (!data.empty()) {
        return refuse(OptionReply::invalid, "STRUCTURED_REPLY has no data", replies);
    }
    if (agreement_.extended) {
        return refuse(OptionReply::extended_headers_required, "headers are extended already",
                      replies);
    }
    agreement_.structured = true;
    reply(OptionReply::ack, {}, replies);
}

void Negotiation::switch_extended(Bytes data, ByteBuffer& replies) {
    if (!data.empty()) {
        return refuse(OptionReply::invalid, "EXTENDED_HEADERS has no data", replies);
    }
    agreement_.structured = agreement_.extended = true;
    reply(OptionReply::ack, {}, replies);
}

void Negotiation::query_contexts(Bytes data, ByteBuffer& replies) {
    const bool sets = option_ == Option::set_meta_context;
    if (sets) {  // what was chosen before is void, also when this fails
        agreement_.contexts = 0;
        contexts_of_ = nullptr;
    }
    if (!agreement_.structured) {
        return refuse(OptionReply::invalid, "contexts need structured replies", replies);
    }
    WireReader reader(data);
    const std::string_view name = reader.text();
    const auto count = reader.get<std::uint32_t>();
    std::uint32_t named = 0;
    for (std::uint32_t i = 0; i < count && i < kQueriesMax && reader.ok(); ++i) {
        const std::string_view query = reader.text();
        if (query.size() > kStringMax) {
            return refuse(OptionReply::invalid, "a query is too long", replies);
        }
        named |= contexts_named(query, !sets);
    }
    if (reader.ok() && count > kQueriesMax) {
        return refuse(OptionReply::too_big, "too many queries", replies);
    }
    if (!reader.at_end() || name.size() > kStringMax) {
        return refuse(OptionReply::invalid, "contexts: lengths do not fit", replies);
    }
    Export* exported = find(name, replies);
    if (exported == nullptr) return;
    if (count == 0 && !sets) named = ~std::uint32_t{0};
    const std::uint32_t contexts = named & contexts_of(*exported);
    if (sets) {
        agreement_.contexts = contexts;
        contexts_of_ = exported;
    }
    send_contexts(contexts, replies);
}

void Negotiation::send_contexts(std::uint32_t contexts, ByteBuffer& replies) {
    const bool sets = option_ == Option::set_meta_context;
    for (const std::uint32_t context : {kAllocationContext, kDirtyContext}) {
        if ((contexts & context) == 0) continue;
        ByteBuffer entry;
        WireWriter writer(entry);
        writer.put(sets ? context : std::uint32_t{0});
        writer.text(context == kAllocationContext ? kAllocationName : kDirtyName);
        reply(OptionReply::meta_context, entry, replies);
    }
    reply(OptionReply::ack, {}, replies);
}

void Negotiation::reply(OptionReply type, Bytes data, ByteBuffer& replies) const {
    WireWriter writer(replies);
    writer.put(kOptionReplyMagic);
    writer.put(option_);
    writer.put(type);
    writer.put(static_cast<std::uint32_t>(data.size()));
    writer.bytes(data);
}

void Negotiation::refuse(OptionReply type, std::string_view text, ByteBuffer& replies) const {
    reply(type, as_bytes(text.substr(0, kStringMax)), replies);
}

}  // namespace gemel::nbd
