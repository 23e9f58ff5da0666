// SPDX-License-Identifier: Apache-2.0
// What a node and a witness say to each other over an authenticated session (docs/wire.md): frames
// register_read, register_swap and their register_answer, paired by a number of the asker's.
#pragma once

#include "controller/arbiter.hpp"

#include <string>

namespace gemel {

struct RegisterQuestion {
    std::uint64_t number = 0;
    std::string mirror;
    RegisterProposal proposal;  // of a swap
};
struct RegisterAnswer {
    enum class Kind : std::uint8_t { read = 1, won = 2, lost = 3, refused = 4 };
    std::uint64_t number = 0;
    Kind kind = Kind::refused;
    RegisterValue current;  // unless refused
    std::string text;       // why refused
};

[[nodiscard]] ByteBuffer encode_register_read(const RegisterQuestion& question);
[[nodiscard]] ByteBuffer encode_register_swap(const RegisterQuestion& question);
[[nodiscard]] ByteBuffer encode_register_answer(const RegisterAnswer& answer);
// corrupt: not something that is encoded above.
[[nodiscard]] Result<RegisterQuestion> decode_register_read(Bytes payload);
[[nodiscard]] Result<RegisterQuestion> decode_register_swap(Bytes payload);
[[nodiscard]] Result<RegisterAnswer> decode_register_answer(Bytes payload);

}  // namespace gemel
