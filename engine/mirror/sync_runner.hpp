// SPDX-License-Identifier: Apache-2.0
// Makes objects or everything durable on this node, away from the loop's thread.
#pragma once

#include "engine/mirror/replica_context.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace gemel {

class SyncRunner {
   public:
    explicit SyncRunner(ReplicaContext& context) noexcept;
    ~SyncRunner();

    // fsync of one object and the names that lead to it; `data_only`: fdatasync of its content.
    void sync_object(std::uint16_t volume, ObjectId object, bool data_only,
                     std::function<void(Status)> done) noexcept;
    // syncfs of every volume's file system and of its index's. A failure is final: the kernel
    // reports a lost page once.
    void sync_everything(std::function<void(Status)> done) noexcept;
    // Called where data are written: once most descriptors kept open hold data not yet synced,
    // syncs everything, so that it need not be done on the loop when they run out.
    void relieve() noexcept;

   private:
    class SyncJob;

    SyncJob& take_job() noexcept;
    void finish(SyncJob& job) noexcept;

    ReplicaContext& context_;
    std::vector<std::unique_ptr<SyncJob>> jobs_;
    std::vector<SyncJob*> idle_;
    bool relieving_ = false;
};

}  // namespace gemel
