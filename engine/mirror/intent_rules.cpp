// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/intent_rules.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>

namespace gemel {

void IntentSet::add(const IntentKey& key) noexcept {
    GEMEL_ASSERT(count_ < keys_.size());
    keys_[count_++] = key;
}

void IntentSet::add_content(std::uint16_t volume, ObjectId object, std::uint64_t offset,
                            std::uint64_t size) noexcept {
    if (size == 0) return;
    const std::uint64_t first = offset / kIntentRegionSize;
    const std::uint64_t last = (offset + size - 1) / kIntentRegionSize;
    if (last - first >= kRegionsMax || last > IntentKey::kRegionMax) {
        add({object, IntentKey::kAllContent, volume});
        return;
    }
    for (std::uint64_t region = first; region <= last; ++region) {
        add({object, static_cast<std::uint32_t>(region), volume});
    }
}

void add_intents(const Op& op, std::uint64_t size_now, const IntentLog& log,
                 IntentSet& set) noexcept {
    const auto names = [&](ObjectId directory) {
        // What is in there is no part of any copy, and gone at the next start.
        if (directory == kIncomingDirectory) return;
        set.add({directory, IntentKey::kNames, op.volume});
    };
    const auto whole_object = [&] {
        const bool covered = log.covers({op.object, IntentKey::kAttributes, op.volume});
        set.add({op.object, covered ? IntentKey::kAttributes : IntentKey::kIdRange, op.volume});
    };
    switch (op.kind) {
        case OpKind::write:
        case OpKind::copy_range:
            // A region's intent has the object's size and times compared too.
            set.add_content(op.volume, op.object, op.offset, op.size);
            return;
        case OpKind::truncate:
            // What is cut off and later written over elsewhere reads as a hole here and as old
            // data there, so all that lies between the two sizes may differ.
            if (size_now > op.size) {
                set.add_content(op.volume, op.object, op.size, size_now - op.size);
            }
            set.add({op.object, IntentKey::kAttributes, op.volume});
            return;
        case OpKind::allocate:
            set.add_content(op.volume, op.object, op.offset, op.size);
            if (op.object == kBlockObject) return;  // it has none
            set.add({op.object, IntentKey::kAttributes, op.volume});
            return;
        case OpKind::create:
            whole_object();
            names(op.name.empty() ? kOrphanDirectory : op.parent);
            return;
        case OpKind::link:
            names(op.parent);
            // A nameless file leaves the orphan directory with its first name.
            names(kOrphanDirectory);
            return;
        case OpKind::unlink:
        case OpKind::remove_directory:
            names(op.parent);
            if (op.object_in_use) names(kOrphanDirectory);
            return;
        case OpKind::rename:
            names(op.parent);
            if (op.new_parent != op.parent) names(op.new_parent);
            if (op.object_in_use) names(kOrphanDirectory);
            // The other copy has got all of it just now.
            if (op.scope == Scope::publishes) whole_object();
            return;
        case OpKind::set_attributes:
        case OpKind::set_xattr:
        case OpKind::remove_xattr:
            set.add({op.object, IntentKey::kAttributes, op.volume});
            return;
        case OpKind::release_orphan:
            names(kOrphanDirectory);
            return;
    }
}

}  // namespace gemel
