// SPDX-License-Identifier: Apache-2.0
// What the path of a directory volume shows. From bottom to top: the bare directory; the guard, a
// read-only empty tmpfs that lies there as long as the directory belongs to the mirror; the FUSE
// mount of the present role. The bare tree is reached through a private bind mount of it, made
// before the cover, at RUN/tree/MIRROR/INDEX.
//
// All of it belongs to the mount namespace and outlives this object and the process: after a crash
// the dead FUSE mount answers errors (ENOTCONN) until prepare() of the next one replaces it. At no
// moment does the path show the bare directory (protocol.md 15).
//
// Not on the data path; calls may wait for the kernel's mount locks. One thread.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "frontends/fuse/file_users.hpp"
#include "frontends/fuse/mount_table.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

class VolumeMount {
   public:
    struct Options {
        std::string path;  // absolute: what applications use
        std::string mirror;
        std::uint16_t index = 0;      // of the volume in its mirror
        std::string run_directory;    // absolute
        std::string state_directory;  // absolute
    };

    // Requires: the log outlives it.
    VolumeMount(LogSink& log, Options options);
    // Leaves every mount as it is.
    ~VolumeMount() = default;
    VolumeMount(const VolumeMount&) = delete;
    VolumeMount& operator=(const VolumeMount&) = delete;

    // Every call that fails says why, as a sentence for people, in `why`.

    // Looks, and changes nothing. refused: missing, not a directory, a symbolic link, the state or
    // run directory inside it, mounts inside it, part of another mirror. unsupported: no trusted
    // extended attributes there.
    Status check(std::string& why) noexcept;
    // check(), then: the private bind exists, a guard covers the path, nothing of an earlier
    // process lies above it. Idempotent. Requires: no other process serves this volume (a live
    // FUSE mount of it would be aborted).
    Status prepare(std::string& why) noexcept;
    // Where the bare tree is reached, once prepare() has succeeded.
    [[nodiscard]] const std::string& tree_path() const noexcept { return tree_path_; }
    // Who had something below the path open when prepare() covered it; empty where it was covered
    // already. Their changes would bypass the mirror.
    [[nodiscard]] const std::vector<FileUser>& early_users() const noexcept { return early_; }

    // Mounts FUSE over the guard. Returns the connection's descriptor of /dev/fuse (O_NONBLOCK,
    // close-on-exec), which the caller owns: FuseConnection takes it over. Nobody can use the mount
    // before that connection answers. Requires: prepare() succeeded, none is mounted.
    Result<int> mount_fuse(bool read_only, std::string& why) noexcept;
    // Aborts the connection: when it returns, requests that wait have failed and every later one
    // will. The dead mount stays while somebody uses it (then unmount() takes it away), so that
    // its users can be found. ok when nothing is mounted.
    Status abort(std::string& why) noexcept;
    // Takes the FUSE mount away, aborting it if it lives, used or not: the path shows the guard.
    Status unmount(std::string& why) noexcept;
    // Gives the directory back: no FUSE mount, no guard, no private bind.
    Status uncover(std::string& why) noexcept;

    // Has the kernel write back what applications changed through mappings of `path`'s mount.
    // Waits for the answers to that, so not from the loop that gives them; done by a process of
    // its own, because a thread of the answering process would keep it from dying (README.md).
    static Status write_back(const std::string& path) noexcept;

    [[nodiscard]] bool is_fuse_mounted() const noexcept { return fuse_device_minor_ != 0; }
    // st_dev of the FUSE mount is makedev(0, this); 0 where none is mounted. Also the name of the
    // connection in /sys/fs/fuse/connections.
    [[nodiscard]] std::uint32_t fuse_device_minor() const noexcept { return fuse_device_minor_; }

   private:
    [[nodiscard]] std::string guard_source() const { return "gemel-guard:" + options_.mirror; }
    [[nodiscard]] std::string fuse_source() const { return "gemel:" + options_.mirror; }
    [[nodiscard]] bool is_guard(const MountEntry& entry) const noexcept;
    [[nodiscard]] bool is_fuse(const MountEntry& entry) const noexcept;
    // The topmost layer of the path is ours (`layer` says whether it is the FUSE mount).
    enum class Top : std::uint8_t { other, guard, fuse };
    Result<Top> top(std::string& why) noexcept;
    Status resolve_path(std::string& why) noexcept;
    Status check_place(const std::vector<MountEntry>& mounts, std::string& why) noexcept;
    Status check_directory(std::string& why) noexcept;
    Status prepare_tree(bool covered, std::string& why) noexcept;
    Status make_private_root(std::string& why) noexcept;
    Status attach_tree(bool covered, std::string& why) noexcept;
    [[nodiscard]] bool tree_is_path(bool covered) noexcept;
    Status cover(std::string& why) noexcept;
    void raise_read_ahead() noexcept;
    Status detach_fuse(std::string& why) noexcept;
    int open_below() noexcept;
    Status failed(const std::string& what, std::string& why) const;

    LogSink& log_;
    Options options_;
    std::string path_;       // options_.path without symbolic links
    std::string tree_root_;  // RUN/tree
    std::string tree_path_;
    std::vector<FileUser> early_;
    std::uint32_t fuse_device_minor_ = 0;
    bool is_tree_known_ = false;  // the bind at tree_path_ is of this volume's directory
};

}  // namespace gemel
