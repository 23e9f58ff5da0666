// SPDX-License-Identifier: Apache-2.0
// The other node's part of an op (docs/exclude.md). A mirrored op is the same on both nodes. An
// object that is published is sent to the other node's incoming/ before, so that its part is a
// rename from there; where an object is withdrawn, the other node only loses what it had.
#pragma once

#include "engine/store/op.hpp"

#include <string>

namespace gemel {

class PeerPart {
   public:
    // Requires: op has been prepared, its scope is not local; `op` outlives this object.
    explicit PeerPart(const Op& op);
    PeerPart(const PeerPart&) = delete;
    PeerPart& operator=(const PeerPart&) = delete;

    [[nodiscard]] const Op& op() const noexcept { return scope_is_mirrored_ ? origin_ : part_; }

   private:
    void publish();
    void withdraw();

    const Op& origin_;
    bool scope_is_mirrored_;
    Op part_;
    std::string name_;  // in incoming/
};

}  // namespace gemel
