// SPDX-License-Identifier: Apache-2.0
// Any campaign, with a block volume beside the directory and a client of it.
#pragma once

#include "tests/sim/block_client.hpp"
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel::sim {

template <typename Faults>
class WithBlock : public Faults {
   public:
    static constexpr std::uint64_t kBlockSize = 3 * kIntentRegionSize;

    // `answers_early`: sync = "fsync".
    explicit WithBlock(std::uint64_t seed, bool answers_early, Mutant mutant = Mutant::none)
        : Faults(seed, mutant),
          client_(
              this->cluster_.world, kBlockSize, [this] { return this->serving(); },
              [this](const std::string& what) { this->cluster_.failures.push_back(what); }) {
        this->cluster_.add_block(kBlockSize, answers_early);
        if (answers_early) client_.expect_early_answers();
        client_.set_growth_check([this](std::uint64_t size) { return check_growth(size); });
    }
    [[nodiscard]] std::vector<Tally> tallies() const override {
        std::vector<Tally> tallies = Faults::tallies();
        tallies.push_back({"block requests answered", client_.answered(), 20});
        tallies.push_back({"growths of the block volume", client_.grown(), 0.25});
        return tallies;
    }

   protected:
    void start_more() override { client_.start(); }
    void stop_more() override { client_.stop(); }

   private:
    [[nodiscard]] bool is_more_idle() const override { return client_.is_idle(); }
    void expect_loss_of_more() override { client_.unflushed_may_be_lost(); }
    void verify_more(SimMount& mount) override { client_.verify(mount); }
    // Whoever may take over has it by then.
    std::string check_growth(std::uint64_t size) {
        for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
            const NodeProgram* program = this->cluster_.program(node);
            if (program == nullptr) continue;
            if (program->node()->machine().state() != MirrorState::secondary) continue;
            BlockVolume* block = program->replica().volume(BlockClient::kVolume).as_block();
            if (block->size() < size) return "clients see a size that the secondary has not";
        }
        return {};
    }
    std::string compare_more() override {
        auto& machines = this->cluster_.machines;
        const auto size_on = [this](std::size_t node) {
            const NodeProgram* program = this->cluster_.program(node);
            return program->replica().volume(BlockClient::kVolume).as_block()->size();
        };
        // A growth that is refused where it is served has been done on the peer (sizes.hpp).
        const bool is_alpha = this->cluster_.serving() == &this->cluster_.mounts[Cluster::kAlpha];
        const std::size_t serving = is_alpha ? Cluster::kAlpha : Cluster::kBeta;
        if (size_on(serving) > size_on(1 - serving)) return "the peer's volume is smaller";
        return compare_backings(*machines[Cluster::kAlpha]->find(ClusterNames::kDisks).file_system,
                                *machines[Cluster::kBeta]->find(ClusterNames::kDisks).file_system,
                                "disk0", size_on(serving));
    }

    BlockClient client_;
};

}  // namespace gemel::sim
