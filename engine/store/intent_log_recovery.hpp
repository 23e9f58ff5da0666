// SPDX-License-Identifier: Apache-2.0
// Opening the intent log: makes a new one, or finds which file is the newest, reads its live keys,
// and writes them as a snapshot to the other file. So a log is never appended to behind a tail that
// a crash has torn. Waits for the disk; done once, before the loop serves anything.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "engine/io/vfs.hpp"
#include "engine/store/intent_log_table.hpp"

#include <array>
#include <cstdint>

namespace gemel {

struct OpenIntentFiles {
    std::array<ScopedFd, 2> files;
    std::size_t current = 0;        // index of the file that is appended to
    std::uint64_t generation = 0;   // of its content
    std::uint32_t block_count = 0;  // next block to append
    std::uint32_t snapshot_count = 0;
    IntentTable keys;  // all durable, round 0
};

// Errors as IntentLog::open names them; the log says which file and block.
Result<OpenIntentFiles> open_intent_files(Vfs& vfs, LogSink& log, Fd directory,
                                          const Uuid& owner) noexcept;

}  // namespace gemel
