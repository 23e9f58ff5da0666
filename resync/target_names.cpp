// SPDX-License-Identifier: Apache-2.0
// A listing against what stands here: first all that is superfluous or stands for another object
// leaves, then what is missing comes, so that names can change places.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "resync/target.hpp"

#include <sys/stat.h>

namespace gemel {

namespace {
constexpr std::size_t kListBatch = 1024;
}

Status ResyncTarget::on_names(Bytes payload) noexcept {
    const Result<NamesItem> item = decode_names(payload);
    if (!item.ok()) return item.status();
    const ItemHead& head = item->head;
    if (item->first == (listing_.number != 0)) return Status(Code::corrupt);
    if (item->first) {
        GEMEL_TRY(take_number(head));
        listing_.number = head.number;
        listing_.directory = head.object;
        listing_.entries.clear();
    } else if (head.number != listing_.number || head.object != listing_.directory) {
        return Status(Code::corrupt);
    }
    for (const auto& [name, id] : item->entries) {
        if (!listing_.entries.emplace(std::string(name), id).second) return Status(Code::corrupt);
    }
    if (!item->last) return Status();
    note_progress(head);
    reconcile(item.value());
    listing_ = Listing();
    return Status();
}

void ResyncTarget::reconcile(const NamesItem& item) noexcept {
    ItemAnswer reply;
    reply.number = item.head.number;
    DirectoryVolume& target = directory(item.head);
    if (!target.exists(listing_.directory)) {
        reply.verdict = Verdict::missing;
        answer(reply);
        return;
    }
    Status status = keep(item.head.volume, listing_.directory);
    if (status.ok()) status = detach_superfluous(target);
    if (status.ok()) status = place_missing(item.head, reply);
    if (status.ok() && listing_.directory != kOrphanDirectory) {
        Op times;
        times.kind = OpKind::set_attributes;
        times.object = listing_.directory;
        times.mask = kSetAccessed | kSetModified;
        times.resolved.accessed = item.accessed;
        times.resolved.modified = item.modified;
        status = target.apply(times);
    }
    if (!status.ok()) {
        fail(status, "a directory could not be brought in line with the source's");
        return;
    }
    if (!reply.missing.empty()) reply.verdict = Verdict::missing;
    answer(reply);
}

// Leaves in listing_.entries what is missing here.
Status ResyncTarget::detach_superfluous(DirectoryVolume& target) noexcept {
    std::vector<std::string> superfluous;
    std::vector<ListedEntry> batch;
    std::uint64_t position = 0;
    for (;;) {
        batch.clear();
        GEMEL_TRY(target.list(listing_.directory, position, kListBatch, batch));
        if (batch.empty()) break;
        position = batch.back().next;
        for (ListedEntry& entry : batch) {
            const auto wanted = listing_.entries.find(entry.name);
            // This node's own: the source knows nothing of it, unless it has something else there.
            if (entry.local && wanted == listing_.entries.end()) continue;
            if (wanted == listing_.entries.end() || wanted->second != entry.id) {
                superfluous.push_back(std::move(entry.name));
            } else {
                listing_.entries.erase(wanted);
            }
        }
    }
    for (const std::string& name : superfluous) {
        GEMEL_PROBE("resync: a name leaves");
        GEMEL_TRY(target.detach(listing_.directory, name));
    }
    return Status();
}

Status ResyncTarget::place_missing(const ItemHead& head, ItemAnswer& reply) noexcept {
    DirectoryVolume& target = directory(head);
    for (const auto& [name, id] : listing_.entries) {
        if (!target.exists(id)) {
            if (reply.missing.size() < kMissingMax) reply.missing.push_back(id);
            continue;
        }
        GEMEL_TRY(keep_place(head, id));
        GEMEL_TRY(target.place(id, listing_.directory, name));
    }
    return Status();
}

// What placing the object changes besides the directory listed: a directory leaves the one that it
// stands in; what goes to the orphans is removed for good when its last handle is closed.
Status ResyncTarget::keep_place(const ItemHead& head, ObjectId object) noexcept {
    if (options_.before == nullptr || !options_.before->is_kept()) return Status();
    if (listing_.directory == kOrphanDirectory) GEMEL_TRY(keep(head.volume, object));
    const Result<Attributes> now = directory(head).attributes(object);
    if (!now.ok()) return now.status();
    if (!S_ISDIR(now->stat.mode)) return Status();
    const Result<ObjectId> parent = directory(head).parent_of(object);
    if (!parent.ok() && parent.status().code() != Code::not_found) return parent.status();
    return parent.ok() ? keep(head.volume, parent.value()) : Status();
}

}  // namespace gemel
