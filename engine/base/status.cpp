// SPDX-License-Identifier: Apache-2.0
#include "engine/base/status.hpp"

#include <cstring>

namespace gemel {

std::string_view code_name(Code code) noexcept {
    switch (code) {
        case Code::ok:
            return "ok";
        case Code::errno_failure:
            return "system error";
        case Code::corrupt:
            return "corrupt";
        case Code::foreign:
            return "foreign";
        case Code::refused:
            return "refused";
        case Code::not_found:
            return "not found";
        case Code::cancelled:
            return "cancelled";
        case Code::disconnected:
            return "disconnected";
        case Code::timed_out:
            return "timed out";
        case Code::unsupported:
            return "unsupported";
        case Code::conflict:
            return "conflict";
        case Code::outcome_unknown:
            return "outcome unknown";
        case Code::too_large:
            return "too large";
    }
    return "invalid";
}

int Status::as_errno() const noexcept {
    switch (code_) {
        case Code::ok:
            return 0;
        case Code::errno_failure:
            return errno_;
        case Code::refused:
            return EROFS;
        case Code::not_found:
            return ENOENT;
        case Code::unsupported:
            return EOPNOTSUPP;
        case Code::cancelled:
            return EINTR;
        case Code::timed_out:
            return ETIMEDOUT;
        case Code::conflict:
            return EBUSY;
        case Code::too_large:
            return EFBIG;
        case Code::corrupt:
        case Code::foreign:
        case Code::disconnected:
        case Code::outcome_unknown:
            return EIO;
    }
    return EIO;
}

std::string Status::to_string() const {
    if (code_ != Code::errno_failure) return std::string(code_name(code_));
    char text[128];
    return strerror_r(errno_, text, sizeof text);
}

}  // namespace gemel
