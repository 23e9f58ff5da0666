// SPDX-License-Identifier: Apache-2.0
// Whether the disk works while a sync of everything is under way. That one may take as long as it
// wants on a disk that works; a sync of one object of each volume, which is asked for once a second
// meanwhile, may not. Without it a disk that hangs would not be noticed when nobody waits but for
// the large sync.
#pragma once

#include "engine/mirror/sync_runner.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

namespace gemel {

class DiskCheck {
   public:
    // `is_needed`: whether a sync of everything is under way still.
    DiskCheck(ReplicaContext& context, SyncRunner& syncs, std::function<bool()> is_needed);
    ~DiskCheck() { *alive_ = false; }
    DiskCheck(const DiskCheck&) = delete;
    DiskCheck& operator=(const DiskCheck&) = delete;

    // No effect while it goes on. A sync that fails is a failure of this copy's disk.
    void begin() noexcept;
    // When the syncs were asked for that are not done; empty: all are.
    [[nodiscard]] std::optional<Instant> asked() const noexcept { return asked_; }

   private:
    void ask() noexcept;
    void answered(Status status) noexcept;

    ReplicaContext& context_;
    SyncRunner& syncs_;
    std::function<bool()> is_needed_;
    std::size_t unanswered_ = 0;
    std::optional<Instant> asked_;
    Timer again_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace gemel
