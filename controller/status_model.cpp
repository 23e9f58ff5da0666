// SPDX-License-Identifier: Apache-2.0
#include "controller/status_model.hpp"

namespace gemel {

std::string_view mirror_state_name(MirrorState state) noexcept {
    switch (state) {
        case MirrorState::stopped:
            return "stopped";
        case MirrorState::wait:
            return "wait";
        case MirrorState::alone:
            return "alone";
        case MirrorState::primary:
            return "primary";
        case MirrorState::secondary:
            return "secondary";
        case MirrorState::resync:
            return "resync";
    }
    return "unknown";
}

std::optional<MirrorState> parse_mirror_state(std::string_view name) noexcept {
    for (const MirrorState state : kMirrorStates) {
        if (mirror_state_name(state) == name) return state;
    }
    return std::nullopt;
}

}  // namespace gemel
