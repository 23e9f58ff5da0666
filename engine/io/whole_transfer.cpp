// SPDX-License-Identifier: Apache-2.0
#include "engine/io/whole_transfer.hpp"

#include <cerrno>

namespace gemel {

Result<std::size_t> read_fully(Vfs& vfs, Fd file, MutableBytes buffer,
                               std::uint64_t offset) noexcept {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const Result<std::size_t> count = vfs.pread(file, buffer.subspan(done), offset + done);
        if (!count.ok()) return count.status();
        if (count.value() == 0) break;
        done += count.value();
    }
    return done;
}

Status write_fully(Vfs& vfs, Fd file, Bytes data, std::uint64_t offset) noexcept {
    std::size_t done = 0;
    while (done < data.size()) {
        const Result<std::size_t> count = vfs.pwrite(file, data.subspan(done), offset + done);
        if (!count.ok()) return count.status();
        if (count.value() == 0) return Status::from_errno(EIO);
        done += count.value();
    }
    return Status();
}

}  // namespace gemel
