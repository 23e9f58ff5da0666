// SPDX-License-Identifier: Apache-2.0
// Faults of a machine's clocks and of its state directory, and what persons do meanwhile.
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"
#include "tests/sim/state_damage.hpp"

namespace gemel::sim {

void Campaign::drift(std::size_t machine) {
    const auto ppm = static_cast<std::int64_t>(prng().below(2 * kDriftPpmMax + 1)) - kDriftPpmMax;
    note(cluster_.machines[machine]->name() + ": the clock drifts by " + std::to_string(ppm) +
         " ppm");
    cluster_.machines[machine]->set_drift(ppm);
}

// It stays wrong. A battery may have been empty, or somebody has set it.
void Campaign::restart_with_wrong_clock(std::size_t machine) {
    constexpr std::uint64_t kTenYears = 315'360'000;
    if (prng().one_in(2)) {
        lose_power(machine);
    } else {
        cluster_.kill(machine);
    }
    const auto seconds = static_cast<std::int64_t>(
        prng().one_in(2) ? prng().between(1, 7200) : prng().between(7200, kTenYears));
    const Duration offset = Duration::seconds(prng().one_in(2) ? seconds : -seconds);
    note(cluster_.machines[machine]->name() + ": the wall clock is wrong by " +
         std::to_string(offset.ns / 1'000'000'000) + " s");
    cluster_.machines[machine]->set_wall_offset(offset);
}

// Where it is refused the person sees why, and lets it be.
void Campaign::begin_verify() {
    MirrorVerify::Request request;
    request.repair = prng().one_in(3);
    request.rate = prng().one_in(2) ? 0 : 4 * kMiB;
    for (std::size_t node = 0; node < 2; ++node) {
        NodeProgram* program = cluster_.program(node);
        if (program == nullptr || !program->replica().is_serving()) continue;
        note("a person verifies on " + cluster_.machines[node]->name());
        const std::string refusal = program->verify().start(request);
        if (!refusal.empty()) note(refusal);
    }
}

std::string Campaign::false_alarm() const {
    for (std::size_t node = 0; node < 2; ++node) {
        const NodeProgram* program = cluster_.program(node);
        if (program == nullptr) continue;
        const std::optional<VerifyResult> last = program->verify().status().last;
        if (!last || last->differing == 0) continue;
        return "a verify found " + std::to_string(last->differing) + " objects that differ";
    }
    return {};
}

void Campaign::restart_with_other_options(std::size_t machine) {
    ClusterNames& names = *cluster_.names;
    ResyncRateRange& rate = names.resync_rate;
    rate = ResyncRateRange();
    if (prng().one_in(2)) rate.min = prng().between(256, 4096) * kKiB;
    if (prng().one_in(2)) rate.max = rate.min;
    // A mutant's may be the one that shows it.
    if (names.mutant == Mutant::none) names.idle_rounds = prng().below(5);
    note("a person restarts " + cluster_.machines[machine]->name() + " with other options");
    cluster_.kill(machine);
    cluster_.world.after(random_time(0, 300), [this, machine] { cluster_.start(machine); });
}

void Campaign::damage_state_of(std::size_t node) {
    Node& machine = *cluster_.machines[node];
    cluster_.kill(node);
    FileSystem& disk = *machine.find(ClusterNames::kState).file_system;
    const std::string what = damage_state(disk, Cluster::state_path(), prng());
    if (!what.empty()) note(machine.name() + ": damaged on its disk: " + what);
}

}  // namespace gemel::sim
