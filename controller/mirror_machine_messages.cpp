// SPDX-License-Identifier: Apache-2.0
#include "controller/mirror_machine_messages.hpp"

namespace gemel {

namespace {

constexpr std::uint8_t kHelloFormat = 1;
constexpr std::uint8_t kControlFormat = 1;

void encode_histories(const std::vector<Uuid>& histories, ByteWriter& writer) {
    GEMEL_ASSERT(histories.size() <= Superblock::kHistoriesMax);
    writer.put(static_cast<std::uint8_t>(histories.size()));
    for (const Uuid& history : histories) writer.put(history);
}

std::vector<Uuid> decode_histories(ByteReader& reader) {
    std::vector<Uuid> histories;
    const auto count = reader.get<std::uint8_t>();
    if (count > Superblock::kHistoriesMax) reader.fail();
    for (std::uint8_t i = 0; reader.ok() && i < count; ++i) {
        histories.push_back(reader.uuid());
        if (histories.back().is_none()) reader.fail();
    }
    return histories;
}

enum HelloFlag : std::uint16_t {
    kServing = 1,
    kFailed = 2,
    kConsistent = 4,
    kEmpty = 8,
    kMustCompare = 16,
    kAcceptsOverwrite = 32,
    kUnrecorded = 64,
    kGivesWay = 128,
    kAllFlags = 255,
};

std::uint16_t flags_of(const MirrorHello& hello) noexcept {
    unsigned flags = 0;
    if (hello.is_serving) flags |= kServing;
    if (hello.is_failed) flags |= kFailed;
    if (hello.is_consistent) flags |= kConsistent;
    if (hello.is_empty) flags |= kEmpty;
    if (hello.must_compare) flags |= kMustCompare;
    if (hello.accepts_overwrite) flags |= kAcceptsOverwrite;
    if (hello.is_unrecorded) flags |= kUnrecorded;
    if (hello.gives_way) flags |= kGivesWay;
    return static_cast<std::uint16_t>(flags);
}

void set_flags(MirrorHello& hello, unsigned flags) noexcept {
    hello.is_serving = (flags & kServing) != 0;
    hello.is_failed = (flags & kFailed) != 0;
    hello.is_consistent = (flags & kConsistent) != 0;
    hello.is_empty = (flags & kEmpty) != 0;
    hello.must_compare = (flags & kMustCompare) != 0;
    hello.accepts_overwrite = (flags & kAcceptsOverwrite) != 0;
    hello.is_unrecorded = (flags & kUnrecorded) != 0;
    hello.gives_way = (flags & kGivesWay) != 0;
}

bool is_known(std::uint8_t kind) noexcept {
    return (kind >= std::uint8_t(ControlKind::follow) &&
            kind <= std::uint8_t(ControlKind::swap_request)) ||
           (kind >= std::uint8_t(ControlKind::register_read) &&
            kind <= std::uint8_t(ControlKind::register_answer));
}

}  // namespace

ByteBuffer encode(const MirrorHello& hello) {
    GEMEL_ASSERT(hello.config.size() <= kConfigListingSizeMax);
    ByteBuffer buffer;
    ByteWriter writer(buffer);
    writer.put(kHelloFormat);
    writer.put(hello.state);
    writer.put(flags_of(hello));
    writer.put(hello.epoch);
    encode(hello.known, writer);
    encode(hello.incarnation, writer);
    encode_histories(hello.histories, writer);
    writer.sized(Bytes(hello.config));
    return buffer;
}

Result<MirrorHello> decode_mirror_hello(Bytes payload) {
    ByteReader reader(payload);
    MirrorHello hello;
    if (reader.get<std::uint8_t>() != kHelloFormat) return Code::foreign;
    const auto state = reader.get<std::uint8_t>();
    if (state > static_cast<std::uint8_t>(MirrorState::resync)) reader.fail();
    const auto flags = reader.get<std::uint16_t>();
    if (flags > kAllFlags) reader.fail();
    hello.epoch = reader.get<std::uint64_t>();
    hello.known = decode_register_value(reader);
    hello.incarnation = decode_incarnation(reader);
    hello.histories = decode_histories(reader);
    const Bytes config = reader.sized(kConfigListingSizeMax);
    if (!reader.at_end()) return Code::corrupt;
    hello.state = static_cast<MirrorState>(state);
    set_flags(hello, flags);
    hello.config.assign(config.begin(), config.end());
    return hello;
}

ByteBuffer encode(const ControlMessage& message) {
    ByteBuffer buffer;
    ByteWriter writer(buffer);
    writer.put(kControlFormat);
    writer.put(message.kind);
    writer.put(static_cast<std::uint8_t>(message.flag));
    writer.put(message.number);
    encode(message.value, writer);
    encode(message.incarnation, writer);
    encode_histories(message.histories, writer);
    writer.sized(std::string_view(message.text).substr(0, kSentenceSizeMax));
    if (message.kind == ControlKind::register_propose) encode(message.proposal, writer);
    return buffer;
}

Result<ControlMessage> decode_control(Bytes payload) {
    ByteReader reader(payload);
    ControlMessage message;
    if (reader.get<std::uint8_t>() != kControlFormat) return Code::foreign;
    const auto kind = reader.get<std::uint8_t>();
    if (!is_known(kind)) reader.fail();
    message.kind = static_cast<ControlKind>(kind);
    const auto flag = reader.get<std::uint8_t>();
    if (flag > 1) reader.fail();
    message.flag = flag == 1;
    message.number = reader.get<std::uint64_t>();
    message.value = decode_register_value(reader);
    message.incarnation = decode_incarnation(reader);
    message.histories = decode_histories(reader);
    message.text = as_text(reader.sized(kSentenceSizeMax));
    if (reader.ok() && message.kind == ControlKind::register_propose) {
        message.proposal = decode_register_proposal(reader);
    }
    if (!reader.at_end()) return Code::corrupt;
    return message;
}

}  // namespace gemel
