// SPDX-License-Identifier: Apache-2.0
// The last consistent state of a target, kept while a resync fills it, so that a person can go back
// to it when the source is lost before the end (`gemel promote --force --before-resync`).
//
// Invariant: for each object that has been changed since begin(), what it was then is durable in
// the image, before the change; all others are durable as they were then, since everything has been
// synced in between. So the state of then is: what the image has, and the rest of the tree as it
// stands, whatever a power cut takes. Kept are attributes, listings, and content as clones, which
// share what is on the disk (FICLONE: XFS, Btrfs); of a block volume's file there is one clone from
// the beginning. The image outlives the process, and lost sessions: it ends when the copy is
// complete, or serves.
//
// Where a clone can't be had (ext4, a block device, no space left) nothing is kept, and the resync
// goes on without. But what has been kept must not outlive its time, or it would be taken for the
// state of then though objects were changed since that it has not. So as long as it can't be
// removed, no resync changes anything here; and wherever the disk fails, this copy has failed.
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/store/block_volume.hpp"
#include "engine/store/directory_volume.hpp"
#include "resync/before_journal.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

namespace gemel {

class BeforeRestoring;
class Replica;

class BeforeImage {
   public:
    using Failed = std::function<void(Status reason, const std::string& what)>;

    // Requires: all references outlive it. Looks for what is kept already. `failed` is called from
    // the loop when the disk has failed.
    BeforeImage(Loop& loop, LogSink& log, std::span<const std::unique_ptr<Volume>> volumes,
                Failed failed) noexcept;
    ~BeforeImage();
    BeforeImage(const BeforeImage&) = delete;
    BeforeImage& operator=(const BeforeImage&) = delete;

    // Keeps what the volumes are now; what was kept before goes. `begun` from the loop, also where
    // nothing can be kept (trouble()), but not when drop() or another begin() came in between.
    // Requires: `replica` is of these volumes; nothing is in flight, and nothing is changed before
    // `begun`.
    void begin(Replica& replica, std::function<void()> begun) noexcept;
    [[nodiscard]] bool is_beginning() const noexcept { return is_beginning_; }
    // Another session of an interrupted resync begins: what is kept is kept on; where nothing is,
    // nothing may be left, either, that could not be read.
    void go_on() noexcept;
    // Nothing is kept any more, durably; the space comes back in the background. An error: it may
    // be found again after a restart, and until it is removed nothing may be changed (keep()).
    Status drop() noexcept;
    // drop() when the copy is complete: what the resync took out of the trees, which stays in
    // detached/ for as long as something is kept, goes for good. It may be much, and the node is in
    // sync: in the background.
    void end() noexcept;
    // To be told why this copy could not be changed or synced, by the disk's own error. Where it
    // lacks space, what is kept is given up: cloned content is written elsewhere, so the image may
    // have what the resync needs.
    void make_room(Status reason) noexcept;
    [[nodiscard]] bool is_kept() const noexcept { return is_kept_; }
    // Why the last begin() kept nothing, or what was kept had to be given up; else empty.
    [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }

    // Called before the object, or all that an op changes, is changed. Waits for the disk the first
    // time. Nothing happens while nothing is kept. An error: it can neither be kept nor could what
    // is kept be removed, and must not be changed.
    Status keep(std::uint16_t volume, ObjectId object) noexcept;
    Status keep(const Op& op) noexcept;
    // Called before the directory is made: it was not there, and its listing never counts. (For
    // other objects that are about to be made keep() is enough: nothing is kept of what is not
    // there. After a restart a file may be taken for one that was, but it gets no name back, and
    // goes at the end.)
    Status note_made(std::uint16_t volume, ObjectId directory) noexcept;

    // Puts all volumes back, a bounded amount of work a turn; `done` from the loop, with a sentence
    // where it failed. It is not durable then; the image stays, so it can be begun again. Requires:
    // is_kept(); nobody else changes the volumes until done or cancel_restore().
    void restore(std::function<void(Status, const std::string&)> done) noexcept;
    void cancel_restore() noexcept;

   private:
    struct Part {
        BlockVolume* block = nullptr;
        DirectoryVolume* directory = nullptr;
        std::optional<BeforeJournal> journal;             // of a directory
        std::unordered_set<ObjectId, ObjectIdHash> seen;  // kept, or made since
    };

    void begin_synced(Status synced) noexcept;
    Status begin_part(Part& part) noexcept;
    Status find_part(Part& part) noexcept;
    Status save(Part& part, ObjectId object) noexcept;
    Status check(Status saved) noexcept;
    void give_up(Status status) noexcept;
    void report(Status status, const char* what) noexcept;
    Status invalidate() noexcept;
    void remove_clones() noexcept;

    Loop& loop_;
    LogSink& log_;
    Failed failed_;
    std::vector<Part> parts_;
    bool is_kept_ = false;
    bool is_beginning_ = false;
    std::uint64_t beginning_ = 0;  // the last one, or what overtook it
    Status stuck_;                 // not ok: something may be left that open() would find
    std::string trouble_;
    std::unique_ptr<BeforeRestoring> restoring_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
