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

std::string_view verify_outcome_name(VerifyOutcome outcome) noexcept {
    switch (outcome) {
        case VerifyOutcome::equal:
            return "equal";
        case VerifyOutcome::differences:
            return "differences";
        case VerifyOutcome::mended:
            return "mended";
        case VerifyOutcome::stopped:
            return "stopped";
        case VerifyOutcome::failed:
            return "failed";
    }
    return "unknown";
}

std::optional<VerifyOutcome> parse_verify_outcome(std::string_view name) noexcept {
    for (const VerifyOutcome outcome :
         {VerifyOutcome::equal, VerifyOutcome::differences, VerifyOutcome::mended,
          VerifyOutcome::stopped, VerifyOutcome::failed}) {
        if (verify_outcome_name(outcome) == name) return outcome;
    }
    return std::nullopt;
}

std::optional<MirrorState> parse_mirror_state(std::string_view name) noexcept {
    for (const MirrorState state : kMirrorStates) {
        if (mirror_state_name(state) == name) return state;
    }
    return std::nullopt;
}

}  // namespace gemel
