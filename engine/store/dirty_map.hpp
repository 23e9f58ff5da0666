// SPDX-License-Identifier: Apache-2.0
// What the peer lacks, in the serving node's memory: for each object which ranges of its content,
// whether its attributes, whether (a directory's) names, and whether the object as a whole is
// missing there. Made from the ops carried out while the peer was away (ranges of kDirtyUnit),
// and after a restart from the intents (coarse). The map is always a superset of the difference.
//
// Full mode (first synchronisation, or "must be compared"): everything counts as dirty and absent
// until set_known() says that the resync has dealt with it; one bit an object of memory.
#pragma once

#include "engine/base/units.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

namespace gemel {

// Block of the file systems and page of the cache: a small write costs a resync no more than
// itself.
inline constexpr std::uint64_t kDirtyUnit = 4 * kKiB;

struct DirtyRange {
    std::uint64_t begin = 0;  // bytes, multiple of kDirtyUnit
    std::uint64_t end = 0;    // exclusive; kEndOfObject: whatever follows
    static constexpr std::uint64_t kEndOfObject = ~std::uint64_t{0};

    friend bool operator==(const DirtyRange&, const DirtyRange&) noexcept = default;
};

// Set of disjoint sorted ranges, none adjacent to the next. An object has room for kRangesMax, so
// that it costs at most about 200 bytes, or for more where add() is given that; beyond its room
// ranges are merged across the narrowest gaps, into a superset.
class DirtyRanges {
   public:
    static constexpr std::size_t kRangesMax = 10;

    // Rounds outwards to kDirtyUnit. `room`: how many ranges there may be afterwards.
    // Requires: size > 0.
    void add(std::uint64_t offset, std::uint64_t size, std::size_t room = kRangesMax) noexcept;
    void add_all() noexcept;
    // Removes what lies inside [begin, end), both multiples of kDirtyUnit (or end of object). Where
    // that would split a range of a full set of kRangesMax it removes nothing; from a range's edge
    // it always does.
    void remove(std::uint64_t begin, std::uint64_t end) noexcept;
    [[nodiscard]] bool intersects(std::uint64_t offset, std::uint64_t size) const noexcept;
    [[nodiscard]] bool empty() const noexcept { return count() == 0; }
    [[nodiscard]] std::size_t count() const noexcept {
        return many_ == nullptr ? few_.size() : many_->size();
    }
    // The first range that ends behind `offset`, whole; none: begin == end.
    [[nodiscard]] DirtyRange first_behind(std::uint64_t offset) const noexcept;
    // All of them: for tests and where there are few.
    [[nodiscard]] std::vector<DirtyRange> ranges() const;
    // Sum of lengths; an open end counts up to `object_size`.
    [[nodiscard]] std::uint64_t bytes(std::uint64_t object_size) const noexcept;

   private:
    using Many = std::map<std::uint64_t, std::uint64_t>;  // begin -> end

    void add_to_few(DirtyRange added) noexcept;
    void add_to_many(DirtyRange added) noexcept;
    void remove_from_many(std::uint64_t begin, std::uint64_t end) noexcept;
    void merge_nearest() noexcept;
    void halve() noexcept;

    std::vector<DirtyRange> few_;  // at most kRangesMax
    std::unique_ptr<Many> many_;   // instead, when there are more
};

struct DirtyObject {
    bool absent = false;  // the peer does not have the object at all
    bool attributes = false;
    bool names = false;
    DirtyRanges content;

    [[nodiscard]] bool empty() const noexcept {
        return !absent && !attributes && !names && content.empty();
    }
};

class DirtyMap {
   public:
    // Of all objects that have more than DirtyRanges::kRangesMax, together: about 10 MiB.
    static constexpr std::size_t kManyRangesMax = 131'072;

    void mark_content(ObjectId object, std::uint64_t offset, std::uint64_t size) noexcept;
    void mark_all_content(ObjectId object) noexcept;
    // No effect on the object of a block volume, which has none.
    void mark_attributes(ObjectId object) noexcept;
    void mark_names(ObjectId directory) noexcept;
    // The object was made while the peer was away: absent, all content, attributes and names.
    void mark_absent(ObjectId object) noexcept;
    // The object is gone here; whatever differed of it is settled by the names.
    void forget(ObjectId object) noexcept;

    [[nodiscard]] bool is_absent(ObjectId object) const noexcept;
    [[nodiscard]] bool names_dirty(ObjectId directory) const noexcept;
    [[nodiscard]] bool attributes_dirty(ObjectId object) const noexcept;
    [[nodiscard]] bool content_dirty(ObjectId object, std::uint64_t offset,
                                     std::uint64_t size) const noexcept;
    [[nodiscard]] bool any_content_dirty(ObjectId object) const noexcept;

    // The resync has put this aspect into the stream; later ops on it are shipped behind it.
    void clear_absent(ObjectId object) noexcept;
    void clear_attributes(ObjectId object) noexcept;
    void clear_names(ObjectId directory) noexcept;
    void clear_content(ObjectId object, std::uint64_t begin, std::uint64_t end) noexcept;

    // Full mode: see above. begin_full forgets all that was known.
    void begin_full() noexcept;
    void end_full() noexcept;
    [[nodiscard]] bool is_full() const noexcept { return full_; }
    [[nodiscard]] bool is_known(ObjectId object) const noexcept;
    // From here on the object is dirty only where it is marked. Marks it as all dirty but not
    // absent when `still_dirty` (its skeleton is in the stream, its parts follow).
    void set_known(ObjectId object, bool still_dirty) noexcept;

    // The explicitly marked objects. Null: not marked.
    [[nodiscard]] const DirtyObject* find(ObjectId object) const noexcept;
    [[nodiscard]] std::size_t object_count() const noexcept { return objects_.size(); }
    // Marked content of all objects; a range without an end counts as one unit. Walks them all.
    [[nodiscard]] std::uint64_t content_bytes() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return !full_ && objects_.empty(); }
    // Any marked object whose id is greater than `after` in id order, wrapping not; none at the
    // end.
    [[nodiscard]] ObjectId next_after(ObjectId after) const noexcept;
    // The same among the objects that are marked with names and not as absent. In full mode an
    // object found here may still be unknown.
    [[nodiscard]] ObjectId next_names_after(ObjectId after) const noexcept;
    // False: every name is the same there as here.
    [[nodiscard]] bool any_names_dirty() const noexcept {
        return full_ || !names_.empty() || absent_count_ != 0;
    }

   private:
    DirtyObject& entry(ObjectId object) noexcept;
    // Before and after a change of an object's ranges: many_ranges_ follows.
    void take_out(const DirtyRanges& content) noexcept;
    void put_in(const DirtyRanges& content) noexcept;
    void drop_if_empty(ObjectId object) noexcept;
    [[nodiscard]] bool marked_absent(ObjectId object) const noexcept;
    // After a change of the object's marks: names_ and absent_count_ follow.
    void follow(ObjectId object, bool was_absent) noexcept;

    std::map<ObjectId, DirtyObject> objects_;
    std::set<ObjectId> names_;      // names marked, not absent
    std::size_t absent_count_ = 0;  // objects marked absent
    std::size_t many_ranges_ = 0;   // of objects with more than kRangesMax
    bool full_ = false;
    // Full mode: one bit an id, in pages of kIdsPerPage ids (a stray id costs one page, no more).
    static constexpr std::uint64_t kIdsPerPage = 4096;
    using KnownPage = std::array<std::uint64_t, kIdsPerPage / 64>;
    std::unordered_map<std::uint64_t, KnownPage> known_;
};

}  // namespace gemel
