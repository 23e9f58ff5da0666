// SPDX-License-Identifier: Apache-2.0
// SuperblockStore over the mirror's state directory: one write at a time, in the order asked for,
// each a job because it waits for the disk. The volumes' ids are those that they carry at the time,
// because a first synchronisation changes them.
#pragma once

#include "controller/ports.hpp"
#include "engine/io/loop.hpp"
#include "engine/store/volume.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <span>

namespace gemel {

class SuperblockWriter final : public SuperblockStore, private Job {
   public:
    // `directory` is the mirror's state directory and stays the caller's. Requires: loop, directory
    // and volumes outlive it, and no store is under way when it is destroyed.
    SuperblockWriter(Loop& loop, Fd directory,
                     std::span<const std::unique_ptr<Volume>> volumes) noexcept
        : loop_(loop), directory_(directory), volumes_(volumes) {}

    void store(const Superblock& superblock, std::function<void(Status)> done) noexcept override;
    [[nodiscard]] bool is_idle() const noexcept { return queue_.empty(); }

   private:
    struct Store {
        Superblock superblock;
        std::function<void(Status)> done;
    };

    void run() noexcept override;
    void done() noexcept override;

    Loop& loop_;
    Fd directory_;
    std::span<const std::unique_ptr<Volume>> volumes_;
    std::deque<Store> queue_;  // the front is being written
    Status status_;
};

}  // namespace gemel
