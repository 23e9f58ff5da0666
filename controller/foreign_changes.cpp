// SPDX-License-Identifier: Apache-2.0
#include "controller/foreign_changes.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace gemel {

// What is told of them: the first one by name, the others by their number.
struct ForeignChanges::Found {
    std::size_t objects = 0;
    std::string first;

    void add(const ObjectChange& change, const std::string& path) {
        if (++objects > 1) return;
        first = "'" + change.changer.command + "' (process " + std::to_string(change.changer.pid) +
                ", user " + std::to_string(change.changer.uid) + ") has changed " + path;
    }
    [[nodiscard]] std::string sentence(const std::string& consequence) const {
        std::string text = first;
        if (objects > 1) text += " and others " + std::to_string(objects - 1) + " more objects";
        return text + " without the mirror: " + consequence;
    }
};

std::string ForeignChanges::path_of(const Watched& watched, Fd file) const {
    std::error_code error;
    const std::filesystem::path link = "/proc/self/fd/" + std::to_string(file.value);
    const std::string now = std::filesystem::read_symlink(link, error).string();
    if (!error && now.starts_with(watched.tree)) {
        return watched.path + now.substr(watched.tree.size());
    }
    return "an object in " + watched.path;
}

void ForeignChanges::add_keys(const ObjectChange& change, const Watched& watched, ObjectId object,
                              std::vector<IntentKey>& keys) const {
    constexpr std::size_t kRegionsMax = 64;
    if (change.names) keys.push_back({object, IntentKey::kNames, watched.index});
    // Content has a time of change, and it may have a size.
    keys.push_back({object, IntentKey::kAttributes, watched.index});
    std::vector<std::uint32_t> regions;
    for (const DirtyRange& range : change.ranges) {
        const std::uint64_t first = range.begin / kIntentRegionSize;
        const std::uint64_t last = (range.end - 1) / kIntentRegionSize;
        if (last - first >= kRegionsMax || regions.size() >= kRegionsMax ||
            last >= IntentKey::kRegionMax) {
            keys.push_back({object, IntentKey::kAllContent, watched.index});
            return;
        }
        for (std::uint64_t region = first; region <= last; ++region) {
            const auto number = static_cast<std::uint32_t>(region);
            if (regions.empty() || regions.back() != number) regions.push_back(number);
        }
    }
    for (const std::uint32_t region : regions) keys.push_back({object, region, watched.index});
}

std::vector<IntentKey> ForeignChanges::find(const ChangeRecord& record, bool is_new,
                                            const std::string& consequence) {
    std::vector<IntentKey> keys;
    Found found;
    for (const Watched& watched : watched_) {
        const auto& incomplete = record.incomplete;
        if (std::find(incomplete.begin(), incomplete.end(), watched.file_system) !=
            incomplete.end()) {
            keys.push_back({kNoObject, IntentKey::kVolume, watched.index});
            if (!is_new) continue;
            events_.event(mirror_, LogLevel::warning, "foreign",
                          "more was changed below " + watched.path +
                              " than the tracker had room for, or its file system was away: "
                              "everything in it is compared");
            continue;
        }
        for (const ObjectChange& change : record.objects) {
            if (change.file_system != watched.file_system) continue;
            const Result<DirectoryVolume::ChangedObject> object =
                watched.volume->find_changed(change.handle);
            if (!object.ok()) {
                if (object.status().code() == Code::not_found) continue;
                // It can't be looked at, so it can't be left out either.
                keys.push_back({kNoObject, IntentKey::kVolume, watched.index});
                break;
            }
            add_keys(change, watched, object->id, keys);
            if (is_new) found.add(change, path_of(watched, object->file.get()));
        }
    }
    if (found.objects != 0) {
        events_.event(mirror_, LogLevel::warning, "foreign", found.sentence(consequence));
    }
    return keys;
}

}  // namespace gemel
