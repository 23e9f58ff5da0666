// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/cluster.hpp"

#include "engine/io/sim/fabric.hpp"
#include "tests/sim/node_program.hpp"
#include "tests/sim/tree_compare.hpp"

namespace gemel::sim {

namespace {

constexpr std::array<const char*, 3> kMachines = {"alpha", "beta", "witness"};

SocketAddress address(const char* text) {
    const Result<SocketAddress> parsed = SocketAddress::parse(text);
    GEMEL_ASSERT(parsed.ok());
    return parsed.value();
}

}  // namespace

Cluster::Cluster(std::uint64_t seed, Mutant mutant)
    : world(seed), names(std::make_unique<ClusterNames>()) {
    names->mutant = mutant;
    static constexpr std::array<std::uint64_t, 3> kIdleRounds = {0, 1, 3};
    names->idle_rounds = kIdleRounds[seed / 3 % kIdleRounds.size()];
    // What is cleared early is cleared more often.
    if (mutant == Mutant::clear_before_sync) names->idle_rounds = 0;
    names->node_addresses = {address("10.0.0.1:7800"), address("10.0.0.2:7800")};
    names->witness_address = address("10.0.0.9:7801");
    const std::array<SocketAddress, 3> addresses = {
        names->node_addresses[0], names->node_addresses[1], names->witness_address};
    for (std::size_t i = 0; i < machines.size(); ++i) {
        NodeOptions options;
        options.name = kMachines[i];
        options.addresses.push_back({addresses[i], 0});
        options.clock_drift_ppm = static_cast<std::int64_t>(world.prng().below(200)) - 100;
        machines[i] = &world.add_node(options);
        FileSystemOptions data;
        machines[i]->mount(ClusterNames::kData, data);
        machines[i]->make_directories(ClusterNames::kState);
    }
}

void Cluster::add_block(std::uint64_t size, bool answers_early) {
    names->block_size = size;
    names->answers_blocks_early = answers_early;
    for (const std::size_t i : {kAlpha, kBeta}) machines[i]->mount(ClusterNames::kDisks, {});
}

Cluster::~Cluster() {
    for (Node* machine : machines) {
        if (machine->has_process()) machine->kill_process();
    }
}

void Cluster::start(std::size_t machine) {
    Node& node = *machines[machine];
    if (node.has_process()) return;
    node.start([this, machine](SimLoop& loop) -> std::unique_ptr<Program> {
        if (machine == kWitness) {
            auto witness = std::make_unique<WitnessProgram>(loop, *names);
            witness_ = witness.get();
            return witness;
        }
        auto program = std::make_unique<NodeProgram>(loop, *names, machine, mounts[machine]);
        programs_[machine] = program.get();
        return program;
    });
}

void Cluster::start_all() {
    for (std::size_t i = 0; i < machines.size(); ++i) start(i);
}

void Cluster::kill(std::size_t machine) {
    if (machines[machine]->has_process()) machines[machine]->kill_process();
}

void Cluster::power_cut(std::size_t machine) { machines[machine]->power_cut(); }

void Cluster::cut(std::size_t from, std::size_t to) {
    world.fabric().cut(*machines[from], *machines[to]);
}

void Cluster::heal_all() { world.fabric().heal_all(); }

void Cluster::command(std::size_t node, Command command) {
    if (NodeProgram* there = program(node)) there->command(command);
}

NodeProgram* Cluster::program(std::size_t node) const noexcept {
    if (!machines[node]->has_process() || programs_[node]->node() == nullptr) return nullptr;
    return programs_[node];
}

bool Cluster::is_refused(std::size_t machine) const noexcept {
    if (!machines[machine]->has_process()) return false;
    return machine == kWitness ? !witness_->is_open() : programs_[machine]->node() == nullptr;
}

std::string Cluster::refusal(std::size_t node) const {
    if (node == kWitness || !is_refused(node)) return {};
    return programs_[node]->refusal();
}

std::string Cluster::state_path() {
    return std::string(ClusterNames::kState) + '/' + ClusterNames::kMirror;
}

void Cluster::move_state_away(std::size_t node) {
    FileSystem& disk = *machines[node]->find(ClusterNames::kState).file_system;
    Inode& state = *disk.lookup(disk.root(), ClusterNames::kState + 1).value();
    const std::string aside = "damaged-" + std::to_string(world.event_count());
    const Status moved = disk.rename({&state, ClusterNames::kMirror}, {&state, aside}, 0,
                                     machines[node]->wall_now());
    GEMEL_ASSERT(moved.ok());
    disk.sync_all();
}

std::uint64_t Cluster::backing_size(std::size_t node) {
    FileSystem& disk = *machines[node]->find(ClusterNames::kDisks).file_system;
    const std::string_view path(ClusterNames::kBacking);
    const std::string_view name = path.substr(path.rfind('/') + 1);
    return disk.stat(*disk.lookup(disk.root(), name).value()).size;
}

bool Cluster::others_hold_everything(std::size_t machine) const {
    if (machine == kWitness) return true;
    if (!machines[kWitness]->has_process() || !witness_->is_open()) return false;
    const Node& node = *machines[1 - machine];
    const RegisterValue recorded = witness_->recorded();
    const RegisterMember* other = recorded.find(node.name());
    if (other == nullptr || !node.is_on() || other->incarnation.boot != node.boot_id()) {
        return false;
    }
    const NodeProgram* there = program(1 - machine);
    return there == nullptr ||
           there->node()->machine().superblock().incarnation == other->incarnation;
}

bool Cluster::is_in_sync() const noexcept {
    std::size_t primaries = 0;
    std::size_t secondaries = 0;
    for (std::size_t i = 0; i < programs_.size(); ++i) {
        const NodeProgram* there = program(i);
        if (there == nullptr) return false;
        const MirrorState state = there->node()->machine().state();
        primaries += state == MirrorState::primary ? 1 : 0;
        secondaries += state == MirrorState::secondary ? 1 : 0;
    }
    return primaries == 1 && secondaries == 1;
}

SimMount* Cluster::serving() noexcept {
    SimMount* newest = nullptr;
    std::uint64_t epoch = 0;
    for (std::size_t i = 0; i < mounts.size(); ++i) {
        if (!machines[i]->has_process() || machines[i]->is_paused()) continue;
        if (!mounts[i].is_serving()) continue;
        if (newest == nullptr || mounts[i].epoch() > epoch) {
            newest = &mounts[i];
            epoch = mounts[i].epoch();
        }
    }
    return newest;
}

std::vector<std::string> Cluster::compare() {
    return compare_trees(*machines[kAlpha]->find(ClusterNames::kData).file_system, "",
                         *machines[kBeta]->find(ClusterNames::kData).file_system, "",
                         names->exclude);
}

std::string Cluster::describe() const {
    std::string text;
    for (std::size_t i = 0; i < programs_.size(); ++i) {
        text += kMachines[i];
        text += ": ";
        const NodeProgram* there = program(i);
        if (there == nullptr) {
            text += "no process; ";
            continue;
        }
        const MirrorMachine& machine = there->node()->machine();
        text += std::string(mirror_state_name(machine.state())) + " (" + machine.reason() + "); ";
    }
    return text;
}

}  // namespace gemel::sim
