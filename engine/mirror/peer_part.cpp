// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/peer_part.hpp"

#include "engine/base/assert.hpp"
#include "engine/store/object_index.hpp"

#include <linux/fs.h>

namespace gemel {

PeerPart::PeerPart(const Op& op) : origin_(op), scope_is_mirrored_(op.scope == Scope::mirrored) {
    GEMEL_ASSERT(op.scope != Scope::local);
    if (op.scope == Scope::publishes) publish();
    if (op.scope == Scope::withdraws) withdraw();
}

void PeerPart::publish() {
    name_ = hex_name(origin_.object);
    part_ = origin_;
    part_.kind = OpKind::rename;
    part_.parent = kIncomingDirectory;
    part_.name = name_;
    part_.resolved.parent_modified = origin_.modified;  // of incoming/: nobody looks at it
    if (origin_.kind == OpKind::rename) return;
    GEMEL_ASSERT(origin_.kind == OpKind::link);
    part_.new_parent = origin_.parent;
    part_.new_name = origin_.name;
    part_.flags = RENAME_NOREPLACE;
    part_.resolved.new_parent_modified = origin_.resolved.parent_modified;
}

void PeerPart::withdraw() {
    part_.volume = origin_.volume;
    part_.object = origin_.object;
    part_.modified = origin_.modified;
    if (origin_.kind == OpKind::link) {
        part_.kind = OpKind::release_orphan;
        part_.resolved.object_gone = true;
        return;
    }
    GEMEL_ASSERT(origin_.kind == OpKind::rename);
    part_.kind = OpKind::unlink;
    part_.parent = origin_.parent;
    part_.name = origin_.name;
    part_.resolved.object_gone = true;
    part_.resolved.parent_modified = origin_.resolved.parent_modified;
}

}  // namespace gemel
