// SPDX-License-Identifier: Apache-2.0
// After a failed sync the page cache shows, as clean, what the disk has lost, until it forgets it
// (protocol.md 10). A copy that somebody starts to serve all the same has to show what it has.
#pragma once

#include "engine/io/vfs.hpp"
#include "engine/store/intent_log.hpp"
#include "engine/store/volume.hpp"

#include <memory>
#include <span>

namespace gemel {

// The file is from here on what its disk has of it. Behind its end too: what its last block held
// there, zeroed when it was cut off, may have been lost with that, and no comparison looks there;
// once the file grew it would be read. So it is cut off again, which takes no time from it. Others
// than files: nothing.
Status show_as_on_disk(Vfs& vfs, Volume& volume, ObjectId object) noexcept;

// Does that with every file whose content a live intent names: whatever was lost was touched since
// its last good sync, and its intent is not cleared before (protocol.md 11, 12). Errors: the first
// of a file that can't be looked at; the others are done all the same.
Status drop_suspect_cache(Vfs& vfs, const IntentLog& intents,
                          std::span<const std::unique_ptr<Volume>> volumes) noexcept;

}  // namespace gemel
