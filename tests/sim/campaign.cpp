// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/campaign.hpp"

#include "tests/sim/node_program.hpp"

namespace gemel::sim {

Workload::Options Campaign::options_of(std::uint64_t seed) {
    Workload::Options options;
    // Some are never idle, some mostly.
    options.rest_every = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 100 : 25;
    return options;
}

Campaign::Campaign(std::uint64_t seed, Mutant mutant) : Campaign(seed, mutant, options_of(seed)) {}

Campaign::Campaign(std::uint64_t seed, Mutant mutant, const Workload::Options& options)
    : cluster_(seed, mutant),
      workload_(
          cluster_.world, options, [this] { return serving(); },
          [this](const std::string& what) { cluster_.failures.push_back(what); }) {}

SimMount* Campaign::serving() {
    if (!bound_to_) return cluster_.serving();
    SimMount& mount = cluster_.mounts[*bound_to_];
    const bool works = cluster_.program(*bound_to_) != nullptr && mount.is_serving();
    return works ? &mount : nullptr;
}

void Campaign::remark(std::size_t lines_max) {
    cluster_.world.keep_lines(lines_max);
    for (SimMount& mount : cluster_.mounts) mount.remarks = &cluster_.world;
}

void Campaign::note(const std::string& text) { cluster_.world.note({}, EventKind::fault, text); }

std::string Campaign::failure(const std::string& what) const {
    if (!cluster_.failures.empty()) return cluster_.failures.front();
    return what + ": " + cluster_.describe();
}

std::string Campaign::run() {
    cluster_.start_all();
    if (!heal()) return failure("did not begin");
    workload_.start();
    start_more();
    coverage_.start();
    const std::string broken = misfortune();
    return broken.empty() ? finish() : broken;
}

// --- Faults --------------------------------------------------------------------------------------

void Campaign::end_faults() {
    disk_faults_.clear();
    wire_faults_.end();
    cluster_.heal_all();
    for (Node* machine : cluster_.machines) {
        machine->set_drift(machine->options().clock_drift_ppm);
        if (machine->is_paused()) machine->resume();
    }
    restart_processes();
}

void Campaign::restart_processes() {
    for (std::size_t i = 0; i < cluster_.machines.size(); ++i) {
        // A service manager takes its time.
        if (!cluster_.is_refused(i) || next_restart_[i] > cluster_.world.now()) continue;
        next_restart_[i] = cluster_.world.now() + Duration::seconds(1);
        cluster_.kill(i);
    }
    cluster_.start_all();
}

void Campaign::rest_first() {
    const auto rounds = static_cast<std::int64_t>(cluster_.names->idle_rounds + 1);
    const Duration rest = Duration::seconds(rounds) + random_time(300, 2500);
    note("the applications rest");
    workload_.rest(rest);
    run_for(prng().one_in(2) ? rest - random_time(0, 10) : rest + random_time(0, 5));
}

void Campaign::pause(std::size_t machine) {
    if (cluster_.machines[machine]->has_process()) cluster_.machines[machine]->pause();
}

void Campaign::cut_around(std::size_t machine) {
    for (std::size_t to = 0; to < cluster_.machines.size(); ++to) {
        if (to != machine) cluster_.cut(machine, to);
    }
}

bool Campaign::admit(FaultKind kind) {
    const std::size_t number = injected_.size();
    injected_.push_back(kind);
    const bool admitted = !left_out_.contains(number);
    const std::string text =
        "fault " + std::to_string(number) + ", " + std::string(fault_name(kind));
    note(admitted ? text : text + ", is left out");
    return admitted;
}

void Campaign::power_cut(std::size_t machine) {
    if (admit(FaultKind::power_cut)) lose_power(machine);
}

void Campaign::lose_power(std::size_t machine) {
    if (!cluster_.others_hold_everything(machine)) expect_loss_of_unsynced();
    cluster_.power_cut(machine);
}

void Campaign::expect_loss_of_unsynced() {
    note("from here on what was not synced may be lost");
    workload_.unsynced_may_be_lost();
    expect_loss_of_more();
}

DiskFault* Campaign::begin_disk_fault(std::size_t machine, DiskFault::Kind kind) {
    if (!admit(fault_of(kind))) return nullptr;
    const bool has_block = cluster_.names->block_size != 0;
    const bool of_block = has_block && prng().one_in(2);
    disk_faults_.push_back(
        std::make_unique<DiskFault>(*cluster_.machines[machine], kind, prng(),
                                    of_block ? ClusterNames::kDisks : ClusterNames::kData));
    DiskFault& fault = *disk_faults_.back();
    if (cluster_.names->mutant == Mutant::ignore_failed_sync) fault.hide_failed_syncs();
    note(fault.describe());
    return &fault;
}

void Campaign::random_fault() {
    static constexpr FaultKind kKinds[] = {FaultKind::kill,          FaultKind::power_cut,
                                           FaultKind::power_cut,     FaultKind::cut_one_way,
                                           FaultKind::cut_both_ways, FaultKind::isolate,
                                           FaultKind::pause,         FaultKind::die_in_a_call};
    static constexpr FaultKind kSubtle[] = {
        FaultKind::drift,
        FaultKind::wrong_clock,
        FaultKind::verify,
        FaultKind::changed_options,
        fault_of(WireFaults::Kind::slow),
        fault_of(WireFaults::Kind::lossy),
        fault_of(WireFaults::Kind::corrupting),
        fault_of(WireFaults::Kind::resets),
        fault_of(WireFaults::Kind::half_open),
    };
    const std::size_t machine = prng().below(3);
    const std::size_t other = (machine + 1 + prng().below(2)) % 3;
    if (prng().one_in(3)) return inject(kSubtle[prng().below(std::size(kSubtle))], machine, other);
    inject(kKinds[prng().below(std::size(kKinds))], machine, other);
}

void Campaign::inject(FaultKind kind, std::size_t machine, std::size_t to) {
    if (is_of_disk(kind)) {
        begin_disk_fault(machine, disk_kind_of(kind));
        return;
    }
    if (kind == FaultKind::power_cut) return power_cut(machine);
    if (!admit(kind)) return;
    if (is_of_wire(kind)) {
        // Datagrams are the heartbeats' between the nodes.
        const bool is_lossy = wire_kind_of(kind) == WireFaults::Kind::lossy;
        Node& first = *cluster_.machines[is_lossy ? Cluster::kAlpha : machine];
        Node& second = *cluster_.machines[is_lossy ? Cluster::kBeta : to];
        return wire_faults_.begin(wire_kind_of(kind), first, second, prng());
    }
    switch (kind) {
        case FaultKind::kill:
            return cluster_.kill(machine);
        case FaultKind::cut_one_way:
            return cluster_.cut(machine, to);
        case FaultKind::cut_both_ways:
            cluster_.cut(machine, to);
            return cluster_.cut(to, machine);
        case FaultKind::isolate:
            return cut_around(machine);
        case FaultKind::pause:
            return pause(machine);
        case FaultKind::die_in_a_call:
            if (cluster_.machines[machine]->has_process()) {
                cluster_.machines[machine]->die_at_vfs_call(1 + prng().below(200));
            }
            return;
        case FaultKind::drift:
            return drift(machine);
        case FaultKind::wrong_clock:
            return restart_with_wrong_clock(machine);
        case FaultKind::verify:
            return begin_verify();
        case FaultKind::changed_options:
            return restart_with_other_options(machine);
        case FaultKind::damaged_state:
            return damage_state_of(machine == Cluster::kWitness ? to : machine);
        case FaultKind::wire:
        case FaultKind::power_cut:
        case FaultKind::disk:
            return;
    }
}

// --- Healing -------------------------------------------------------------------------------------

bool Campaign::heal() {
    const auto healed = [this] {
        // A process may die late of its fault; a service manager starts it again.
        restart_processes();
        if (!cluster_.failures.empty()) return true;
        return cluster_.is_in_sync() && cluster_.serving() != nullptr;
    };
    if (!has_person()) return cluster_.world.run_until(healed, Duration::seconds(300));
    for (int looks = 0; looks < 20; ++looks) {
        if (cluster_.world.run_until(healed, Duration::seconds(30))) return true;
        help();
    }
    return false;
}

// What a person does who has read the reasons.
void Campaign::help() {
    if (cluster_.describe().find("the witness's disk has failed") != std::string::npos) {
        note("a person restarts the witness");
        cluster_.kill(Cluster::kWitness);
        return cluster_.start_all();
    }
    for (std::size_t node = 0; node < 2; ++node) {
        const NodeProgram* program = cluster_.program(node);
        const std::string refusal = cluster_.refusal(node);
        if (refusal.find("than its configured size") != std::string::npos) {
            note("a person configures the size that the block volume has grown to");
            cluster_.names->block_size = cluster_.backing_size(node);
            continue;
        }
        if (refusal.find("directory away") != std::string::npos) {
            note("a person moves away the state directory of " + cluster_.machines[node]->name());
            // This copy is none any more, and the other one may have lost its memory.
            expect_loss_of_unsynced();
            cluster_.kill(node);
            cluster_.move_state_away(node);
            return cluster_.start(node);
        }
        if (program == nullptr) continue;
        const MirrorMachine& machine = program->node()->machine();
        const std::string reason = machine.reason();
        const bool peer_serves = cluster_.serving() != nullptr;
        const bool asks_for_choice = reason.find("'gemel promote") != std::string::npos;
        if (machine.state() == MirrorState::stopped ||
            (!asks_for_choice && reason.find("copy failed") != std::string::npos)) {
            note("a person starts " + cluster_.machines[node]->name());
            cluster_.command(node, Command::start);
        } else if (machine.state() != MirrorState::wait) {
            continue;
        } else if (peer_serves && reason.find("'gemel resync") != std::string::npos) {
            note("a person gives up the copy of " + cluster_.machines[node]->name());
            cluster_.command(node, Command::resync_full);
        } else if (reason.find("the register names " + cluster_.machines[1 - node]->name()) !=
                   std::string::npos) {
            continue;  // the newest data are there, as it says itself
        } else if (!peer_serves && asks_for_choice) {
            note("a person promotes " + cluster_.machines[node]->name());
            workload_.anything_may_be_lost();
            cluster_.command(node, Command::promote_force);
            return;  // one of them
        }
    }
}

std::string Campaign::finish() {
    workload_.stop();
    stop_more();
    const bool idle = cluster_.world.run_until(
        [this] { return workload_.is_idle() && is_more_idle(); }, Duration::seconds(60));
    if (!idle) return failure("an op was never answered");
    if (!heal()) return failure("did not stay healed");
    SimMount* mount = cluster_.serving();
    if (mount == nullptr) return failure("nobody serves");
    for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
    // What a failed disk had lost shows at the latest now.
    for (std::size_t node = 0; node < 2; ++node) {
        cluster_.machines[node]->find(ClusterNames::kData).file_system->evict_lost_pages();
        if (cluster_.names->block_size == 0) continue;
        cluster_.machines[node]->find(ClusterNames::kDisks).file_system->evict_lost_pages();
    }
    workload_.verify_all(*mount);
    verify_more(*mount);
    run_for(Duration::seconds(3));
    if (!cluster_.failures.empty()) return cluster_.failures.front();
    const std::vector<std::string> differences = cluster_.compare();
    if (!differences.empty()) return "the copies differ: " + differences.front();
    return compare_more();
}

}  // namespace gemel::sim
