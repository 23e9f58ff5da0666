// SPDX-License-Identifier: Apache-2.0
// What a file system has allocated but never written, by FS_IOC_FIEMAP
// (Documentation/filesystems/fiemap.rst of Linux).
#include "engine/io/uring/posix_call.hpp"
#include "engine/io/uring/posix_vfs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

namespace gemel {
namespace {

constexpr std::uint32_t kExtentsMax = 32;

// struct fiemap ends in a flexible array; this has the room.
struct alignas(fiemap) ExtentMap {
    std::byte room[sizeof(fiemap) + kExtentsMax * sizeof(fiemap_extent)] = {};

    fiemap* raw() noexcept { return reinterpret_cast<fiemap*>(room); }
};

// Empty also where the file system does not tell.
std::vector<FileRange> find_unwritten(Fd file, FileRange range) noexcept {
    std::vector<FileRange> found;
    bool is_last = false;
    for (std::uint64_t position = range.begin; position < range.end && !is_last;) {
        ExtentMap map;
        fiemap& extents = *map.raw();
        extents.fm_start = position;
        extents.fm_length = range.end - position;
        extents.fm_extent_count = kExtentsMax;
        if (::ioctl(file.value, FS_IOC_FIEMAP, &extents) == -1) return {};
        if (extents.fm_mapped_extents == 0) break;
        for (std::uint32_t i = 0; i < std::min(extents.fm_mapped_extents, kExtentsMax); ++i) {
            const fiemap_extent& extent = extents.fm_extents[i];
            position = extent.fe_logical + extent.fe_length;
            is_last = (extent.fe_flags & FIEMAP_EXTENT_LAST) != 0;
            if ((extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) == 0) continue;
            const FileRange one{std::max<std::uint64_t>(extent.fe_logical, range.begin),
                                std::min(position, range.end)};
            if (one.begin < one.end) found.push_back(one);
        }
    }
    return found;
}

}  // namespace

std::vector<FileRange> PosixVfs::unwritten(Fd file, FileRange range) noexcept {
    if (find_unwritten(file, range).empty()) return {};
    // By a descriptor of its own: this call reports, once for a descriptor, that writing has
    // failed, which must be left to the sync of whoever promised the data to somebody.
    const int own = ::open(ProcPath(file).text(), O_RDONLY | O_CLOEXEC);
    if (own == -1) return {};
    constexpr unsigned kAndWait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    const Status written = status_of([&] {
        return ::sync_file_range(own, static_cast<off_t>(range.begin),
                                 static_cast<off_t>(range.end - range.begin), kAndWait);
    });
    close_descriptor(own);
    return written.ok() ? find_unwritten(file, range) : std::vector<FileRange>();
}

}  // namespace gemel
