// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/file_system.hpp"
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

#include <iterator>

namespace gemel::sim {

std::string FailedCopies::misfortune() {
    const std::uint64_t failures = 1 + prng().below(3);
    for (std::uint64_t i = 0; i < failures; ++i) {
        run_for(random_time(1, 1500));
        if (prng().one_in(4)) rest_first();
        if (!heal()) return failure("did not heal");
        fail_and_restart();
        end_faults();
        if (!heal()) return failure("did not heal");
        if (!cluster_.failures.empty()) return cluster_.failures.front();
    }
    return {};
}

void FailedCopies::fail_and_restart() {
    // Where the failure itself can't be put on record nothing is known of it after a restart.
    static constexpr DiskFault::Kind kKinds[] = {
        DiskFault::Kind::read_error, DiskFault::Kind::write_error, DiskFault::Kind::sync_error,
        DiskFault::Kind::sync_error, DiskFault::Kind::names_error, DiskFault::Kind::read_only};
    const bool alpha_serves = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
    const bool of_serving = !prng().one_in(4);
    const std::size_t node = alpha_serves == of_serving ? Cluster::kAlpha : Cluster::kBeta;
    for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
    inject(FaultKind::kill, Cluster::kWitness, node);
    begin_disk_fault(node, kKinds[prng().below(std::size(kKinds))]);
    const auto has_ended = [&] {
        const NodeProgram* program = cluster_.program(node);
        return program == nullptr || program->node()->machine().state() == MirrorState::wait;
    };
    cluster_.world.run_until(has_ended, Duration::seconds(6));
    // Until the failure is on record.
    run_for(random_time(50, 1000));
    disk_faults_.clear();
    if (!admit(FaultKind::kill)) return;
    cluster_.kill(node);
    // What the disk has lost shows once memory is needed for something else.
    if (prng().one_in(2)) {
        cluster_.machines[node]->find(ClusterNames::kData).file_system->evict_lost_pages();
    }
    cluster_.start(node);
    run_for(random_time(1, 3000));
}

}  // namespace gemel::sim
