// SPDX-License-Identifier: Apache-2.0
// What tests of registers are made of.
#pragma once

#include "controller/register_value.hpp"

#include <cstdint>

namespace gemel {

inline Uuid uuid(std::uint8_t n) {
    Uuid id;
    id.bytes[0] = n;
    return id;
}

// By a node that takes `expected` for what the register holds.
inline RegisterProposal proposal(const RegisterValue& expected, const RegisterValue& next) {
    return {expected.epoch, expected.token, false, next};
}

}  // namespace gemel
