// SPDX-License-Identifier: Apache-2.0
// Between the kernel's structs and the engine's: reading a request's body, filling attributes,
// packing directory records. Requests come from the kernel, yet nothing here trusts their lengths.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/store/directory_volume.hpp"
#include "frontends/fuse/fuse_abi.hpp"

#include <concepts>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace gemel::fuse {

// Reads what follows a request's header. After the first short read it stays failed.
class Body {
   public:
    Body() noexcept = default;
    explicit Body(Bytes data) noexcept : data_(data) {}

    // The next fixed struct; zeros after a failure.
    template <typename T>
        requires std::is_trivially_copyable_v<T> T take()
    noexcept {
        T value{};
        take_into(value, sizeof value);
        return value;
    }
    // The first `size` bytes of a struct of which older protocols send less.
    template <typename T>
    void take_into(T& value, std::size_t size) noexcept {
        GEMEL_ASSERT(size <= sizeof value);
        if (size > data_.size()) failed_ = true;
        if (failed_) return;
        std::memcpy(&value, data_.data(), size);
        data_ = data_.subspan(size);
    }
    // A string ended by a NUL, which is consumed too. May be empty.
    std::string_view string() noexcept;
    // Exactly `size` bytes.
    Bytes bytes(std::size_t size) noexcept;
    [[nodiscard]] Bytes rest() const noexcept { return data_; }
    [[nodiscard]] bool ok() const noexcept { return !failed_; }

   private:
    Bytes data_;
    bool failed_ = false;
};

// 0, or the errno for a name that is no component: ENAMETOOLONG above 255 bytes, ENOENT when
// empty, EINVAL for ".", ".." and what holds a '/'.
int name_error(std::string_view name) noexcept;

// 32-bit device numbers of the protocol (new_encode_dev of the kernel) and makedev(3)'s.
std::uint32_t encode_device(std::uint64_t device) noexcept;
std::uint64_t decode_device(std::uint32_t device) noexcept;

// What applications see of an object.
void fill_attr(const Attributes& from, Attr& to) noexcept;
void fill_statx(const Attributes& from, Statx& to) noexcept;
void fill_statfs(const FileSystemStat& from, StatfsOut& to) noexcept;

// Mode bits without those that a write by somebody without CAP_FSETID takes away: S_ISUID, and
// S_ISGID where the group may execute (setattr_should_drop_suidgid of the kernel).
std::uint32_t without_set_id(std::uint32_t mode) noexcept;

// Fills a READDIR or READDIRPLUS answer record by record.
class DirentWriter {
   public:
    // `plus`: records of READDIRPLUS.
    DirentWriter(MutableBytes space, bool plus) noexcept : space_(space), plus_(plus) {}

    // False: no room, nothing was added. `entry` is used in READDIRPLUS only; its nodeid 0 keeps
    // the kernel from taking the name for looked up. `next`: the position behind this record.
    bool add(std::string_view name, std::uint64_t inode, std::uint32_t mode, std::uint64_t next,
             const EntryOut& entry) noexcept;
    [[nodiscard]] Bytes filled() const noexcept { return space_.first(size_); }
    // Room left for records of short names; a bound for how many to ask for.
    [[nodiscard]] std::size_t capacity_estimate() const noexcept;

   private:
    MutableBytes space_;
    bool plus_;
    std::size_t size_ = 0;
};

}  // namespace gemel::fuse
