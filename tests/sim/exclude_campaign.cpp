// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/exclude_campaign.hpp"

#include "engine/base/assert.hpp"
#include "tests/sim/node_program.hpp"

namespace gemel::sim {

namespace {

Workload::Options workload_options() {
    Workload::Options options;
    options.clients = 1;
    return options;
}

}  // namespace

ExcludedNames::ExcludedNames(std::uint64_t seed, Mutant mutant)
    : Campaign(seed, mutant, workload_options()),
      publishers_(
          cluster_.world, 2, [this] { return serving(); },
          [this](const std::string& what) { cluster_.failures.push_back(what); }) {
    GEMEL_ASSERT(cluster_.names->exclude.add("*.tmp").empty());
}

std::vector<Tally> ExcludedNames::tallies() const {
    return {{"versions published", publishers_.acknowledged(), 5},
            {"verifies completed", verified_, 1}};
}

std::string ExcludedNames::misfortune() {
    const std::uint64_t faults = 2 + prng().below(4);
    for (std::uint64_t i = 0; i < faults; ++i) {
        run_for(random_time(1, 800));
        random_fault();
        run_for(random_time(1, 5000));
        end_faults();
        if (!heal()) return failure("did not heal");
        if (!cluster_.failures.empty()) return cluster_.failures.front();
        if (const std::string alarm = verify(); !alarm.empty()) return alarm;
    }
    return {};
}

void ExcludedNames::random_fault() {
    static constexpr FaultKind kKinds[] = {FaultKind::kill, FaultKind::cut_one_way,
                                           FaultKind::cut_both_ways, FaultKind::isolate,
                                           FaultKind::die_in_a_call};
    const std::size_t machine = prng().below(2);
    // Only in sync: what one node alone has not synced may be lost.
    if (cluster_.is_in_sync() && prng().one_in(6)) return power_cut(machine);
    inject(kKinds[prng().below(std::size(kKinds))], machine, 1 - machine);
}

// A comparison under work: what is kept per node, or on its way to the other, is no difference.
// It may not come to its end: a death of before may come late.
std::string ExcludedNames::verify() {
    for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
        const NodeProgram* program = cluster_.program(node);
        if (program == nullptr || !program->verify().start({}).empty()) continue;
        const auto ended = [&] {
            return cluster_.program(node) != program || !program->verify().status().running;
        };
        if (!cluster_.world.run_until(ended, Duration::seconds(60))) return "a verify hangs";
        if (cluster_.program(node) != program) return {};
        const std::vector<VerifyFinding> findings = program->verify().findings();
        if (!findings.empty()) return "a false alarm: " + findings.front().path;
        const auto outcome = program->verify().status().last->outcome;
        verified_ += outcome == VerifyOutcome::equal ? 1 : 0;
    }
    return {};
}

std::string ExcludedNames::compare_more() {
    for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
        Node& machine = *cluster_.machines[node];
        publishers_.verify_kept(*machine.find(ClusterNames::kData).file_system, machine.name());
    }
    return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
}

}  // namespace gemel::sim
