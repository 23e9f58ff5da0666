// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/messages.hpp"

#include <algorithm>

namespace gemel {

namespace {

constexpr std::size_t kKeySize = 8 + 4 + 2;

// It ends in logs and tables: nothing that moves a terminal's cursor.
std::string printable(Bytes payload) {
    std::string text(as_text(payload));
    std::replace_if(
        text.begin(), text.end(),
        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    return text;
}

}  // namespace

void encode_intents(std::span<const IntentKey> keys, ByteBuffer& payload) {
    ByteWriter out(payload);
    for (const IntentKey& key : keys) {
        out.put(key.object);
        out.put(key.region);
        out.put(key.volume);
    }
}

Status decode_intents(Bytes payload, std::vector<IntentKey>& keys) noexcept {
    if (payload.size() % kKeySize != 0) return Status(Code::corrupt);
    ByteReader in(payload);
    while (!in.at_end()) {
        IntentKey key;
        key.object = in.object_id();
        key.region = in.get<std::uint32_t>();
        key.volume = in.get<std::uint16_t>();
        if (!is_intent_key_valid(key)) return Status(Code::corrupt);
        keys.push_back(key);
    }
    return Status();
}

void encode_number(std::uint64_t number, ByteBuffer& payload) { ByteWriter(payload).put(number); }

Result<std::uint64_t> decode_number(Bytes payload) noexcept {
    ByteReader in(payload);
    const auto number = in.get<std::uint64_t>();
    if (!in.at_end()) return Code::corrupt;
    return number;
}

void encode_sync(const SyncRequest& request, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(request.token);
    out.put(request.volume);
    out.put(request.object);
    out.put(static_cast<std::uint8_t>(request.data_only));
}

Result<SyncRequest> decode_sync(Bytes payload) noexcept {
    ByteReader in(payload);
    SyncRequest request;
    request.token = in.get<std::uint64_t>();
    request.volume = in.get<std::uint16_t>();
    request.object = in.object_id();
    const auto data_only = in.get<std::uint8_t>();
    if (!in.at_end() || data_only > 1) return Code::corrupt;
    request.data_only = data_only == 1;
    return request;
}

void encode_size(const SizeMessage& message, ByteBuffer& payload) {
    ByteWriter out(payload);
    out.put(message.volume);
    out.put(message.size);
    out.sized(std::string_view(message.refusal).substr(0, kFailureTextMax));
}

Result<SizeMessage> decode_size(Bytes payload) noexcept {
    constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 50;
    ByteReader in(payload);
    SizeMessage message;
    message.volume = in.get<std::uint16_t>();
    message.size = in.get<std::uint64_t>();
    message.refusal = printable(in.sized(kFailureTextMax));
    if (!in.at_end() || message.size == 0 || message.size > kSizeMax) return Code::corrupt;
    return message;
}

void encode_failure(std::string_view text, ByteBuffer& payload) {
    ByteWriter(payload).bytes(as_bytes(text.substr(0, kFailureTextMax)));
}

Result<std::string> decode_failure(Bytes payload) noexcept {
    if (payload.size() > kFailureTextMax) return Code::corrupt;
    return printable(payload);
}

}  // namespace gemel
