// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/verify_campaign.hpp"

#include "engine/base/assert.hpp"
#include "tests/sim/node_program.hpp"

#include <linux/fs.h>
#include <optional>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kFiles = 4;

std::string what_was_found(const NodeProgram& program) {
    std::string text;
    for (const VerifyFinding& one : program.verify().findings()) {
        text += " " + one.path + ":";
        for (const VerifyFinding::Detail& detail : one.details) {
            text += " " + detail.what + "=" + detail.here + "/" + detail.there;
        }
        for (const auto& range : one.content) {
            text += " content " + std::to_string(range.first);
        }
        for (const auto& range : one.holes) text += " holes " + std::to_string(range.first);
    }
    return text;
}

}  // namespace

std::vector<Tally> Verifies::tallies() const {
    std::vector<Tally> tallies = Campaign::tallies();
    tallies.push_back({"verifies completed", completed_, 1});
    return tallies;
}

std::string Verifies::misfortune() {
    if (const std::string broken = make_kept(); !broken.empty()) return broken;
    for (std::uint64_t rounds = 2 + prng().below(3); rounds > 0; --rounds) {
        run_for(random_time(1, 300));
        const std::string broken = prng().one_in(2) ? verify_with_fault() : verify_equal();
        if (!broken.empty()) return broken;
    }
    return find_and_mend();
}

NodeProgram* Verifies::primary() const {
    for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
        NodeProgram* program = cluster_.program(node);
        if (program == nullptr) continue;
        if (program->node()->machine().state() == MirrorState::primary) return program;
    }
    return nullptr;
}

std::string Verifies::make_kept() {
    ObjectId directory = kRootObject;
    for (std::size_t i = 0; i <= kFiles; ++i) {
        const std::string name = i == 0 ? "kept" : "file" + std::to_string(i);
        auto op = std::make_unique<SimOp>();
        op->op.kind = OpKind::create;
        op->op.parent = directory;
        op->op.mode = i == 0 ? S_IFDIR | 0755U : S_IFREG | 0644U;
        op->name = name;
        ObjectId made;
        if (!carry_out(std::move(op), made)) return failure("a file could not be made");
        if (i == 0) directory = made;
        if (i == 0) continue;
        auto write = std::make_unique<SimOp>();
        write->op.kind = OpKind::write;
        write->op.object = made;
        write->data.assign(10'000, std::byte{'k'});
        write->op.size = write->data.size();
        if (!carry_out(std::move(write), made)) return failure("a file could not be written");
    }
    return {};
}

bool Verifies::carry_out(std::unique_ptr<SimOp> op, ObjectId& object) {
    SimMount* mount = serving();
    if (mount == nullptr) return false;
    op->op.name = op->name;
    op->op.data = op->data;
    SimOp& submitted = *op;
    bool done = false;
    bool ok = false;
    mount->submit(std::move(op), [&](Status status) {
        done = true;
        ok = status.ok();
        object = submitted.op.object;
    });
    return cluster_.world.run_until([&] { return done; }, Duration::seconds(30)) && ok;
}

const NodeProgram* Verifies::verify(bool repair, const std::function<void()>& meanwhile) {
    NodeProgram* program = nullptr;
    const bool begins = cluster_.world.run_until(
        [&] {
            program = primary();
            return program != nullptr && program->replica().role() == ReplicaRole::primary;
        },
        Duration::seconds(60));
    if (!begins) return nullptr;
    MirrorVerify::Request request;
    request.repair = repair;
    request.rate = prng().one_in(2) ? 0 : 4 * kMiB;
    refusal_ = program->verify().start(request);
    if (!refusal_.empty()) return nullptr;
    if (meanwhile) meanwhile();
    const bool ended = cluster_.world.run_until(
        [&] {
            const bool is_gone = cluster_.program(Cluster::kAlpha) != program &&
                                 cluster_.program(Cluster::kBeta) != program;
            return is_gone || !program->verify().status().running;
        },
        Duration::seconds(300));
    if (!ended) refusal_ = "a verify does not end";
    for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
        if (cluster_.program(node) == program) return ended ? program : nullptr;
    }
    return nullptr;
}

bool Verifies::settle() {
    for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
    run_for(Duration::seconds(2));
    return heal();
}

std::string Verifies::verify_equal() {
    if (!settle()) return failure("did not heal");
    const NodeProgram* program = verify(false);
    if (program == nullptr) return failure("a verify could not be run: " + refusal_);
    const VerifyResult result = program->verify().status().last.value();
    if (result.differing != 0) return "a false alarm:" + what_was_found(*program);
    if (result.outcome != VerifyOutcome::equal) {
        return failure("a verify did not complete: " + result.why);
    }
    ++completed_;
    return {};
}

std::string Verifies::verify_with_fault() {
    const NodeProgram* program = verify(false, [this] {
        run_for(random_time(0, 20));
        random_fault();
        run_for(random_time(1, 2000));
    });
    // A new process may have got the old one's place in memory, and has no result.
    const std::optional<VerifyResult> last =
        program == nullptr ? std::nullopt : program->verify().status().last;
    const bool alarmed = last && last->differing != 0;
    const std::string found = alarmed ? what_was_found(*program) : "";
    end_faults();
    if (alarmed) return "a false alarm:" + found;
    if (!heal()) return failure("did not heal");
    return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
}

std::set<std::string> Verifies::plant() {
    FileSystem& disk = *cluster_.machines[prng().below(2)]->find(ClusterNames::kData).file_system;
    const WallTime now{1'000, 0};
    Inode& directory = *disk.lookup(disk.root(), "kept").value();
    const WallTime modified = disk.stat(directory).modified;
    const std::size_t number = 1 + prng().below(kFiles);
    const std::string name = "file" + std::to_string(number);
    Inode& file = *disk.lookup(directory, name).value();
    const WallTime file_modified = disk.stat(file).modified;
    const std::string kept = std::string(ClusterNames::kData) + "/kept/";
    std::set<std::string> paths{kept + name};
    switch (prng().below(6)) {
        case 0:
            GEMEL_ASSERT(disk.write(file, as_bytes("!"), prng().below(9'000), now).ok());
            break;
        case 1:
            disk.set_mode(file, S_IFREG | 0600, now);
            break;
        case 2:
            GEMEL_ASSERT(disk.set_xattr(file, "user.strange", as_bytes("v"), 0, now).ok());
            break;
        case 3:
            GEMEL_ASSERT(disk.unlink(directory, name, false, now).ok());
            break;
        case 4:
            GEMEL_ASSERT(disk.make(directory, "strange", {S_IFREG | 0600, 0, {}}, now).ok());
            paths = {kept + "strange"};
            break;
        case 5: {
            const std::string other = "file" + std::to_string(number % kFiles + 1);
            GEMEL_ASSERT(
                disk.rename({&directory, name}, {&directory, other}, RENAME_EXCHANGE, now).ok());
            paths.insert(kept + other);
            break;
        }
    }
    if (Result<Inode*> there = disk.lookup(directory, name); there.ok()) {
        disk.set_times(*there.value(), {}, {true, file_modified}, now);
    }
    disk.set_times(directory, {}, {true, modified}, now);
    return paths;
}

std::string Verifies::find_and_mend() {
    if (!settle()) return failure("did not heal");
    const std::set<std::string> planted = plant();
    for (const bool repair : {false, true}) {
        const NodeProgram* program = verify(repair);
        if (program == nullptr) return failure("a verify could not be run: " + refusal_);
        std::set<std::string> found;
        for (const VerifyFinding& one : program->verify().findings()) found.insert(one.path);
        if (found != planted) return "not what was planted:" + what_was_found(*program);
        const VerifyOutcome outcome = program->verify().status().last->outcome;
        if (outcome != (repair ? VerifyOutcome::mended : VerifyOutcome::differences)) {
            return failure("a verify with findings ended as " +
                           std::string(verify_outcome_name(outcome)));
        }
    }
    if (!heal()) return failure("did not heal after mending");
    return verify_equal();
}

}  // namespace gemel::sim
