// SPDX-License-Identifier: Apache-2.0
// One FUSE connection: one mount, serving one role of one epoch. A role change ends it (the kernel
// aborts it, see VolumeMount) and a new mount gets a new one with empty caches.
//
// Serving: names, attributes, links and pages may stay in the kernel's caches for ever, because
// every change of the volume comes through this connection; data are written through, never back.
// Secondary: nothing is kept, every change is refused with EROFS.
//
// FUSE node ids are object ids, so a connection keeps no table of nodes; it counts opens, because
// an object that loses its last name while open lives on as an orphan until its last release.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "engine/io/loop.hpp"
#include "frontends/fuse/target.hpp"
#include "frontends/fuse/transport.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

namespace gemel {

class FuseConnection {
   public:
    struct Options {
        std::uint16_t volume = 0;  // index in the mirror's configuration
        bool read_only = false;    // the secondary's
    };

    // Requires: loop, log and target outlive it.
    FuseConnection(Loop& loop, LogSink& log, FuseTarget& target,
                   std::unique_ptr<FuseTransport> transport, const Options& options) noexcept;
    // The usual way: over the device descriptor that VolumeMount::mount_fuse gave, taken over here.
    FuseConnection(Loop& loop, LogSink& log, FuseTarget& target, int device,
                   const Options& options) noexcept;
    // Requires: never started, or `ended` has run.
    ~FuseConnection();
    FuseConnection(const FuseConnection&) = delete;
    FuseConnection& operator=(const FuseConnection&) = delete;

    // Begins to answer. `ended` runs once, from the loop, when the connection is over (aborted,
    // unmounted, failed, or close() was called) and nothing of it is in flight any more; only then
    // may it be destroyed (not inside the callback). disconnected: the kernel ended it; cancelled:
    // close() did; else what failed.
    void start(std::function<void(Status)> ended) noexcept;
    // Stops reading requests. Those in progress are still answered; call VolumeMount::abort first
    // where callers must get errors. Requires: started.
    void close() noexcept;

    // Requests received so far, by opcode (fuse_abi.hpp), and those not yet answered.
    [[nodiscard]] std::uint64_t received(std::uint32_t opcode) const noexcept;
    [[nodiscard]] std::size_t in_progress() const noexcept;
    [[nodiscard]] std::size_t open_objects() const noexcept;

   private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace gemel
