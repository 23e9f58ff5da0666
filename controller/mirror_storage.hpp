// SPDX-License-Identifier: Apache-2.0
// What one mirror keeps on one node, opened together and checked against each other: the state
// directory (superblock, intent log) and the volumes. Refuses, with a sentence that says what it
// found and what to do, whatever belongs to something else; touches nothing of it then.
//
// An empty disk under an old state directory, or a directory of another volume, must never become
// the source of a resync: the volume id in the superblock and the one that the directory carries
// have to agree.
#pragma once

#include "engine/store/block_volume.hpp"
#include "engine/store/directory_volume.hpp"
#include "engine/store/intent_log.hpp"
#include "engine/store/superblock.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

struct MirrorStorageOptions {
    std::string cluster, mirror, node;
    std::string state_directory;  // the node's, absolute, exists; `<mirror>/` is made in it
    struct VolumePaths {
        std::string path;  // as configured
        std::string root;  // where the bare directory or the backing can be reached, absolute
        std::uint64_t block_size = 0;  // bytes of a block volume; 0: a directory
    };
    std::vector<VolumePaths> volumes;
    ExcludeList exclude;
};

class MirrorStorage {
   public:
    // Waits for the disk: call it before the mirror serves. On failure `why` is the sentence.
    static Result<std::unique_ptr<MirrorStorage>> open(Loop& loop, LogSink& log,
                                                       const MirrorStorageOptions& options,
                                                       std::string& why) noexcept;
    ~MirrorStorage();

    // As read, or a fresh one: then it has no history, and ids drawn for its volumes.
    Superblock superblock;
    std::unique_ptr<IntentLog> intents;
    std::vector<std::unique_ptr<Volume>> volumes;
    bool all_empty = false;  // every volume is empty
    // The list of excluded names is another one than at the last start: everything is compared.
    bool exclude_changed = false;
    // Of the mirror's state directory, for SuperblockFile; closed with this object.
    [[nodiscard]] Fd directory() const noexcept { return directory_.get(); }

   private:
    explicit MirrorStorage(ScopedFd directory) noexcept : directory_(std::move(directory)) {}

    class Opening;
    ScopedFd directory_;
};

}  // namespace gemel
