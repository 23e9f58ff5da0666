// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/endurance.hpp"

#include "tests/sim/counted_heap.hpp"
#include "tests/sim/node_program.hpp"

namespace gemel::sim {

namespace {

constexpr Duration kHour = Duration::seconds(3600);
// From one fault to the next; what is left of it when all has healed is rest.
constexpr Duration kCycle = Duration::seconds(90);

Workload::Options workload_options() {
    Workload::Options options;
    options.rest_every = 100;
    return options;
}

}  // namespace

Endurance::Endurance(std::uint64_t seed, std::uint64_t hours, Mutant mutant)
    : SingleFaults(seed, mutant, workload_options()), hours_(hours) {}

std::string Endurance::misfortune() {
    for (std::uint64_t hour = 0; hour < hours_; ++hour) {
        spares_processes_ = hour == 0 || hour >= hours_ / 2;
        std::string broken = one_hour();
        if (broken.empty() && hour == 0) broken = count(first_);
        if (!broken.empty()) return "hour " + std::to_string(hour) + ": " + broken;
    }
    std::string broken = count(last_);
    if (!broken.empty()) return broken;
    const std::vector<std::string> grown = last_->grown_since(*first_);
    return grown.empty() ? std::string() : grown.front();
}

std::string Endurance::one_hour() {
    const Instant end = cluster_.world.now() + kHour;
    while (cluster_.world.now() < end) {
        const Instant next = cluster_.world.now() + kCycle;
        for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
        std::string broken = one_fault();
        if (!broken.empty()) return broken;
        ++faults_;
        run_for(random_time(1, 2000));
        if (cluster_.world.now() >= next) continue;
        const Duration rest = next - cluster_.world.now();
        workload_.rest(rest);
        run_for(rest);
    }
    return {};
}

void Endurance::random_fault() {
    if (prng().one_in(8)) {
        note("a person swaps the roles");
        return cluster_.command(prng().below(2), Command::swap);
    }
    if (!spares_processes_) return SingleFaults::random_fault();
    const std::size_t machine = prng().below(3);
    const std::size_t other = (machine + 1 + prng().below(2)) % 3;
    switch (prng().below(4)) {
        case 0:
            return cluster_.cut(machine, other);
        case 1:
            cluster_.cut(machine, other);
            return cluster_.cut(other, machine);
        case 2:
            return cut_around(machine);
        case 3:
            return pause(machine);
    }
}

// --- Counting ------------------------------------------------------------------------------------

std::string Endurance::come_to_rest() {
    for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
    workload_.rest(Duration::seconds(60));
    run_for(Duration::seconds(10));
    if (!heal()) return failure("did not heal");
    if (!workload_.is_idle()) return failure("an op was never answered");
    workload_.verify_all(*cluster_.serving());
    const std::vector<std::string> differences = cluster_.compare();
    if (!differences.empty()) return "the copies differ: " + differences.front();

    workload_.clear_away(true);
    const bool cleared = cluster_.world.run_until([this] { return workload_.is_cleared(); });
    workload_.clear_away(false);
    if (!cleared) return failure("the applications could not clear away");
    workload_.stop();
    // The same node serves at every count.
    if (cluster_.serving() != &cluster_.mounts[Cluster::kAlpha]) {
        cluster_.command(Cluster::kAlpha, Command::swap);
        const bool swapped = cluster_.world.run_until([this] {
            return cluster_.is_in_sync() && cluster_.serving() == &cluster_.mounts[Cluster::kAlpha];
        });
        if (!swapped) return failure("the roles were not swapped");
    }
    // Longer than anything of a lost connection lives on.
    run_for(Duration::seconds(600));
    return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
}

std::string Endurance::add_memory(Census& census, std::size_t machine) {
    const std::uint64_t before = heap_in_use();
    cluster_.kill(machine);
    // A page of a table may have filled up in one life and not in the other.
    census.add("bytes of memory of " + cluster_.machines[machine]->name(), before - heap_in_use(),
               64 * kKiB);
    if (!heal()) return failure("did not heal");
    run_for(Duration::seconds(60));
    return {};
}

std::string Endurance::count(std::optional<Census>& census) {
    std::string broken = come_to_rest();
    if (!broken.empty()) return broken;
    census.emplace(cluster_);
    for (std::size_t machine = 0; machine < cluster_.machines.size(); ++machine) {
        broken = add_memory(*census, machine);
        if (!broken.empty()) return broken;
    }
    workload_.start();
    return {};
}

}  // namespace gemel::sim
