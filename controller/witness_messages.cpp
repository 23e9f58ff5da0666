// SPDX-License-Identifier: Apache-2.0
#include "controller/witness_messages.hpp"

#include "engine/base/plain_name.hpp"

namespace gemel {

namespace {

constexpr std::size_t kMirrorNameSizeMax = 64;
constexpr std::size_t kTextSizeMax = 512;

RegisterQuestion begin_question(ByteReader& in) {
    RegisterQuestion question;
    question.number = in.get<std::uint64_t>();
    question.mirror = as_text(in.sized(kMirrorNameSizeMax));
    if (!is_plain_name(question.mirror, kMirrorNameSizeMax)) in.fail();
    return question;
}

}  // namespace

ByteBuffer encode_register_read(const RegisterQuestion& question) {
    ByteBuffer payload;
    ByteWriter out(payload);
    out.put(question.number);
    out.sized(question.mirror);
    return payload;
}

ByteBuffer encode_register_swap(const RegisterQuestion& question) {
    ByteBuffer payload = encode_register_read(question);
    ByteWriter out(payload);
    encode(question.proposal, out);
    return payload;
}

ByteBuffer encode_register_answer(const RegisterAnswer& answer) {
    ByteBuffer payload;
    ByteWriter out(payload);
    out.put(answer.number);
    out.put(answer.kind);
    encode(answer.current, out);
    out.sized(std::string_view(answer.text).substr(0, kTextSizeMax));
    return payload;
}

Result<RegisterQuestion> decode_register_read(Bytes payload) {
    ByteReader in(payload);
    RegisterQuestion question = begin_question(in);
    if (!in.at_end()) return Code::corrupt;
    return question;
}

Result<RegisterQuestion> decode_register_swap(Bytes payload) {
    ByteReader in(payload);
    RegisterQuestion question = begin_question(in);
    question.proposal = decode_register_proposal(in);
    if (!in.at_end()) return Code::corrupt;
    return question;
}

Result<RegisterAnswer> decode_register_answer(Bytes payload) {
    ByteReader in(payload);
    RegisterAnswer answer;
    answer.number = in.get<std::uint64_t>();
    answer.kind = in.get<RegisterAnswer::Kind>();
    answer.current = decode_register_value(in);
    answer.text = as_text(in.sized(kTextSizeMax));
    const bool known =
        answer.kind >= RegisterAnswer::Kind::read && answer.kind <= RegisterAnswer::Kind::refused;
    if (!in.at_end() || !known) return Code::corrupt;
    return answer;
}

}  // namespace gemel
