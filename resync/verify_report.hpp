// SPDX-License-Identifier: Apache-2.0
// What a verify has found: the objects that differ, each with everything that differs of it, and
// the intents that would have exactly these compared and mended by a resync.
#pragma once

#include "engine/store/intent_log.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace gemel {

// One aspect of an object. `what`: "missing" and "superfluous" (on the other node), "name",
// "content", "holes", "type", "mode", "uid", "gid", "device", "size", "modified", "target" (of a
// symbolic link), "xattr NAME". The values are texts for people; empty where there are none.
struct VerifyDetail {
    std::string what, here, there;
};

struct ByteRange {
    std::uint64_t begin = 0, end = 0;
};

struct VerifyDifference {
    std::uint16_t volume = 0;
    std::string path;  // in the volume, "" its root; where the object was met on this node
    std::vector<VerifyDetail> details;
    std::vector<ByteRange> content, holes;  // sorted, apart from each other
};

class VerifyReport {
   public:
    // More objects than this are counted only.
    static constexpr std::size_t kDifferencesMax = 1000;
    // More intents than this, and all of a volume is compared.
    static constexpr std::size_t kKeysMax = 50'000;
    // More ranges of an object are told as the stretch from the first to the last of them.
    static constexpr std::size_t kRangesMax = 256;

    // Each returns true when the object had not been reported before.
    bool add(std::uint16_t volume, const std::string& path, const VerifyDetail& detail);
    bool add_content(std::uint16_t volume, const std::string& path, ByteRange range);
    bool add_holes(std::uint16_t volume, const std::string& path, ByteRange range);

    void mark(const IntentKey& key);
    void mark_content(std::uint16_t volume, ObjectId object, ByteRange range);
    // The other node lacks the object, which stands in this directory.
    void mark_missing(std::uint16_t volume, ObjectId object, ObjectId directory);

    // How many objects differ.
    [[nodiscard]] std::uint64_t count() const noexcept { return kept_.size() + uncounted_; }
    [[nodiscard]] bool empty() const noexcept { return count() == 0; }
    // The first ones, by volume and path.
    [[nodiscard]] std::vector<VerifyDifference> differences() const;
    [[nodiscard]] std::vector<IntentKey> keys() const { return {keys_.begin(), keys_.end()}; }
    [[nodiscard]] const std::set<std::pair<std::uint16_t, ObjectId>>& missing() const noexcept {
        return missing_;
    }

   private:
    using Place = std::pair<std::uint16_t, std::string>;

    // Null: there are too many.
    VerifyDifference* find(std::uint16_t volume, const std::string& path, bool& is_new);

    std::map<Place, VerifyDifference> kept_;
    std::uint64_t uncounted_ = 0;  // beyond those kept
    Place last_;                   // of them
    std::set<IntentKey> keys_;
    std::set<std::pair<std::uint16_t, ObjectId>> missing_;
};

}  // namespace gemel
