// SPDX-License-Identifier: Apache-2.0
// Which objects are open through one connection, how often, and which of them have lost their last
// name while open: those are kept on both nodes as orphans until their last release.
//
// A removal on its way (submitted, not completed) is listed too, so that an open that arrives in
// between still keeps its object: the removal's op is marked before it is carried out.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/base/units.hpp"
#include "engine/store/op.hpp"

#include <cstdint>
#include <unordered_map>

namespace gemel {

// A removal in flight; lives in the request that made it.
struct PendingRemoval : ListLink {
    ObjectId victim;  // what may lose its last name
    Op* op = nullptr;
};

class OpenObjects {
   public:
    void open(ObjectId object) noexcept;
    // True: that was the last open of an orphan; the caller has it removed for good.
    [[nodiscard]] bool close(ObjectId object) noexcept;
    [[nodiscard]] bool is_open(ObjectId object) const noexcept;

    // Sets op.object_in_use and lists the removal. Requires: end_removal follows.
    void begin_removal(PendingRemoval& removal, ObjectId victim, Op& op) noexcept;
    // True: the victim is an orphan and not open any more, so the caller has it removed for good.
    [[nodiscard]] bool end_removal(PendingRemoval& removal, bool orphaned) noexcept;

    // A nameless object has been made, and opened by open().
    void mark_orphan(ObjectId object) noexcept;
    // An orphan got a name (linkat of an O_TMPFILE).
    void clear_orphan(ObjectId object) noexcept;
    [[nodiscard]] bool is_orphan(ObjectId object) const noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return objects_.size(); }

   private:
    struct State {
        std::uint32_t count = 0;
        bool orphan = false;
    };
    std::unordered_map<ObjectId, State, ObjectIdHash> objects_;
    IntrusiveList<PendingRemoval> removals_;
};

}  // namespace gemel
