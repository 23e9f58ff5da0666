// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

namespace gemel::sim {

std::string WrittenApart::misfortune() {
    run_for(random_time(1, 500));
    forced_ = prng().below(2);
    alone_ = 1 - forced_;
    bound_to_ = alone_;
    if (!serve_apart()) return failure("did not serve on both sides");
    std::string broken = write_apart();
    if (broken.empty()) broken = check_refused();
    if (!broken.empty()) return broken;
    const bool keeps_forced = prng().one_in(2);
    note(std::string("a person keeps the copy of ") +
         cluster_.machines[keeps_forced ? forced_ : alone_]->name());
    if (keeps_forced) {
        if (!keep_forced()) return failure("the forced copy was not kept");
    } else {
        cluster_.command(forced_, Command::resync_full);
    }
    if (!heal()) return failure("did not heal");
    if (keeps_forced) forced_workload_->verify_all(*cluster_.serving());
    bound_to_.reset();
    return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
}

bool WrittenApart::reaches(std::size_t node, MirrorState state) {
    return cluster_.world.run_until(
        [&] {
            const NodeProgram* program = cluster_.program(node);
            return program != nullptr && program->node()->machine().state() == state;
        },
        Duration::seconds(60));
}

bool WrittenApart::serve_apart() {
    for (const std::size_t other : {alone_, Cluster::kWitness}) {
        cluster_.cut(forced_, other);
        cluster_.cut(other, forced_);
    }
    if (!reaches(alone_, MirrorState::alone) || !reaches(forced_, MirrorState::wait)) return false;
    note("a person promotes " + cluster_.machines[forced_]->name());
    cluster_.command(forced_, Command::promote_force);
    return cluster_.world.run_until([this] { return cluster_.mounts[forced_].is_serving(); },
                                    Duration::seconds(30));
}

std::string WrittenApart::write_apart() {
    Workload::Options options;
    options.clients = 2;
    options.name = "forced";
    forced_workload_ = std::make_unique<Workload>(
        cluster_.world, options,
        [this]() -> SimMount* {
            SimMount& mount = cluster_.mounts[forced_];
            return cluster_.program(forced_) != nullptr && mount.is_serving() ? &mount : nullptr;
        },
        [this](const std::string& what) { cluster_.failures.push_back(what); });
    const std::uint64_t before = workload_.acknowledged();
    forced_workload_->start();
    run_for(random_time(200, 3000));
    const bool both_wrote = cluster_.world.run_until(
        [&] { return forced_workload_->acknowledged() > 0 && workload_.acknowledged() > before; },
        Duration::seconds(20));
    forced_workload_->stop();
    return both_wrote ? std::string() : failure("nothing was written on one side");
}

// They meet again, perhaps after a restart: nobody is overwritten, and both say why.
std::string WrittenApart::check_refused() {
    if (prng().one_in(2)) cluster_.kill(prng().below(2));
    end_faults();
    run_for(Duration::seconds(20));
    if (cluster_.is_in_sync() || cluster_.compare().empty()) return "written apart, and merged";
    const NodeProgram* kept = cluster_.program(alone_);
    const NodeProgram* other = cluster_.program(forced_);
    if (kept == nullptr || other == nullptr) return failure("not running");
    if (kept->node()->machine().state() != MirrorState::alone ||
        other->node()->machine().state() != MirrorState::wait) {
        return failure("the recorded side does not serve alone");
    }
    for (const NodeProgram* node : {kept, other}) {
        const std::string& reason = node->node()->machine().reason();
        if (reason.find("written apart") == std::string::npos) return failure("no reason is given");
    }
    return {};
}

bool WrittenApart::keep_forced() {
    bound_to_ = forced_;
    workload_.anything_may_be_lost();
    cluster_.command(forced_, Command::promote_force);
    if (!reaches(forced_, MirrorState::alone) || !reaches(alone_, MirrorState::wait)) return false;
    run_for(Duration::seconds(5));
    if (cluster_.is_in_sync()) return false;
    cluster_.command(alone_, Command::resync_full);
    return true;
}

}  // namespace gemel::sim
