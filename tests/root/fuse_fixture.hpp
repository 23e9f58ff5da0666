// SPDX-License-Identifier: Apache-2.0
// A volume mounted for real, in a mount namespace of the test's own: a directory on the machine's
// file system, a mirror without a peer in role alone, a loop in a thread, FUSE over the directory.
// Tests make system calls on path() and look at bare_path(), the tree below the mount.
#pragma once

#include "engine/base/log.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace gemel {

// Leaves the machine's mounts alone from here on; once for a process, before any thread.
// False: not root.
bool enter_private_mounts();

// Runs `body` in a child with this user and group and no others; returns its exit status, or -1
// when it died otherwise. `body` must not use GoogleTest's assertions.
int run_as(unsigned uid, unsigned gid, const std::function<int()>& body);
// The same as root.
int run_in_child(const std::function<int()>& body);

class TestLog final : public LogSink {
   public:
    void log(LogLevel level, std::string_view text) noexcept override;
    // Lines of level warning and above so far.
    [[nodiscard]] std::string complaints() const;

   private:
    mutable std::string complaints_;
    mutable std::unique_ptr<class LogLock> lock_;

   public:
    TestLog();
    ~TestLog() override;
};

// A temporary directory; removed with everything in it at the end.
class TemporaryDirectory {
   public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

   private:
    std::string path_;
};

class MountedVolume {
   public:
    // Mounts BASE/volume, with BASE/run and BASE/state beside it.
    explicit MountedVolume(const std::string& base, bool read_only = false);
    // Unmounts and waits for everything in flight.
    ~MountedVolume();
    MountedVolume(const MountedVolume&) = delete;
    MountedVolume& operator=(const MountedVolume&) = delete;

    [[nodiscard]] std::string path(std::string_view name = {}) const;
    [[nodiscard]] std::string bare_path(std::string_view name = {}) const;
    // How many requests of this opcode the kernel has sent.
    [[nodiscard]] std::uint64_t received(std::uint32_t opcode);
    [[nodiscard]] std::size_t open_objects();
    // Waits until every file released has been released here too (the kernel tells it late).
    void wait_for_releases(std::size_t open);
    [[nodiscard]] TestLog& log() noexcept;
    void abort();
    // Dies without unmounting, as a killed process would: the mount stays, dead.
    void die();

   private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace gemel
