// SPDX-License-Identifier: Apache-2.0
// The engine's ChangeSource on a kernel: loads the programs of tracker.bpf.c, pins them and their
// maps in a directory of a BPF file system, so that they go on recording when this process ends,
// and adopts what an earlier one has left there. docs/tracking.md.
//
// Adopted is only what the same programs have recorded since this boot; anything else is replaced,
// and watched_since() begins anew. The changes of the calling process itself are not recorded; so
// there is one tracker in a process, and one process for a pin directory.
#pragma once

#include "engine/base/log.hpp"
#include "engine/mirror/change_source.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace gemel {

class ChangeTracker : public ChangeSource {
   public:
    struct Options {
        // Made if missing; a BPF file system is mounted on it unless it is on one.
        std::string pin_directory;
        std::uint64_t memory_bytes = 32 * kMiB;  // bound of all maps
        Uuid boot;
        WallTime now;
        // For tests: attach points to leave out, by the names of tracker.bpf.c.
        std::vector<std::string> without;
    };

    // Errors: unsupported (this build or this kernel can't; `why` says what is missing), the
    // kernel's. What the verifier said goes to the log. Requires: `log` outlives it.
    static Result<std::unique_ptr<ChangeTracker>> open(LogSink& log, const Options& options,
                                                       std::string& why) noexcept;
    // Ends the tracking and removes what is pinned: for who does not want it any more.
    static void remove(const std::string& pin_directory) noexcept;

    // True: programs and record of an earlier process were taken over.
    [[nodiscard]] virtual bool was_adopted() const noexcept = 0;
};

}  // namespace gemel
