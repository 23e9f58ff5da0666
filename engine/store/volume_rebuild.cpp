// SPDX-License-Identifier: Apache-2.0
// The index written anew from the tree, breadth first by handles, so that neither depth nor width
// costs descriptors. It is done when a record is found damaged, and after a crash of the machine,
// of which any part of what was not synced may have survived, so here identities are made to agree
// with the names that are there: an object whose names are all excluded is local, and of two inodes
// that claim one id the local one gives it up (it was replaced by what the other node had sent).
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <fcntl.h>
#include <unordered_map>
#include <utility>

namespace gemel {

class TreeVolume::Rebuild {
   public:
    explicit Rebuild(TreeVolume& volume) noexcept : volume_(volume) {}

    Status run() noexcept {
        // Objects that are gone may have left a record that a crash brought back.
        GEMEL_TRY(volume_.index_.clear());
        Directory root;
        root.place = volume_.exclude_.root();
        GEMEL_TRY(scan(volume_.root_, root, true));
        Directory hidden;
        hidden.is_private = true;
        GEMEL_TRY(scan(volume_.orphan_directory_, hidden, false));
        GEMEL_TRY(scan(volume_.detached_directory_, hidden, false));
        GEMEL_TRY(scan(volume_.incoming_, hidden, false));
        while (!pending_.empty()) {
            const Directory directory = std::move(pending_.back());
            pending_.pop_back();
            const Result<Fd> opened = volume_.vfs_.open_by_handle(
                volume_.root_, directory.handle, O_RDONLY | O_DIRECTORY | O_NOATIME);
            if (!opened.ok()) return opened.status();
            const ScopedFd scoped(volume_.vfs_, opened.value());
            GEMEL_TRY(scan(opened.value(), directory, false));
        }
        return put_local();
    }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }

   private:
    struct Directory {
        FileHandle handle;
        ExcludeList::Place place;
        bool local = false;
        bool is_private = false;  // or below one: its names tell nothing
    };
    struct Local {
        ObjectId id;
        ObjectIndex::Record record;
        bool says_so = false;
        bool has_mirrored_name = false;
    };

    Status scan(Fd directory, const Directory& in, bool is_root) noexcept {
        std::vector<DirectoryEntry> entries;
        std::uint64_t position = 0;
        for (;;) {
            entries.clear();
            GEMEL_TRY(volume_.vfs_.read_directory(directory, position, 256, entries));
            if (entries.empty()) return Status();
            position = entries.back().next;
            for (const DirectoryEntry& entry : entries) {
                if (is_root && is_hidden(kRootObject, entry.name)) continue;
                Result<Found> found = volume_.find_at(directory, entry.name);
                if (!found.ok()) {
                    if (found.status().is_errno(EXDEV)) continue;
                    return found.status();
                }
                GEMEL_TRY(take(in, entry.name, found.value()));
            }
        }
    }

    Status take(const Directory& in, std::string_view name, Found& found) noexcept {
        const bool excluded = in.is_private ? found.local
                                            : in.local || volume_.exclude_.excludes(
                                                              in.place, name, found.is_directory());
        if (found.is_directory()) {
            Directory below{found.handle, {}, excluded, in.is_private};
            if (!excluded && !in.is_private) below.place = volume_.exclude_.below(in.place, name);
            pending_.push_back(std::move(below));
        }
        if (found.id.is_none()) return Status();
        ++count_;
        const ObjectIndex::Record record{found.handle, found.stat.mode & S_IFMT};
        if (excluded) {
            locals_.try_emplace(found.stat.inode, Local{found.id, record, found.local, false});
            return Status();
        }
        // Of several names one is enough.
        if (!found.is_directory() && !found.is_last_name()) {
            locals_[found.stat.inode].has_mirrored_name = true;
        }
        if (found.local) {
            GEMEL_PROBE("volume: a crash has left a local object under a mirrored name");
            GEMEL_TRY(volume_.set_locality(found.id, found.file.get(), false));
        }
        return volume_.index_.put(found.id, record);
    }

    Status put_local() noexcept {
        for (const auto& [inode, local] : locals_) {
            if (local.id.is_none() || local.has_mirrored_name) continue;
            const Result<Fd> file =
                volume_.vfs_.open_by_handle(volume_.root_, local.record.handle, O_PATH);
            if (!file.ok()) return file.status();
            const ScopedFd scoped(volume_.vfs_, file.value());
            const Result<ObjectIndex::Record> known = volume_.index_.find(local.id);
            if (known.ok() && known.value() != local.record) {
                GEMEL_PROBE("volume: a crash has left a local object with another's id");
                GEMEL_TRY(volume_.vfs_.remove_xattr(file.value(), kIdentityAttribute));
                continue;
            }
            if (!local.says_so) {
                GEMEL_PROBE("volume: a crash has left a mirrored object under an excluded name");
                GEMEL_TRY(volume_.set_locality(local.id, file.value(), true));
            }
            GEMEL_TRY(volume_.index_.put(local.id, local.record));
        }
        return Status();
    }

    TreeVolume& volume_;
    std::vector<Directory> pending_;
    // By inode: everything with an excluded name, and what has several names.
    std::unordered_map<std::uint64_t, Local> locals_;
    std::size_t count_ = 0;
};

Status TreeVolume::rebuild_index() noexcept {
    GEMEL_PROBE("volume: index rebuilt");
    Rebuild rebuild(*this);
    GEMEL_TRY(rebuild.run());
    GEMEL_TRY(index_.mark_complete());
    log_.log(LogLevel::info, "index of file handles rebuilt from the tree: " +
                                 std::to_string(rebuild.count()) + " names of objects with an id");
    return Status();
}

}  // namespace gemel
