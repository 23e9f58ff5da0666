// SPDX-License-Identifier: Apache-2.0
// What is to be done about a request of a client: reading its header, and every check that needs no
// volume. Nothing of a request reaches an Export that has not passed here.
#pragma once

#include "frontends/nbd/export.hpp"
#include "frontends/nbd/negotiation.hpp"
#include "frontends/nbd/protocol.hpp"

#include <optional>

namespace gemel::nbd {

struct RequestHeader {
    std::uint16_t flags = 0;
    Command command{};
    std::uint64_t cookie = 0, offset = 0, length = 0;
};

[[nodiscard]] constexpr std::size_t request_header_size(bool extended) noexcept {
    return extended ? kExtendedRequestHeaderSize : kRequestHeaderSize;
}
// Nothing: this is no request. Requires: `data` has request_header_size bytes.
std::optional<RequestHeader> read_request_header(Bytes data, bool extended) noexcept;

// What an export is at the moment.
struct ExportFacts {
    explicit ExportFacts(const Export& exported) noexcept
        : size(exported.size()), limits(exported.limits()), read_only(exported.is_read_only()) {}

    std::uint64_t size;
    ExportLimits limits;
    bool read_only;
};

struct RequestPlan {
    enum class Action : std::uint8_t {
        submit,      // to the export, as the fields below say
        look_again,  // block status with a payload of its own: plan_status() once it is here
        answer,      // with `error`, which may be none: there is nothing to do
        finish,      // the client has disconnected in good order
        close,       // it has broken the protocol in a way that has no answer
    };
    Action action = Action::answer;
    Error error = Error::none;
    const char* message = "";   // a sentence about `error`
    std::uint64_t payload = 0;  // bytes that follow the header; unless submitted, to be ignored

    ExportRequestKind kind{};
    std::uint64_t offset = 0, length = 0;
    std::uint16_t flags = 0;
    std::uint32_t contexts = 0;  // of block status
};

RequestPlan plan_request(const RequestHeader& header, const Agreement& agreement,
                         const ExportFacts& facts) noexcept;

// Block status for the contexts and the length in `payload`.
RequestPlan plan_status(const RequestHeader& header, Bytes payload, const Agreement& agreement,
                        const ExportFacts& facts) noexcept;
// The longest payload for plan_status.
inline constexpr std::size_t kStatusPayloadMax = 64;

// The protocol's error for an outcome of an Export.
Error error_of(Status status, const RequestPlan& plan) noexcept;

}  // namespace gemel::nbd
