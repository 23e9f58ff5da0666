// SPDX-License-Identifier: Apache-2.0
// The way of a verify through a directory volume that is in use: from the root downwards, each
// directory a few names at a time. So that none of it is missed:
//
// Invariant: every mirrored object that has been there since the walk began has been met, or it
// waits in `moved_`, or it has a name in a directory that waits to be listed, or that is being
// listed behind the position reached.
//
// Listing keeps it, because a name that stays is listed once (POSIX's promise for readdir). The
// owner tells of every rename and link, moved(), and what gets a name then and has not been met is
// put into `moved_`; a directory takes what is below it along. Nothing else gives an object another
// name. What is made meanwhile need not be met: it has been made by ops on both nodes.
#pragma once

#include "engine/store/directory_volume.hpp"
#include "resync/id_set.hpp"
#include "resync/verify_compare.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

class VerifyWalk {
   public:
    // Directories with more names are listed over several turns, and compared name by name.
    static constexpr std::size_t kWholeMax = 256;

    struct Directory {
        ObjectId id;
        // Where it was met, "" the root; null: it has been moved since, see path_of.
        std::shared_ptr<const std::string> path;
    };
    struct Met {
        ObjectId object;
        std::uint32_t mode = 0;
        Directory directory;  // none: the root itself
        std::string name;
    };

    // Requires: `volume` outlives it.
    explicit VerifyWalk(DirectoryVolume& volume) noexcept : volume_(volume) {}

    // One step: appends the objects that it meets to `met`. When it has begun a directory, `begun`
    // says which, and `names` what its names are now, if they have all been read in this step.
    struct Begun {
        Directory directory;
        std::optional<NamesDigest> names;
    };
    // Errors: the disk's. Requires: !is_done().
    Status step(std::vector<Met>& met, std::optional<Begun>& begun) noexcept;
    [[nodiscard]] bool is_done() const noexcept {
        return has_begun_ && levels_.empty() && moved_.empty();
    }
    // `object` has got this name just now.
    void moved(ObjectId object, ObjectId directory, std::string_view name) noexcept;

    // Where an object is for people, searching for it if need be.
    [[nodiscard]] std::string path_of(const Met& met) noexcept;
    [[nodiscard]] std::string path_of(const Directory& directory) noexcept;

   private:
    // A directory being listed, and those found in it that wait for their turn.
    struct Level {
        Directory directory;
        std::uint64_t position = 0;
        bool has_begun = false, has_ended = false;
        std::deque<std::pair<std::string, ObjectId>> below;
    };

    Status list(Level& level, std::vector<Met>& met, std::optional<Begun>& begun) noexcept;
    void take(Level& level, const ListedEntry& entry, std::vector<Met>& met) noexcept;
    Status take_moved(std::vector<Met>& met) noexcept;

    DirectoryVolume& volume_;
    IdSet known_;  // met, or in moved_
    std::deque<Level> levels_;
    std::deque<Met> moved_;
    std::vector<ListedEntry> entries_;
    bool has_begun_ = false;
};

}  // namespace gemel
