// SPDX-License-Identifier: Apache-2.0
// Verifies of clusters whose applications write all the while, with faults in the middle of some:
// none ever finds a difference that is none; what is changed behind either node's back is found,
// exactly; and --repair makes the copies equal.
//
// Which seeds: seeds.hpp.
#include "tests/sim/block_campaign.hpp"
#include "tests/sim/seeds.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <linux/fs.h>
#include <set>
#include <string>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 20;
constexpr std::size_t kFiles = 4;

class Verifies : public Campaign {
   public:
    using Campaign::Campaign;
    [[nodiscard]] std::uint64_t completed() const { return completed_; }

   private:
    std::string misfortune() override {
        if (const std::string broken = make_kept(); !broken.empty()) return broken;
        for (std::uint64_t rounds = 2 + prng().below(3); rounds > 0; --rounds) {
            run_for(random_time(1, 300));
            const std::string broken = prng().one_in(2) ? verify_with_fault() : verify_equal();
            if (!broken.empty()) return broken;
        }
        return find_and_mend();
    }

    // Null: nobody is primary.
    NodeProgram* primary() {
        for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
            NodeProgram* program = cluster_.program(node);
            if (program == nullptr) continue;
            if (program->node()->machine().state() == MirrorState::primary) return program;
        }
        return nullptr;
    }

    // A directory that no application works in, with files of its own.
    std::string make_kept() {
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

    bool carry_out(std::unique_ptr<SimOp> op, ObjectId& object) {
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

    // Until it has ended, in whatever way; the program that ran it, or null when it is gone.
    NodeProgram* verify(bool repair, const std::function<void()>& meanwhile = {}) {
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

    static std::string what_was_found(const NodeProgram& program) {
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

    // A death that was to come late would be a fault in the middle.
    bool settle() {
        for (Node* machine : cluster_.machines) machine->die_at_vfs_call(0);
        run_for(Duration::seconds(2));
        return heal();
    }

    std::string verify_equal() {
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

    std::string verify_with_fault() {
        const NodeProgram* program = verify(false, [this] {
            run_for(random_time(0, 20));
            random_fault();
            run_for(random_time(1, 2000));
        });
        const bool alarmed =
            program != nullptr && program->verify().status().last.value().differing != 0;
        const std::string found = alarmed ? what_was_found(*program) : "";
        end_faults();
        if (alarmed) return "a false alarm:" + found;
        if (!heal()) return failure("did not heal");
        return cluster_.failures.empty() ? std::string() : cluster_.failures.front();
    }

    // Behind the back of either node's engine; says which paths differ then.
    std::set<std::string> plant() {
        FileSystem& disk =
            *cluster_.machines[prng().below(2)]->find(ClusterNames::kData).file_system;
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
                EXPECT_TRUE(disk.write(file, as_bytes("!"), prng().below(9'000), now).ok());
                break;
            case 1:
                disk.set_mode(file, S_IFREG | 0600, now);
                break;
            case 2:
                EXPECT_TRUE(disk.set_xattr(file, "user.strange", as_bytes("v"), 0, now).ok());
                break;
            case 3:
                EXPECT_TRUE(disk.unlink(directory, name, false, now).ok());
                break;
            case 4:
                EXPECT_TRUE(disk.make(directory, "strange", {S_IFREG | 0600, 0, {}}, now).ok());
                paths = {kept + "strange"};
                break;
            case 5: {
                const std::string other = "file" + std::to_string(number % kFiles + 1);
                EXPECT_TRUE(
                    disk.rename({&directory, name}, {&directory, other}, RENAME_EXCHANGE, now)
                        .ok());
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

    std::string find_and_mend() {
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

    std::string refusal_;
    std::uint64_t completed_ = 0;
};

TEST(VerifyCluster, RaisesNoFalseAlarmAndFindsAndMendsWhatDiffers) {
    const std::vector<std::uint64_t> seeds = seeds_of(CampaignName::verify, kSeedsDefault);
    std::uint64_t completed = 0;
    for (const std::uint64_t seed : seeds) {
        WithBlock<Verifies> campaign(seed, seed % 4 == 0);
        const std::string failure = campaign.run();
        completed += campaign.completed();
        if (failure.empty()) continue;
        if (is_one_seed()) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << seeds.size() << " seeds, " << completed << " verifies completed\n";
    EXPECT_GT(completed, seeds.size());
}

// One that does not keep to the order of the stream is caught by its false alarms.
TEST(VerifyCluster, NoticesAVerifyThatIgnoresOpsOnTheirWay) {
    constexpr std::uint64_t kSeedsMax = 20;
    for (std::uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
        Verifies campaign(seed, Mutant::verify_out_of_order);
        const std::string failure = campaign.run();
        if (!failure.starts_with("a false alarm")) continue;
        std::cout << "caught by seed " << seed << ": " << failure << '\n';
        return;
    }
    FAIL() << kSeedsMax << " seeds did not notice it";
}

}  // namespace
}  // namespace gemel::sim
