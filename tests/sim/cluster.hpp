// SPDX-License-Identifier: Apache-2.0
// A whole cluster in one simulated world: two nodes and a witness, each a process made of the
// production parts (storage, replica, resync, state machine, sessions, heartbeats, register store);
// only mounts and applications are models (workload.hpp).
#pragma once

#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "tests/sim/mutants.hpp"
#include "tests/sim/workload.hpp"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace gemel::sim {

class NodeProgram;
struct ClusterNames;

class Cluster {
   public:
    static constexpr std::size_t kAlpha = 0, kBeta = 1, kWitness = 2;

    explicit Cluster(std::uint64_t seed, Mutant mutant = Mutant::none);
    ~Cluster();

    // Starts the machine's process; no effect while it has one.
    void start(std::size_t machine);
    void start_all();
    void kill(std::size_t machine);
    void power_cut(std::size_t machine);
    // Both directions between two machines on every network, or one.
    void cut(std::size_t from, std::size_t to);
    void heal_all();

    // One node is primary, the other its secondary, as their machines see it.
    [[nodiscard]] bool is_in_sync() const noexcept;
    // The mount that applications work through now, or null. With two (never at once for
    // acknowledgements) the one that began last.
    [[nodiscard]] SimMount* serving() noexcept;
    // Differences of the two copies. Requires: nothing is being written.
    [[nodiscard]] std::vector<std::string> compare();
    // "wait: waits for ..." of both nodes, for a failure's text.
    [[nodiscard]] std::string describe() const;

    World world;
    std::unique_ptr<ClusterNames> names;
    std::array<Node*, 3> machines{};
    std::array<SimMount, 2> mounts;
    std::array<NodeProgram*, 2> programs{};  // null while there is no process
    std::vector<std::string> failures;
};

}  // namespace gemel::sim
