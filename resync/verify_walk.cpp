// SPDX-License-Identifier: Apache-2.0
#include "resync/verify_walk.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"

#include <sys/stat.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kMovedBatch = 64;

std::string joined(const std::string& directory, std::string_view name) {
    return directory.empty() ? std::string(name) : directory + '/' + std::string(name);
}

}  // namespace

Status VerifyWalk::step(std::vector<Met>& met, std::optional<Begun>& begun) noexcept {
    GEMEL_ASSERT(!is_done());
    if (!has_begun_) {
        has_begun_ = true;
        known_.insert(kRootObject);
        const Directory root{kRootObject, std::make_shared<const std::string>()};
        met.push_back({kRootObject, S_IFDIR, {}, {}});
        levels_.push_back({root, 0, false, false, {}});
        return Status();
    }
    if (!moved_.empty()) return take_moved(met);
    Level& level = levels_.back();
    if (!level.below.empty()) {
        const auto [name, id] = std::move(level.below.front());
        level.below.pop_front();
        std::shared_ptr<const std::string> path;
        if (level.directory.path != nullptr) {
            path = std::make_shared<const std::string>(joined(*level.directory.path, name));
        }
        levels_.push_back({{id, std::move(path)}, 0, false, false, {}});
        return Status();
    }
    if (level.has_ended) {
        levels_.pop_back();
        return Status();
    }
    return list(level, met, begun);
}

Status VerifyWalk::list(Level& level, std::vector<Met>& met, std::optional<Begun>& begun) noexcept {
    const bool is_first = !std::exchange(level.has_begun, true);
    const std::size_t count_max = is_first ? kWholeMax : kBatch;
    NamesDigest names;
    for (std::size_t seen = 0; seen < count_max && !level.has_ended; seen += entries_.size()) {
        entries_.clear();
        const Status status = volume_.list(level.directory.id, level.position, kBatch, entries_);
        // It has been removed, and what was in it moved or removed before.
        if (!status.ok() && !is_gone(status)) return status;
        if (entries_.empty() || !status.ok()) level.has_ended = true;
        if (!status.ok()) return Status();
        if (entries_.empty()) break;
        level.position = entries_.back().next;
        for (const ListedEntry& entry : entries_) {
            if (entry.local || entry.id.is_none()) continue;
            names.add(entry.name, entry.id);
            take(level, entry, met);
        }
    }
    if (!is_first) return Status();
    begun = Begun{level.directory, {}};
    if (level.has_ended) begun->names = names;
    return Status();
}

void VerifyWalk::take(Level& level, const ListedEntry& entry, std::vector<Met>& met) noexcept {
    if (!known_.insert(entry.id)) return;
    met.push_back({entry.id, entry.mode, level.directory, entry.name});
    if (S_ISDIR(entry.mode)) level.below.emplace_back(entry.name, entry.id);
}

void VerifyWalk::moved(ObjectId object, ObjectId directory, std::string_view name) noexcept {
    // Before the beginning all of it is still to come.
    if (!has_begun_ || is_done()) return;
    if (object < kFirstObject || (directory != kRootObject && directory < kFirstObject)) return;
    if (!known_.insert(object)) return;
    GEMEL_PROBE("verify: an object gets another name before it is met");
    moved_.push_back({object, 0, {directory, nullptr}, std::string(name)});
}

Status VerifyWalk::take_moved(std::vector<Met>& met) noexcept {
    for (std::size_t i = 0; i < kMovedBatch && !moved_.empty(); ++i) {
        Met one = std::move(moved_.front());
        moved_.pop_front();
        if (!volume_.exists(one.object)) continue;  // removed, or kept per node, since
        const Result<Attributes> now = volume_.attributes(one.object);
        if (!now.ok()) {
            if (is_gone(now.status())) continue;
            return now.status();
        }
        one.mode = now->stat.mode;
        if (S_ISDIR(one.mode)) levels_.push_back({{one.object, nullptr}, 0, false, false, {}});
        met.push_back(std::move(one));
    }
    return Status();
}

std::string VerifyWalk::path_of(const Met& met) noexcept {
    if (met.directory.id.is_none()) return {};
    return joined(path_of(met.directory), met.name);
}

// Upwards from directory to directory, the name of each searched for in the one above.
std::string VerifyWalk::path_of(const Directory& directory) noexcept {
    if (directory.path != nullptr) return *directory.path;
    if (directory.id.is_none()) return {};
    std::string path;
    for (ObjectId at = directory.id; at != kRootObject;) {
        const Result<ObjectId> above = volume_.parent_of(at);
        std::string name = "?";
        for (std::uint64_t position = 0; above.ok() && name == "?";) {
            entries_.clear();
            const Status status = volume_.list(above.value(), position, kWholeMax, entries_);
            if (!status.ok() || entries_.empty()) break;
            position = entries_.back().next;
            for (const ListedEntry& entry : entries_) {
                if (entry.id == at) name = entry.name;
            }
        }
        path = path.empty() ? name : name + '/' + path;
        if (!above.ok()) break;
        at = above.value();
    }
    return path;
}

}  // namespace gemel
