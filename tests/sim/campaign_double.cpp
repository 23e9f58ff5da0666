// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

namespace gemel::sim {

DoubleFaultsUnderLogs::DoubleFaultsUnderLogs(std::uint64_t seed, Mutant mutant)
    : DoubleFaults(seed, mutant, logging_options(seed)) {}

Workload::Options DoubleFaultsUnderLogs::logging_options(std::uint64_t seed) {
    Workload::Options options = options_of(seed);
    options.log_every = 20;
    return options;
}

std::string DoubleFaults::misfortune() {
    const std::uint64_t rounds = 1 + prng().below(3);
    for (std::uint64_t i = 0; i < rounds; ++i) {
        run_for(random_time(1, 1500));
        if (prng().one_in(4)) rest_first();
        one_of_two();
        wait_for_second();
        one_of_two();
        if (prng().one_in(3)) {
            wait_for_second();
            one_of_two();
        }
        run_for(random_time(1, 6000));
        end_faults();
        if (!heal()) return failure("did not heal");
        if (!cluster_.failures.empty()) return cluster_.failures.front();
    }
    return {};
}

void DoubleFaults::one_of_two() {
    switch (prng().below(9)) {
        case 0:
            return random_command();
        case 4:
            return inject(FaultKind::damaged_state, prng().below(2), Cluster::kWitness);
        case 1:
            // All at once, as in one rack.
            power_cut(Cluster::kAlpha);
            return power_cut(Cluster::kBeta);
        case 2:
            return power_cut(prng().below(2));
        case 3:
            inject(FaultKind::kill, Cluster::kWitness, Cluster::kAlpha);
            return random_fault();
        default:
            return random_fault();
    }
}

// At once, a while later, or in the middle of the other's resync.
void DoubleFaults::wait_for_second() {
    if (prng().one_in(3)) return run_for(random_time(0, 50));
    if (prng().one_in(2)) return run_for(random_time(1, 4000));
    run_for(random_time(1, 2000));
    end_faults();
    cluster_.world.run_until(
        [this] {
            for (std::size_t node = 0; node < 2; ++node) {
                const NodeProgram* program = cluster_.program(node);
                if (program == nullptr) continue;
                if (program->node()->machine().state() == MirrorState::resync) return true;
            }
            return false;
        },
        Duration::seconds(10));
    run_for(Duration::microseconds(static_cast<std::int64_t>(prng().below(20'000))));
}

void DoubleFaults::random_command() {
    static constexpr Command kCommands[] = {Command::stop, Command::start, Command::swap,
                                            Command::resync_full};
    const std::size_t node = prng().below(2);
    if (cluster_.program(node) == nullptr) return;
    note("a person gives a command to " + cluster_.machines[node]->name());
    cluster_.command(node, kCommands[prng().below(std::size(kCommands))]);
}

std::string FaultPairs::misfortune() {
    const std::uint64_t pair = cluster_.world.seed() % kPairs;
    const auto first = static_cast<FaultKind>(pair / kFaultKinds);
    const auto second = static_cast<FaultKind>(pair % kFaultKinds);
    run_for(random_time(1, 1500));
    if (prng().one_in(4)) rest_first();
    const std::size_t machine = prng().below(3);
    const std::size_t other = (machine + 1 + prng().below(2)) % 3;
    inject(first, machine, other);
    wait_for_second();
    // What such a disk loses, now or later, the other node may have lost or not got.
    const bool loses_unsynced = spoils_copy(first) || spoils_copy(second);
    if (loses_unsynced) expect_loss_of_unsynced();
    // A machine's disks have one fault at a time.
    if (is_of_disk(first) || prng().one_in(2)) {
        inject(second, other, machine);
    } else {
        inject(second, machine, other);
    }
    run_for(random_time(1, 6000));
    if (loses_unsynced) expect_loss_of_unsynced();
    end_faults();
    if (!heal()) return failure("did not heal");
    return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
}

}  // namespace gemel::sim
