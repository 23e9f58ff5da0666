// SPDX-License-Identifier: Apache-2.0
// Outcomes of fallible calls. A Status is a small trivially copyable value: success, or what kind
// of failure it was together with the kernel's errno where there is one. Result<T> is a value or a
// Status. Neither allocates nor throws. Operating errors travel as Status; data from a peer or a
// disk is validated into a Status and never asserted on; our own bugs are GEMEL_ASSERT.
#pragma once

#include "engine/base/assert.hpp"

#include <cerrno>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gemel {

enum class Code : std::uint8_t {
    ok = 0,
    errno_failure,  // the kernel's answer; Status::error() is the errno
    corrupt,        // bytes on disk or on the wire fail their checksum or bounds
    foreign,        // belongs to another mirror, volume, cluster or format version
    refused,        // allowed by nobody in this state; nothing was done
    not_found,
    cancelled,     // the owner stopped before it could happen
    disconnected,  // the peer or the service is gone
    timed_out,
    unsupported,      // this kernel or file system lacks it
    conflict,         // somebody else changed it first (compare-and-swap lost)
    outcome_unknown,  // it may have happened; ask again before relying on either
    too_large,        // beyond a stated limit
};

// Short fixed name of a code, for logs: "corrupt", "refused", ...
std::string_view code_name(Code code) noexcept;

class [[nodiscard]] Status {
   public:
    constexpr Status() noexcept = default;
    constexpr explicit Status(Code code) noexcept : code_(code) {}

    // Requires: error > 0 (a positive errno value).
    static constexpr Status from_errno(int error) noexcept {
        Status status(Code::errno_failure);
        status.errno_ = static_cast<std::int16_t>(error);
        return status;
    }

    [[nodiscard]] constexpr bool ok() const noexcept { return code_ == Code::ok; }
    [[nodiscard]] constexpr Code code() const noexcept { return code_; }
    // The kernel's errno, 0 when the failure did not come from the kernel.
    [[nodiscard]] constexpr int error() const noexcept { return errno_; }
    // True when the kernel answered exactly this errno.
    [[nodiscard]] constexpr bool is_errno(int error) const noexcept {
        return code_ == Code::errno_failure && errno_ == error;
    }
    // The errno that a caller of a system call gets for this status: errno itself where known,
    // else the nearest one (corrupt and disconnected are EIO, refused is EROFS, ...); 0 if ok.
    [[nodiscard]] int as_errno() const noexcept;
    // "ok", "corrupt", "No space left on device".
    [[nodiscard]] std::string to_string() const;

    friend constexpr bool operator==(Status, Status) noexcept = default;

   private:
    Code code_ = Code::ok;
    std::int16_t errno_ = 0;
};
static_assert(std::is_trivially_copyable_v<Status> && sizeof(Status) == 4);

// A value or the reason there is none. Requires before value(): ok().
template <typename T>
class [[nodiscard]] Result {
   public:
    Result(T value) noexcept : has_value_(true) {  // NOLINT(google-explicit-constructor)
        new (&storage_) T(std::move(value));
    }
    Result(Status status) noexcept : status_(status) {  // NOLINT(google-explicit-constructor)
        GEMEL_ASSERT(!status.ok());
    }
    Result(Code code) noexcept : Result(Status(code)) {}  // NOLINT(google-explicit-constructor)
    Result(Result&& other) noexcept : status_(other.status_), has_value_(other.has_value_) {
        if (has_value_) new (&storage_) T(std::move(*other.pointer()));
    }
    Result& operator=(Result&& other) noexcept {
        if (this != &other) {
            this->~Result();
            new (this) Result(std::move(other));
        }
        return *this;
    }
    Result(const Result&) = delete;
    Result& operator=(const Result&) = delete;
    ~Result() {
        if (has_value_) pointer()->~T();
    }

    [[nodiscard]] bool ok() const noexcept { return has_value_; }
    [[nodiscard]] Status status() const noexcept { return status_; }
    [[nodiscard]] T& value() & noexcept {
        GEMEL_ASSERT(has_value_);
        return *pointer();
    }
    [[nodiscard]] const T& value() const& noexcept {
        GEMEL_ASSERT(has_value_);
        return *pointer();
    }
    [[nodiscard]] T&& value() && noexcept {
        GEMEL_ASSERT(has_value_);
        return std::move(*pointer());
    }
    T* operator->() noexcept { return &value(); }
    const T* operator->() const noexcept { return &value(); }

   private:
    T* pointer() noexcept { return std::launder(reinterpret_cast<T*>(&storage_)); }
    const T* pointer() const noexcept {
        return std::launder(reinterpret_cast<const T*>(&storage_));
    }

    Status status_;
    bool has_value_ = false;
    alignas(T) unsigned char storage_[sizeof(T)];
};

}  // namespace gemel

// Leaves the function with the Status of `expression` unless it is ok.
#define GEMEL_TRY(expression)                                                              \
    do {                                                                                   \
        if (const ::gemel::Status gemel_try_status = (expression); !gemel_try_status.ok()) \
            return gemel_try_status;                                                       \
    } while (false)
