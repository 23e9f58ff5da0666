// SPDX-License-Identifier: Apache-2.0
#include "engine/io/late_release.hpp"

#include <fcntl.h>

namespace gemel {

Status unlink_with_late_release(Vfs& vfs, Fd directory, std::string_view name) noexcept {
    const Result<Fd> opened = vfs.open_at(directory, name, O_PATH, 0);
    ScopedFd held;
    if (opened.ok()) held = ScopedFd(vfs, opened.value());
    GEMEL_TRY(vfs.unlink(directory, name, false));
    if (!held.is_open()) return Status();
    const Result<FileStat> stat = vfs.stat(held.get());
    if (stat.ok() && is_released_later(stat.value())) vfs.close_later(held.release());
    return Status();
}

}  // namespace gemel
