// SPDX-License-Identifier: Apache-2.0
#include "controller/etcd_messages.hpp"

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <optional>

namespace gemel {

namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr std::size_t kSentenceSizeMax = 200;

std::string base64(Bytes bytes) {
    std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and a NUL
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
    text.resize(static_cast<std::size_t>(size));
    return text;
}

// Exactly what base64() makes; nothing for anything else.
std::optional<ByteBuffer> from_base64(std::string_view text) {
    if (text.empty()) return ByteBuffer();
    if (text.size() % 4 != 0) return std::nullopt;
    ByteBuffer bytes(text.size() / 4 * 3);
    const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
    if (size < 0) return std::nullopt;
    // The decoder takes blanks around it and counts padding as bytes.
    const auto padding = static_cast<std::size_t>(std::count(text.end() - 2, text.end(), '='));
    bytes.resize(static_cast<std::size_t>(size) - padding);
    if (base64(bytes) != text) return std::nullopt;
    return bytes;
}

const std::string* text_at(const Json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(key);
    return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

bool is_number(std::string_view text) {
    return !text.empty() && text.size() <= 20 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Of the answer to a read, alone or in a transaction; `etcd` is in the outermost header only.
bool parse_entry(const Json& answer, EtcdEntry& entry) {
    const auto entries = answer.find("kvs");
    if (entries == answer.end()) return true;  // the gateway leaves out what is empty
    if (!entries->is_array() || entries->size() > 1) return false;
    if (entries->empty()) return true;
    const Json& first = entries->front();
    if (!first.is_object()) return false;
    const std::string* value = text_at(first, "value");
    const auto bytes = from_base64(value == nullptr ? std::string_view() : *value);
    if (!bytes) return false;
    entry.is_there = true;
    entry.document = as_text(Bytes(*bytes));
    return true;
}

// The answer, with its cluster's id in `entry`; discarded when it is none.
Json parse_answer(std::string_view body, EtcdEntry& entry) {
    Json answer = Json::parse(body, nullptr, false);
    if (!answer.is_object() || !answer.contains("header")) return Json(Json::value_t::discarded);
    const std::string* id = text_at(answer["header"], "cluster_id");
    if (id == nullptr || !is_number(*id)) return Json(Json::value_t::discarded);
    entry.etcd = *id;
    return answer;
}

}  // namespace

std::string etcd_key(std::string_view cluster, std::string_view mirror) {
    return "/gemel/" + std::string(cluster) + '/' + std::string(mirror);
}

std::string etcd_document(const RegisterValue& value, std::string_view etcd) {
    GEMEL_ASSERT(!value.is_empty());
    ByteBuffer bytes;
    ByteWriter writer(bytes);
    encode(value, writer);
    return OrderedJson{{"about", describe(value)},
                       {"format", kFormat},
                       {"etcd", etcd},
                       {"register", base64(bytes)}}
        .dump();
}

Result<EtcdRegister> parse_etcd_document(std::string_view document) {
    const Json json = Json::parse(document, nullptr, false);
    if (!json.is_object()) return Code::corrupt;
    const auto format = json.find("format");
    if (format == json.end() || !format->is_number_integer()) return Code::corrupt;
    if (*format != kFormat) return Code::foreign;
    const std::string* etcd = text_at(json, "etcd");
    const std::string* text = text_at(json, "register");
    if (etcd == nullptr || !is_number(*etcd) || text == nullptr) return Code::corrupt;
    const auto bytes = from_base64(*text);
    if (!bytes) return Code::corrupt;
    ByteReader reader(*bytes);
    EtcdRegister result;
    result.value = decode_register_value(reader);
    result.etcd = *etcd;
    if (!reader.at_end() || result.value.is_empty()) return Code::corrupt;
    return result;
}

std::string etcd_range_body(std::string_view key) {
    return Json{{"key", base64(as_bytes(key))}}.dump();
}

std::string etcd_txn_body(std::string_view key, const EtcdEntry& seen, std::string_view document) {
    const std::string name = base64(as_bytes(key));
    Json compare{{"key", name}, {"result", "EQUAL"}};
    if (seen.is_there) {
        compare["target"] = "VALUE";
        compare["value"] = base64(as_bytes(seen.document));
    } else {
        compare["target"] = "VERSION";  // of a key that is not there
        compare["version"] = "0";
    }
    const Json put{{"request_put", {{"key", name}, {"value", base64(as_bytes(document))}}}};
    const Json read{{"request_range", {{"key", name}}}};
    return Json{{"compare", Json::array({std::move(compare)})},
                {"success", Json::array({put})},
                {"failure", Json::array({read})}}
        .dump();
}

Result<EtcdEntry> parse_etcd_range(std::string_view body) {
    EtcdEntry entry;
    const Json answer = parse_answer(body, entry);
    if (answer.is_discarded() || !parse_entry(answer, entry)) return Code::corrupt;
    return entry;
}

Result<EtcdTxnAnswer> parse_etcd_txn(std::string_view body) {
    EtcdTxnAnswer result;
    const Json answer = parse_answer(body, result.entry);
    if (answer.is_discarded()) return Code::corrupt;
    const auto succeeded = answer.find("succeeded");
    if (succeeded != answer.end() && !succeeded->is_boolean()) return Code::corrupt;
    result.succeeded = succeeded != answer.end() && succeeded->get<bool>();
    const auto responses = answer.find("responses");
    if (responses == answer.end() || !responses->is_array() || responses->size() != 1) {
        return Code::corrupt;
    }
    const Json& response = responses->front();
    const char* kind = result.succeeded ? "response_put" : "response_range";
    if (!response.is_object() || !response.contains(kind) || !response[kind].is_object()) {
        return Code::corrupt;
    }
    if (!result.succeeded && !parse_entry(response[kind], result.entry)) return Code::corrupt;
    return result;
}

std::string etcd_error(std::string_view body, int http_status) {
    const Json answer = Json::parse(body, nullptr, false);
    for (const char* key : {"error", "message"}) {
        const std::string* text = text_at(answer, key);
        if (text == nullptr || text->empty()) continue;
        std::string sentence = text->substr(0, kSentenceSizeMax);
        std::replace_if(
            sentence.begin(), sentence.end(),
            [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, ' ');
        return sentence;
    }
    return "HTTP status " + std::to_string(http_status);
}

}  // namespace gemel
