// SPDX-License-Identifier: Apache-2.0
// Small pieces that system calls of this folder share: outcomes from errno, names as C strings.
#pragma once

#include "engine/base/assert.hpp"
#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <unistd.h>

namespace gemel {

inline Status last_error() noexcept { return Status::from_errno(errno); }

// Repeats a call that a signal interrupted before it did anything.
template <typename Call>
auto uninterrupted(Call call) noexcept {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

template <typename Call>
Status status_of(Call call) noexcept {
    return uninterrupted(call) == -1 ? last_error() : Status();
}

// Linux gives the number back whatever close(2) answers, so it must not be repeated.
inline void close_descriptor(int descriptor) noexcept {
    const bool foreign = ::close(descriptor) == -1 && errno == EBADF;
    GEMEL_ASSERT(!foreign);
}

// A name with the NUL that the kernel wants, without allocation. Both kinds have at most 255 bytes
// (NAME_MAX and XATTR_NAME_MAX of <linux/limits.h>).
class CName {
   public:
    enum class Kind { component, xattr };

    // status(): EINVAL for a NUL, or for a '/' in a component, which would lead out of the
    // directory.
    explicit CName(std::string_view name, Kind kind = Kind::component) noexcept {
        const bool component = kind == Kind::component;
        if (name.size() >= sizeof text_) {
            error_ = component ? ENAMETOOLONG : ERANGE;
        } else if (name.find('\0') != std::string_view::npos ||
                   (component && name.find('/') != std::string_view::npos)) {
            error_ = EINVAL;
        } else {
            std::memcpy(text_, name.data(), name.size());
            text_[name.size()] = '\0';
        }
    }
    [[nodiscard]] Status status() const noexcept {
        return error_ == 0 ? Status() : Status::from_errno(error_);
    }
    [[nodiscard]] const char* text() const noexcept { return text_; }

   private:
    char text_[256];
    int error_ = 0;
};

// "/proc/self/fd/N".
class ProcPath {
   public:
    explicit ProcPath(Fd file) noexcept {
        char* end = text_ + sizeof kPrefix - 1;
        std::memcpy(text_, kPrefix, sizeof kPrefix - 1);
        end = std::to_chars(end, text_ + sizeof text_ - 1, file.value).ptr;
        *end = '\0';
    }
    [[nodiscard]] const char* text() const noexcept { return text_; }

   private:
    static constexpr char kPrefix[] = "/proc/self/fd/";
    char text_[sizeof kPrefix + 12];
};

}  // namespace gemel
