// SPDX-License-Identifier: Apache-2.0
// What a FUSE connection needs of the mirror behind it: a narrow waist, so that requests can be
// tested against a volume alone. ReplicaTarget is the one of production.
#pragma once

#include "engine/mirror/replica.hpp"

namespace gemel {

class FuseTarget {
   public:
    // As Replica::submit and Replica::sync: completion comes exactly once, from the loop.
    virtual void submit(ClientOp& op) noexcept = 0;
    virtual void sync(ClientSync& sync) noexcept = 0;
    // As Replica::note_read_failure.
    virtual void note_read_failure(Status status) noexcept = 0;
    [[nodiscard]] virtual DirectoryVolume& volume(std::uint16_t index) noexcept = 0;

   protected:
    ~FuseTarget() = default;
};

class ReplicaTarget final : public FuseTarget {
   public:
    // Requires: the replica outlives it.
    explicit ReplicaTarget(Replica& replica) noexcept : replica_(replica) {}

    void submit(ClientOp& op) noexcept override { replica_.submit(op); }
    void sync(ClientSync& sync) noexcept override { replica_.sync(sync); }
    void note_read_failure(Status status) noexcept override { replica_.note_read_failure(status); }
    [[nodiscard]] DirectoryVolume& volume(std::uint16_t index) noexcept override {
        return replica_.directory(index);
    }

   private:
    Replica& replica_;
};

}  // namespace gemel
