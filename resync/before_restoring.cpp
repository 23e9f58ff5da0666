// SPDX-License-Identifier: Apache-2.0
#include "resync/before_restoring.hpp"

#include "engine/base/probe.hpp"
#include "resync/messages.hpp"

#include <sys/stat.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kObjectsATurn = 32;
constexpr std::size_t kListBatch = 1024;

}  // namespace

void BeforeRestoring::go_on() noexcept {
    const Status status = work();
    const bool is_over = target_ == targets_.size();
    loop_.post([this, alive = alive_, status, is_over] {
        if (!*alive) return;
        if (status.ok() && !is_over) return go_on();
        const std::string what =
            status.ok()
                ? ""
                : "the state before the resync could not be put back: " + status.to_string();
        // It may destroy this object.
        const Done done = std::move(done_);
        done(status, what);
    });
}

Status BeforeRestoring::work() noexcept {
    const Target& target = targets_[target_];
    if (target.block != nullptr) {
        GEMEL_TRY(target.block->restore_clone());
        ++target_;
        return Status();
    }
    if (step_ == Step::load) {
        GEMEL_TRY(load(target));
        step_ = Step::make;
        return Status();
    }
    if (step_ == Step::end) {
        // Nobody has anything open here: what applications of the source had is nobody's.
        Object orphans;
        orphans.id = kOrphanDirectory;
        GEMEL_TRY(detach(*target.directory, orphans));
        GEMEL_TRY(target.directory->discard_detached());
        objects_.clear();
        step_ = Step::load;
        ++target_;
        return Status();
    }
    for (std::size_t i = 0; i < kObjectsATurn && object_ < objects_.size(); ++i, ++object_) {
        GEMEL_TRY(step(target, objects_[object_]));
    }
    if (object_ == objects_.size()) {
        object_ = 0;
        step_ = static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
    }
    return Status();
}

Status BeforeRestoring::load(const Target& target) noexcept {
    const auto saved = [this](Bytes attributes, Bytes listing) {
        Result<AttributesItem> item = decode_attributes(attributes);
        if (!item.ok()) return item.status();
        Object object;
        object.id = item->head.object;
        object.link_target.assign(item->link_target.begin(), item->link_target.end());
        object.attributes = std::move(item->attributes);
        if (!listing.empty()) {
            const Result<NamesItem> names = decode_names(listing);
            if (!names.ok()) return names.status();
            for (const auto& [name, id] : names->entries) {
                object.names.emplace(std::string(name), id);
            }
        }
        objects_.push_back(std::move(object));
        return Status();
    };
    return (*target.journal)->read(saved, [](ObjectId) {});
}

Status BeforeRestoring::step(const Target& target, const Object& object) noexcept {
    DirectoryVolume& volume = *target.directory;
    const FileStat& stat = object.attributes.stat;
    switch (step_) {
        case Step::make:
            if (volume.exists(object.id)) return Status();
            GEMEL_PROBE("before image: an object is made again");
            return volume.make_skeleton(object.id, stat.mode, stat.special_device,
                                        object.link_target);
        case Step::detach:
            return S_ISDIR(stat.mode) ? detach(volume, object) : Status();
        case Step::place:
            return S_ISDIR(stat.mode) ? place(volume, object) : Status();
        case Step::content:
            return S_ISREG(stat.mode) ? put_content(target, object) : Status();
        case Step::attributes:
            return volume.set_full_attributes(object.id, object.attributes);
        case Step::load:
        case Step::end:
            break;
    }
    return Status();
}

Status BeforeRestoring::detach(DirectoryVolume& volume, const Object& object) noexcept {
    std::vector<ListedEntry> entries;
    for (std::uint64_t position = 0;;) {
        const std::size_t seen = entries.size();
        GEMEL_TRY(volume.list(object.id, position, kListBatch, entries));
        if (entries.size() == seen) break;
        position = entries.back().next;
    }
    for (const ListedEntry& entry : entries) {
        const auto then = object.names.find(entry.name);
        const bool stays = then != object.names.end() ? then->second == entry.id
                                                      : entry.local || entry.id.is_none();
        if (!stays) GEMEL_TRY(volume.detach(object.id, entry.name));
    }
    return Status();
}

Status BeforeRestoring::place(DirectoryVolume& volume, const Object& object) noexcept {
    for (const auto& [name, id] : object.names) {
        const Result<Attributes> now = volume.lookup_raw(object.id, name);
        if (now.ok() && now->id == id) continue;
        GEMEL_TRY(volume.place(id, object.id, name));
    }
    return Status();
}

Status BeforeRestoring::put_content(const Target& target, const Object& object) noexcept {
    const Result<ScopedFd> then = (*target.journal)->content(object.id);
    if (!then.ok()) return then.status();
    const Result<Fd> file = target.directory->data_fd(object.id);
    if (!file.ok()) return file.status();
    return loop_.vfs().clone(then->get(), file.value());
}

}  // namespace gemel
