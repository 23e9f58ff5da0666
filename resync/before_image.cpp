// SPDX-License-Identifier: Apache-2.0
#include "resync/before_image.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/mirror/replica.hpp"
#include "resync/before_restoring.hpp"
#include "resync/messages.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <tuple>
#include <utility>

namespace gemel {

namespace {

constexpr std::string_view kDirectoryName = "before";
constexpr std::size_t kListBatch = 1024;
constexpr std::size_t kRemovedATurn = 64;

bool is_private(ObjectId object) noexcept {
    return object == kOrphanDirectory || object == kDetachedDirectory ||
           object == kIncomingDirectory;
}

}  // namespace

BeforeImage::BeforeImage(Loop& loop, LogSink& log, std::span<const std::unique_ptr<Volume>> volumes,
                         Failed failed) noexcept
    : loop_(loop), log_(log), failed_(std::move(failed)), parts_(volumes.size()) {
    is_kept_ = !parts_.empty();
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        parts_[i].block = volumes[i]->as_block();
        parts_[i].directory = volumes[i]->as_directory();
        const Status found = find_part(parts_[i]);
        if (found.ok()) continue;
        is_kept_ = false;
        if (found.code() != Code::not_found) trouble_ = "it can't be read: " + found.to_string();
    }
}

BeforeImage::~BeforeImage() { *alive_ = false; }

// The volume's part from before a restart; not_found: there is none.
Status BeforeImage::find_part(Part& part) noexcept {
    if (part.block != nullptr) return part.block->has_clone() ? Status() : Status(Code::not_found);
    Result<ScopedFd> directory = part.directory->private_directory(kDirectoryName, false);
    if (!directory.ok()) return directory.status();
    Result<BeforeJournal> journal =
        BeforeJournal::open(loop_.vfs(), std::move(directory).value(), part.directory->id());
    if (!journal.ok()) return journal.status();
    const auto made = [&](ObjectId id) { part.seen.insert(id); };
    const auto saved = [&](Bytes attributes, Bytes) {
        const Result<ItemHead> head = decode_item_head(attributes);
        if (head.ok()) part.seen.insert(head->object);
        return head.status();
    };
    GEMEL_TRY(journal->read(saved, made));
    part.journal = std::move(journal).value();
    return Status();
}

// What is only in memory yet could be gone after a power cut, though the resync never touched it.
void BeforeImage::begin(Replica& replica, std::function<void()> begun) noexcept {
    trouble_ = "the volumes are being synced first";
    std::ignore = drop();
    is_beginning_ = true;
    replica.sync_everything(
        [this, alive = alive_, beginning = beginning_, begun = std::move(begun)](Status synced) {
            if (!*alive || beginning != beginning_) return;
            begin_synced(synced);
            begun();
        });
}

void BeforeImage::begin_synced(Status synced) noexcept {
    is_beginning_ = false;
    if (!stuck_.ok()) return;
    is_kept_ = true;
    trouble_.clear();
    if (!synced.ok()) return give_up(as_disk_failure(synced));
    for (Part& part : parts_) {
        const Status begun = begin_part(part);
        if (begun.ok()) continue;
        give_up(begun);
        return;
    }
}

Status BeforeImage::begin_part(Part& part) noexcept {
    if (part.block != nullptr) return part.block->keep_clone();
    Result<ScopedFd> directory = part.directory->private_directory(kDirectoryName, true);
    if (!directory.ok()) return directory.status();
    Result<BeforeJournal> journal =
        BeforeJournal::make(loop_.vfs(), std::move(directory).value(), part.directory->id());
    if (!journal.ok()) return journal.status();
    GEMEL_TRY(journal->probe_clones());
    part.journal = std::move(journal).value();
    return Status();
}

// Though nothing is known to be kept, something may be there that could not be read.
Status BeforeImage::drop() noexcept {
    is_kept_ = is_beginning_ = false;
    ++beginning_;
    return invalidate();
}

void BeforeImage::go_on() noexcept {
    if (!is_kept_) std::ignore = drop();
}

void BeforeImage::end() noexcept {
    if (is_kept_) std::ignore = drop();
    for (const Part& part : parts_) {
        if (part.directory == nullptr) continue;
        const Status discarded = part.directory->discard_detached();
        if (discarded.ok()) continue;
        log_.log(LogLevel::warning,
                 "what the last resync took away could not be removed: " + discarded.to_string());
    }
}

// First what makes it an image, durably; then the clones, which may be many.
Status BeforeImage::invalidate() noexcept {
    cancel_restore();
    stuck_ = Status();
    Status first;
    const auto removed = [&](Status status) {
        report(status, "what was kept from before a resync can't be removed");
        if (status.ok()) return;
        if (first.ok()) first = status;
        // This copy has failed as if its disk had: what it is can't be told any more.
        stuck_ = as_disk_failure(status);
        trouble_ = "what was kept before can't be removed: " + status.to_string();
    };
    for (Part& part : parts_) {
        part.journal.reset();
        part.seen.clear();
        if (part.block != nullptr) {
            removed(part.block->drop_clone());
            continue;
        }
        const Result<ScopedFd> directory = part.directory->private_directory(kDirectoryName, false);
        if (directory.status().code() == Code::not_found) continue;
        Status status = directory.status();
        if (directory.ok()) status = BeforeJournal::invalidate(loop_.vfs(), directory->get());
        removed(status);
    }
    remove_clones();
    return first;
}

void BeforeImage::remove_clones() noexcept {
    if (is_kept_) return;  // begun anew, which has removed them
    for (Part& part : parts_) {
        if (part.directory == nullptr) continue;
        const Result<ScopedFd> directory = part.directory->private_directory(kDirectoryName, false);
        if (!directory.ok()) continue;
        const Result<bool> more =
            BeforeJournal::remove_clones(loop_.vfs(), directory->get(), kRemovedATurn);
        if (!more.ok() || !more.value()) continue;
        loop_.post([this, alive = alive_] {
            if (*alive) remove_clones();
        });
        return;
    }
}

void BeforeImage::report(Status status, const char* what) noexcept {
    if (status.ok()) return;
    std::string text = std::string(what) + ": " + status.to_string();
    log_.log(LogLevel::warning, text);
    if (!is_disk_failure(status)) return;
    loop_.post([this, alive = alive_, status, text = std::move(text)] {
        if (*alive) failed_(status, text);
    });
}

void BeforeImage::give_up(Status status) noexcept {
    trouble_ = status.is_errno(EOPNOTSUPP) || status.is_errno(EINVAL)
                   ? "not every volume is on a file system that can clone files (XFS, Btrfs)"
                   : "it could not be kept: " + status.to_string();
    if (!status.is_errno(EOPNOTSUPP) && !status.is_errno(EINVAL) && !status.is_errno(EBUSY)) {
        report(status, "the state before a resync can't be kept");
    }
    is_kept_ = false;
    std::ignore = invalidate();
}

Status BeforeImage::keep(std::uint16_t volume, ObjectId object) noexcept {
    if (!is_kept_) return stuck_;
    if (object.is_none() || is_private(object)) return Status();
    Part& part = parts_[volume];
    if (part.directory == nullptr || !part.seen.insert(object).second) return Status();
    return part.directory->exists(object) ? check(save(part, object)) : Status();
}

Status BeforeImage::note_made(std::uint16_t volume, ObjectId directory) noexcept {
    if (!is_kept_) return stuck_;
    if (!parts_[volume].seen.insert(directory).second) return Status();
    return check(parts_[volume].journal->append_made(directory));
}

Status BeforeImage::check(Status saved) noexcept {
    if (saved.ok()) return saved;
    GEMEL_PROBE("before image: given up");
    log_.log(LogLevel::warning,
             "the state before the resync is kept no more: " + saved.to_string());
    give_up(saved);
    return stuck_;
}

Status BeforeImage::keep(const Op& op) noexcept {
    if (!is_kept_) return stuck_;
    if (parts_[op.volume].directory == nullptr) return Status();
    if (op.kind == OpKind::create && S_ISDIR(op.resolved.mode)) {
        GEMEL_TRY(note_made(op.volume, op.object));
    }
    GEMEL_TRY(keep(op.volume, op.parent));
    GEMEL_TRY(keep(op.volume, op.new_parent));
    GEMEL_TRY(keep(op.volume, op.resolved.replaced));
    switch (op.kind) {
        case OpKind::rename:  // names alone
        case OpKind::link:
        case OpKind::release_orphan:  // kept when it lost its name
            return Status();
        default:
            return keep(op.volume, op.object);
    }
}

void BeforeImage::make_room(Status reason) noexcept {
    if (!is_kept_ || !(reason.is_errno(ENOSPC) || reason.is_errno(EDQUOT))) return;
    std::ignore = check(reason);
}

Status BeforeImage::save(Part& part, ObjectId object) noexcept {
    DirectoryVolume& volume = *part.directory;
    AttributesItem item;
    item.head.number = 1;
    item.head.object = object;
    item.make = object >= kFirstObject;
    Result<DirectoryVolume::FullAttributes> now = volume.full_attributes(object);
    if (!now.ok()) return now.status();
    item.attributes = std::move(now).value();
    const std::uint32_t mode = item.attributes.stat.mode;
    ByteBuffer target, attributes, listing;
    if (S_ISLNK(mode)) {
        Result<ByteBuffer> link = volume.read_link(object);
        if (!link.ok()) return link.status();
        target = std::move(link).value();
        item.link_target = target;
    }
    encode_attributes(item, attributes);
    if (S_ISDIR(mode)) {
        std::vector<ListedEntry> entries;
        for (std::uint64_t position = 0;;) {
            const std::size_t seen = entries.size();
            GEMEL_TRY(volume.list(object, position, kListBatch, entries));
            if (entries.size() == seen) break;
            position = entries.back().next;
        }
        NamesItem names;
        names.head = item.head;
        names.first = names.last = true;
        for (const ListedEntry& entry : entries) {
            if (!entry.local && !entry.id.is_none()) {
                names.entries.emplace_back(entry.name, entry.id);
            }
        }
        encode_names(names, listing);
    }
    Fd content;
    if (S_ISREG(mode)) {
        const Result<Fd> fd = volume.data_fd(object);
        if (!fd.ok()) return fd.status();
        content = fd.value();
    }
    return part.journal->append(attributes, listing, object, content);
}

void BeforeImage::restore(std::function<void(Status, const std::string&)> done) noexcept {
    GEMEL_ASSERT(is_kept_);
    restoring_ = std::make_unique<BeforeRestoring>(loop_, std::move(done));
    for (Part& part : parts_) restoring_->add(part.block, part.directory, part.journal);
    restoring_->start();
}

void BeforeImage::cancel_restore() noexcept { restoring_.reset(); }

}  // namespace gemel
