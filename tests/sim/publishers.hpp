// SPDX-License-Identifier: Apache-2.0
// Applications that replace a file the way databases and editors do: written under an excluded
// name, sometimes synced, then renamed over the mirrored one. What stands under the mirrored name
// must at any moment be one whole version: the last acknowledged, or one whose rename was never
// answered. A version says which node it was written on, so that a name kept by one node is known
// on another.
#pragma once

#include "engine/io/sim/file_system.hpp"
#include "engine/io/sim/world.hpp"
#include "tests/sim/workload.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel::sim {

class Publishers {
   public:
    // As Workload.
    Publishers(World& world, std::size_t count, std::function<SimMount*()> serving,
               std::function<void(const std::string&)> fail);
    ~Publishers();

    void start();
    void stop() noexcept { stopped_ = true; }
    [[nodiscard]] bool is_idle() const noexcept;
    // Requires: is_idle().
    void verify_all(SimMount& mount);
    // Every excluded name on this disk was written by the node of this name.
    void verify_kept(FileSystem& disk, const std::string& node);
    [[nodiscard]] std::uint64_t acknowledged() const noexcept { return acknowledged_; }

   private:
    class Publisher;

    World& world_;
    std::function<SimMount*()> serving_;
    std::function<void(const std::string&)> fail_;
    std::vector<std::unique_ptr<Publisher>> publishers_;
    bool stopped_ = false;
    std::uint64_t acknowledged_ = 0;
};

}  // namespace gemel::sim
