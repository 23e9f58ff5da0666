// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

namespace gemel::sim {

HangingDisks::HangingDisks(std::uint64_t seed, Mutant mutant) : SingleFaults(seed, mutant) {
    cluster_.names->io_timeout = Duration::milliseconds(1'500);
}

std::string HangingDisks::misfortune() {
    const std::uint64_t hangs = 1 + prng().below(3);
    for (std::uint64_t i = 0; i < hangs; ++i) {
        run_for(random_time(1, 1500));
        if (prng().one_in(3)) rest_first();
        // What the hang before has begun, as its end met the decision, may have come to light late.
        if (!heal()) return failure("did not heal");
        const std::string broken = hang();
        if (!broken.empty()) return broken;
        end_faults();  // what has hung until now is done on a copy that may be a target already
        run_for(Duration::seconds(1));
        if (!heal()) return failure("did not heal");
        if (!cluster_.failures.empty()) return cluster_.failures.front();
    }
    return {};
}

std::string HangingDisks::hang() {
    const bool is_alpha = cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
    const std::size_t other = is_alpha ? Cluster::kBeta : Cluster::kAlpha;
    const bool hangs = begin_disk_fault(1 - other, DiskFault::Kind::stuck) != nullptr;
    if (!hangs || prng().one_in(4)) {
        // Over before anybody calls it hanging, or just then.
        run_for(random_time(100, 2500));
        return {};
    }
    const auto has_taken_over = [&] { return serving() == &cluster_.mounts[other]; };
    if (!cluster_.world.run_until(has_taken_over, Duration::seconds(40))) {
        return failure("a node whose disk hangs kept the service");
    }
    run_for(random_time(1, 4000));
    return {};
}

}  // namespace gemel::sim
