// SPDX-License-Identifier: Apache-2.0
// Reads and writes that are not satisfied with less: the calls of a Vfs may come back short.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/io/vfs.hpp"

namespace gemel {

// Reads until `buffer` is full or the file ends; returns how much. On an error the first part of
// `buffer` may be filled.
[[nodiscard]] Result<std::size_t> read_fully(Vfs& vfs, Fd file, MutableBytes buffer,
                                             std::uint64_t offset) noexcept;

// Writes all of `data`, or fails with any part of it written. EIO where nothing more is taken.
[[nodiscard]] Status write_fully(Vfs& vfs, Fd file, Bytes data, std::uint64_t offset) noexcept;

}  // namespace gemel
