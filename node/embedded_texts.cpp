// SPDX-License-Identifier: Apache-2.0
// The words of libgemel's enumerations.
#include <gemel/mirror.hpp>

namespace libgemel {

const char* error_text(Error error) noexcept {
    switch (error) {
        case Error::none:
            return "done";
        case Error::invalid_argument:
            return "beyond the volume's end, too large, or an option that makes no sense";
        case Error::not_serving:
            return "the node does not serve the mirror";
        case Error::outcome_unknown:
            return "the node ceased to serve meanwhile: it may have happened or not";
        case Error::no_space:
            return "no space left below the volume";
        case Error::io:
            return "the disk failed";
        case Error::unsupported:
            return "not supported by the file system below the volume";
        case Error::refused:
            return "not possible in this state";
    }
    return "unknown error";
}

const char* state_name(State state) noexcept {
    switch (state) {
        case State::stopped:
            return "stopped";
        case State::wait:
            return "wait";
        case State::alone:
            return "alone";
        case State::primary:
            return "primary";
        case State::secondary:
            return "secondary";
        case State::resync:
            return "resync";
    }
    return "unknown";
}

}  // namespace libgemel
