// SPDX-License-Identifier: Apache-2.0
// What takes long to remove. Whole trees: subdirectories are moved up to the top before they are
// removed, so there is no recursion and no stack of descriptors, whatever the depth. Large files:
// their names go at once, what they hold comes back in the background.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/io/late_release.hpp"
#include "engine/store/volume_impl.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <limits>
#include <linux/fs.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kBatch = 256;
constexpr std::size_t kTurnNames = 64;  // removed in one turn of the loop

}  // namespace

Status TreeVolume::remove_contents(Fd directory) noexcept {
    Removal removal;
    removal.budget = std::numeric_limits<std::size_t>::max();
    GEMEL_TRY(remove_some(directory, removal));
    return removal.refused.empty() ? Status() : Status::from_errno(EPERM);
}

// Removes what is in a directory, and calls `on_directory(name, found)` for each directory in it.
// Names that are `refused` are passed over, others become so; without the set a refusal is an
// error.
Status TreeVolume::remove_entries(Fd directory, std::size_t& budget,
                                  const OnDirectory& on_directory,
                                  std::unordered_set<std::string>* refused) noexcept {
    std::vector<DirectoryEntry> entries;
    std::uint64_t position = 0;
    bool was_removed = false;
    for (;;) {
        entries.clear();
        GEMEL_TRY(vfs_.read_directory(directory, position, kBatch, entries));
        if (entries.empty()) {
            if (position == 0 || !was_removed) return Status();
            // Directories that were moved up may stand before the names that stay.
            position = 0;
            was_removed = false;
            continue;
        }
        bool stays = false;
        for (const DirectoryEntry& entry : entries) {
            if (refused != nullptr && refused->contains(entry.name)) {
                stays = true;
                continue;
            }
            if (budget == 0) return Status();
            --budget;
            const Status removed = remove_entry(directory, entry.name, on_directory);
            if (removed.ok()) {
                was_removed = true;
                continue;
            }
            if (refused == nullptr || !removed.is_errno(EPERM)) return removed;
            tell_refused(entry.name);
            refused->insert(entry.name);
            stays = true;
        }
        if (stays) position = entries.back().next;
    }
}

Status TreeVolume::remove_entry(Fd directory, const std::string& name,
                                const OnDirectory& on_directory) noexcept {
    Result<Found> going = find_at(directory, name);
    if (going.ok()) hold_large(going.value());
    const Status removed = vfs_.unlink(directory, name, false);
    if (removed.ok()) return going.ok() ? drop_record(going.value()) : Status();
    if (!removed.is_errno(EISDIR) && !removed.is_errno(EPERM)) return removed;
    // Not a directory: the refusal to unlink was meant (an immutable file).
    if (going.ok() && !going->is_directory()) return removed;
    return on_directory(name, going);
}

Status TreeVolume::remove_some(Fd top, Removal& removal) noexcept {
    std::size_t& budget = removal.budget;
    const auto remove_directory = [&](const std::string& name, Result<Found>& going) noexcept {
        const Result<Fd> child = vfs_.open_at(top, name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
        if (!child.ok()) return child.status();
        const ScopedFd scoped(vfs_, child.value());
        const auto move_up = [&](const std::string& inner, Result<Found>&) noexcept {
            return move_to_fresh_name(child.value(), inner, top, "level-");
        };
        GEMEL_TRY(remove_entries(child.value(), budget, move_up, nullptr));
        if (budget == 0) return Status();
        GEMEL_TRY(vfs_.unlink(top, name, true));
        return going.ok() ? drop_record(going.value()) : Status();
    };
    return remove_entries(top, budget, remove_directory, &removal.refused);
}

void TreeVolume::tell_refused(const std::string& name) noexcept {
    GEMEL_PROBE("volume: what is to be removed is immutable");
    log_.log(LogLevel::warning,
             "volume: '" + name +
                 "' below .gemel can't be removed, since something in it is immutable or "
                 "append-only ('lsattr -R' finds it, 'chattr -ia' changes it); the next start "
                 "tries again");
}

// Most of the work of removing a large file is done when its last descriptor is closed. The last
// one is not to be one opened under the name that goes: rmdir(2) of that directory would wait,
// busily, until the file is gone (shrink_dcache_parent of the kernel's fs/dcache.c).
void TreeVolume::hold_large(Found& found) noexcept {
    if (!S_ISREG(found.stat.mode) || !found.is_last_name()) return;
    if (!is_released_later(found.stat)) return;
    const std::string name = "going-" + std::to_string(discard_counter_++);
    if (!vfs_.link(found.file.get(), staging_, name).ok()) return;
    const Result<Fd> file = vfs_.open_at(staging_, name, O_PATH, 0);
    if (file.ok()) found.going = ScopedFd(vfs_, file.value());
    const Status removed = vfs_.unlink(staging_, name, false);
    if (!removed.ok()) clear_staging_later();
    GEMEL_PROBE("volume: the space of a large file comes back later");
}

Status TreeVolume::move_to_fresh_name(Fd directory, std::string_view name, Fd target,
                                      std::string_view prefix) noexcept {
    Status moved;
    do {
        const std::string fresh = std::string(prefix) + std::to_string(discard_counter_++);
        moved = vfs_.rename(directory, name, target, fresh, RENAME_NOREPLACE);
    } while (moved.is_errno(EEXIST));
    return moved;
}

Status TreeVolume::discard_directory(ObjectId id, Fd parent, std::string_view name) noexcept {
    GEMEL_PROBE("volume: a directory goes with what this node kept in it");
    const Result<Fd> directory = directory_fd(id);
    if (!directory.ok()) return directory.status();
    std::vector<DirectoryEntry> entries;
    for (std::uint64_t position = 0;; position = entries.back().next) {
        entries.clear();
        GEMEL_TRY(vfs_.read_directory(directory.value(), position, kBatch, entries));
        if (entries.empty()) break;
        for (const DirectoryEntry& entry : entries) {
            bool is_directory = entry.type == DT_DIR;
            if (entry.type == DT_UNKNOWN) {
                const Result<FileStat> stat = vfs_.stat_at(directory.value(), entry.name);
                if (!stat.ok()) return stat.status();
                is_directory = S_ISDIR(stat->mode);
            }
            const Result<bool> excluded = is_excluded(id, entry.name, is_directory);
            if (!excluded.ok()) return excluded.status();
            if (!excluded.value()) return Status::from_errno(ENOTEMPTY);
        }
    }
    GEMEL_TRY(move_to_fresh_name(parent, name, staging_, "discarded-"));
    object_gone(id);
    clear_staging_later();
    return Status();
}

// Another directory takes its place: what is put into detached/ from now on is none of it. After a
// crash either of the two may be detached/, the other is removed at the next start.
Status TreeVolume::discard_detached() noexcept {
    begin_call();
    std::vector<DirectoryEntry> entries;
    GEMEL_TRY(vfs_.read_directory(detached_directory_, 0, 1, entries));
    if (entries.empty()) return Status();
    const Result<std::string> name = make_fresh_directory("detached-");
    // Another directory needs space that perhaps only this removal gives: at once, then.
    if (!name.ok()) return remove_contents(detached_directory_);
    clear_staging_later();
    const Result<Fd> fresh =
        vfs_.open_at(staging_, name.value(), O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
    if (!fresh.ok()) return fresh.status();
    ScopedFd old(vfs_, fresh.value());
    GEMEL_TRY(vfs_.rename(staging_, name.value(), private_, kDetachedName, RENAME_EXCHANGE));
    old = ScopedFd(vfs_, std::exchange(detached_directory_, old.release()));
    return Status();
}

// In staging/; its name.
Result<std::string> TreeVolume::make_fresh_directory(std::string_view prefix) noexcept {
    std::string name;
    Status made;
    do {
        name = std::string(prefix) + std::to_string(discard_counter_++);
        made = vfs_.make_directory(staging_, name, 0700);
    } while (made.is_errno(EEXIST));
    if (!made.ok()) return made;
    return name;
}

Status TreeVolume::clear_way(ObjectId parent, std::string_view name) noexcept {
    if (!exclude_.tells_types() || is_private(parent)) return Status();
    Fd directory;
    const Result<Found> found = find_named(parent, name, directory);
    if (!found.ok()) return found.status().is_errno(ENOENT) ? Status() : found.status();
    return found->local ? discard_directory(found->id, directory, name) : Status();
}

// Between two calls nothing but what has been discarded is in staging/. A crash leaves the rest to
// the next start.
void TreeVolume::clear_staging_later() noexcept {
    if (clears_staging_) return;
    clears_staging_ = true;
    loop_.post([this, alive = alive_] {
        if (!*alive) return;
        clears_staging_ = false;
        staging_removal_.budget = kTurnNames;
        const Status removed = remove_some(staging_, staging_removal_);
        if (!removed.ok()) {
            log_.log(LogLevel::warning,
                     "volume: what was removed stays in .gemel/staging until "
                     "the next start: " +
                         removed.to_string());
        } else if (staging_removal_.budget == 0) {
            clear_staging_later();
        } else {
            cache_.forget_if([this](Fd fd) {
                const Result<FileStat> stat = vfs_.stat(fd);
                return !stat.ok() || stat->link_count == 0;
            });
        }
    });
}

}  // namespace gemel
