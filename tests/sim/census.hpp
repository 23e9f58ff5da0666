// SPDX-License-Identifier: Apache-2.0
// Everything of a resting cluster that can be counted: descriptors, timers, sockets, tables of the
// engine, files of the state directories, memory. Two counts of the same situation, hours apart,
// must be the same: what is not has grown.
#pragma once

#include "tests/sim/cluster.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel::sim {

class Census {
   public:
    // Counts all but memory. Requires: in sync, nobody works.
    explicit Census(Cluster& cluster);

    // `slack`: how much more a later count may be without anything having grown.
    void add(std::string what, std::uint64_t value, std::uint64_t slack = 0);

    // Sentences about what has grown since `before`, a count of the same things.
    [[nodiscard]] std::vector<std::string> grown_since(const Census& before) const;
    [[nodiscard]] std::string to_string() const;

   private:
    struct Count {
        std::string what;
        std::uint64_t value = 0;
        std::uint64_t slack = 0;
    };

    void add_process(Cluster& cluster, std::size_t machine);
    void add_tables(Cluster& cluster, std::size_t node);
    void add_disk(const std::string& what, FileSystem& disk);

    std::vector<Count> counts_;
};

}  // namespace gemel::sim
