// SPDX-License-Identifier: Apache-2.0
// What is kept of a mirror's last verify, in the file `verify` of its state directory: for status,
// and for the schedule, which goes on after a restart. A damaged or missing one counts as none.
#pragma once

#include "controller/status_model.hpp"
#include "engine/io/vfs.hpp"

#include <optional>

namespace gemel {

struct VerifyRecord {
    // The schedule counts from here.
    WallTime counted_from;
    std::optional<VerifyResult> last;
};

// `directory` is the mirror's state directory. Both wait for the disk.
std::optional<VerifyRecord> read_verify_record(Vfs& vfs, Fd directory) noexcept;
// Atomically. Errors: errno; then the old one is there.
Status write_verify_record(Vfs& vfs, Fd directory, const VerifyRecord& record) noexcept;

}  // namespace gemel
