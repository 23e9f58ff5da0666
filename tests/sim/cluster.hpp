// SPDX-License-Identifier: Apache-2.0
// A whole cluster in one simulated world: two nodes and a witness, each a process made of the
// production parts (storage, replica, resync, state machine, sessions, heartbeats, register store);
// only mounts and applications are models (workload.hpp).
#pragma once

#include "controller/mirror_machine_types.hpp"
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
class WitnessProgram;
struct ClusterNames;

class Cluster {
   public:
    static constexpr std::size_t kAlpha = 0, kBeta = 1, kWitness = 2;

    explicit Cluster(std::uint64_t seed, Mutant mutant = Mutant::none);
    ~Cluster();
    // The mirror has a block volume too, perhaps with sync = "fsync". Before start().
    void add_block(std::uint64_t size, bool answers_early = false);

    // Starts the machine's process; no effect while it has one.
    void start(std::size_t machine);
    void start_all();
    void kill(std::size_t machine);
    void power_cut(std::size_t machine);
    // Both directions between two machines on every network, or one.
    void cut(std::size_t from, std::size_t to);
    void heal_all();
    // What a person asks of a node's mirror; no effect without a process.
    void command(std::size_t node, Command command);

    // Null while it has no process, or one whose storage was refused.
    [[nodiscard]] NodeProgram* program(std::size_t node) const noexcept;
    // A process that could not open its storage: it does nothing until it is started again.
    [[nodiscard]] bool is_refused(std::size_t machine) const noexcept;
    // Of a node whose storage was refused, why; else empty.
    [[nodiscard]] std::string refusal(std::size_t node) const;
    // The mirror's part of a node's state directory, in Node::disk().
    [[nodiscard]] static std::string state_path();
    // What a person does who is told to move it away. Requires: no process has it open.
    void move_state_away(std::size_t node);
    // Of the block volume's file. Requires: it is there.
    [[nodiscard]] std::uint64_t backing_size(std::size_t node);
    // Some other node is in the recorded set with its memory intact: what the applications were
    // promised does not depend on this machine.
    [[nodiscard]] bool others_hold_everything(std::size_t machine) const;
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
    std::vector<std::string> failures;

   private:
    std::array<NodeProgram*, 2> programs_{};  // of the last process
    WitnessProgram* witness_ = nullptr;
};

}  // namespace gemel::sim
