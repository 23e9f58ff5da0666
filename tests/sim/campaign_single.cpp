// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

namespace gemel::sim {

std::string SingleFaults::misfortune() {
    const std::uint64_t faults = 1 + prng().below(4);
    for (std::uint64_t i = 0; i < faults; ++i) {
        const std::string broken = one_fault();
        if (!broken.empty()) return broken;
    }
    return {};
}

std::string SingleFaults::one_fault() {
    run_for(random_time(1, 800));
    // In sync, or the fault would be a second one.
    if (cluster_.is_in_sync() && prng().one_in(3)) {
        const std::string broken = disk_fault();
        if (!broken.empty()) return broken;
    } else if (cluster_.is_in_sync()) {
        if (prng().one_in(3)) rest_first();
        prng().one_in(6) ? cut_with_ops_under_way() : random_fault();
        run_for(random_time(1, 6000));
    }
    end_faults();
    if (!heal()) return failure("did not heal");
    const std::string alarm = false_alarm();
    if (!alarm.empty()) return alarm;
    return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
}

// The first ops after a rest find the other node out of reach, and are not hidden by what comes
// later.
void SingleFaults::cut_with_ops_under_way() {
    rest_first();
    const std::size_t node = prng().below(2);
    if (!admit(FaultKind::cut_both_ways)) return;
    for (std::size_t other = 0; other < 3; ++other) {
        if (other == node) continue;
        cluster_.cut(node, other);
        cluster_.cut(other, node);
    }
    workload_.rest(random_time(0, 5));
    run_for(random_time(5, 40));
    workload_.rest(Duration::seconds(20));
}

std::string SingleFaults::disk_fault() {
    const std::size_t machine = prng().below(3);
    const auto kind = static_cast<DiskFault::Kind>(prng().below(DiskFault::kKindCount));
    const bool is_secondary = machine < 2 && cluster_.serving() != &cluster_.mounts[machine];
    // A death that was to come late would be a second fault.
    for (Node* other : cluster_.machines) other->die_at_vfs_call(0);
    const DiskFault* fault = begin_disk_fault(machine, kind);
    if (is_secondary && fault != nullptr) return check_secondary_alone(machine, *fault);
    run_for(random_time(1, 6000));
    return {};
}

// The application sees nothing of a secondary's disk: no error, no end of its mount, and it goes
// on.
std::string SingleFaults::check_secondary_alone(std::size_t machine, const DiskFault& fault) {
    SimMount& mount = *cluster_.serving();
    const std::uint64_t generation = mount.generation;
    const std::uint64_t errors = workload_.failed() + workload_.refused();
    const std::uint64_t before = workload_.acknowledged();
    run_for(random_time(1, 6000));
    const std::string name = fault.describe();
    if (mount.generation != generation) return failure(name + " ended the mount");
    if (workload_.failed() + workload_.refused() != errors) {
        return failure(name + " reached the application");
    }
    // It may be resting still, since an earlier fault.
    const bool goes_on = cluster_.world.run_until(
        [&] { return workload_.acknowledged() > before + 5; }, Duration::seconds(60));
    if (!goes_on) return failure(name + " stopped the application");
    const NodeProgram* program = cluster_.program(machine);
    if (fault.spoils_copy() && fault.hits() > 0 && program != nullptr) {
        run_for(Duration::seconds(2));
        const MirrorState state = program->node()->machine().state();
        if (state == MirrorState::secondary) return failure(name + " did not end the secondary");
    }
    return {};
}

}  // namespace gemel::sim
