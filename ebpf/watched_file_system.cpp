// SPDX-License-Identifier: Apache-2.0
#include "ebpf/watched_file_system.hpp"

#include "ebpf/tracker_api.bpf.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace gemel {

namespace {

// Types of handles: fs/xfs/xfs_export.h, include/linux/exportfs.h.
constexpr int kHandleInode32 = 1;     // number and generation, 32 bits each
constexpr int kHandleInode64 = 0x81;  // XFS: number of 64 bits; taken whatever it gives itself
constexpr int kHandleBtrfs = 0x4D;    // number, subvolume, generation

// One line of /proc/self/mountinfo: "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS ... - TYPE SOURCE
// SUPEROPTIONS" (proc(5)).
struct Mount {
    std::uint32_t device = 0;
    std::string type, options;
};

Result<std::string> mount_id_of(int directory) noexcept {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(directory));
    std::string word, value;
    while (info >> word >> value) {
        if (word == "mnt_id:") return value;
        std::getline(info, word);
    }
    return Status::from_errno(ENOENT);
}

Result<Mount> mount_of(int directory) noexcept {
    const Result<std::string> id = mount_id_of(directory);
    if (!id.ok()) return id.status();
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream fields(line);
        std::string own_id, parent, number, word;
        fields >> own_id >> parent >> number;
        if (own_id != id.value()) continue;
        const std::size_t colon = number.find(':');
        if (colon == std::string::npos) break;
        Mount mount;
        const unsigned long major = std::strtoul(number.c_str(), nullptr, 10);
        const unsigned long minor = std::strtoul(number.c_str() + colon + 1, nullptr, 10);
        mount.device = static_cast<std::uint32_t>(major << 20 | minor);
        while (fields >> word && word != "-") {
        }
        fields >> mount.type >> word >> mount.options;
        return mount;
    }
    return Status::from_errno(ENOENT);
}

bool has_option(const std::string& options, std::string_view option) noexcept {
    std::istringstream list(options);
    for (std::string one; std::getline(list, one, ',');) {
        if (one == option) return true;
    }
    return false;
}

// The number of the subvolume that a directory of Btrfs belongs to: part of its handle.
Result<std::uint64_t> subvolume_of(int directory) noexcept {
    alignas(file_handle) std::array<unsigned char, sizeof(file_handle) + MAX_HANDLE_SZ> space{};
    file_handle* handle = new (space.data()) file_handle{};
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    if (name_to_handle_at(directory, "", handle, &mount_id, AT_EMPTY_PATH) != 0) {
        return Status::from_errno(errno);
    }
    std::uint64_t subvolume = 0;
    if (handle->handle_type != kHandleBtrfs || handle->handle_bytes < 2 * sizeof subvolume) {
        return Status(Code::unsupported);
    }
    std::memcpy(&subvolume, handle->f_handle + sizeof subvolume, sizeof subvolume);
    return subvolume;
}

template <typename Value>
void append(FileHandle& handle, Value value) noexcept {
    std::memcpy(handle.bytes.data() + handle.size, &value, sizeof value);
    handle.size = static_cast<std::uint8_t>(handle.size + sizeof value);
}

}  // namespace

Result<WatchedFileSystem> WatchedFileSystem::of(int directory, std::string& why) noexcept {
    const Result<Mount> mount = mount_of(directory);
    if (!mount.ok()) return mount.status();
    WatchedFileSystem found;
    found.device_ = mount->device;
    if (mount->type == "ext4" || mount->type == "ext3" || mount->type == "ext2") {
        found.kind_ = TRACKER_EXT4;
    } else if (mount->type == "xfs") {
        found.kind_ = TRACKER_XFS;
    } else if (mount->type == "btrfs") {
        found.kind_ = TRACKER_BTRFS;
        const Result<std::uint64_t> subvolume = subvolume_of(directory);
        if (!subvolume.ok()) return subvolume.status();
        found.subvolume_ = subvolume.value();
    } else {
        why = "is on a file system of type " + mount->type + ", not on ext4, XFS or Btrfs";
        return Status(Code::unsupported);
    }
    // With these, stores through a mapping do not pass the points that see them.
    for (const char* option : {"data=journal", "nodelalloc", "dax", "dax=always", "dax=inode"}) {
        if (!has_option(mount->options, option)) continue;
        why = "is on a file system that is mounted with the option " + std::string(option);
        return Status(Code::unsupported);
    }
    return found;
}

FileHandle WatchedFileSystem::handle_of(std::uint64_t inode,
                                        std::uint32_t generation) const noexcept {
    FileHandle handle;
    switch (kind_) {
        case TRACKER_XFS:
            handle.type = kHandleInode64;
            append(handle, inode);
            break;
        case TRACKER_BTRFS:
            handle.type = kHandleBtrfs;
            append(handle, inode);
            append(handle, subvolume_);
            break;
        default:
            handle.type = kHandleInode32;
            append(handle, static_cast<std::uint32_t>(inode));
            break;
    }
    append(handle, generation);
    return handle;
}

}  // namespace gemel
