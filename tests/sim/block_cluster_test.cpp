// SPDX-License-Identifier: Apache-2.0
// Clusters whose mirror has a block volume beside the directory, under the campaigns' faults: every
// sector holds what was answered, both copies are equal byte by byte, and everything that holds of
// the directory holds as well. One register, one role, one failover for both (docs/block.md).
//
// Which seeds: seeds.hpp.
#include "tests/sim/block_client.hpp"
#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"
#include "tests/sim/seeds.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeedsDefault = 60;
constexpr std::uint64_t kSize = 3 * kIntentRegionSize;

template <typename Faults>
class WithBlock final : public Faults {
   public:
    explicit WithBlock(std::uint64_t seed, bool answers_early, Mutant mutant = Mutant::none)
        : Faults(seed, mutant),
          client_(
              this->cluster_.world, kSize, [this] { return this->serving(); },
              [this](const std::string& what) { this->cluster_.failures.push_back(what); }) {
        this->cluster_.add_block(kSize, answers_early);
        if (answers_early) client_.expect_early_answers();
    }
    [[nodiscard]] std::uint64_t answered() const { return client_.answered(); }
    [[nodiscard]] std::uint64_t grown() const { return client_.grown(); }

   private:
    void start_more() override { client_.start(); }
    void stop_more() override { client_.stop(); }
    [[nodiscard]] bool is_more_idle() const override { return client_.is_idle(); }
    void expect_loss_of_more() override { client_.unflushed_may_be_lost(); }
    void verify_more(SimMount& mount) override { client_.verify(mount); }
    std::string compare_more() override {
        auto& machines = this->cluster_.machines;
        const auto size_on = [this](std::size_t node) {
            const NodeProgram* program = this->cluster_.program(node);
            return program->replica().volume(BlockClient::kVolume).as_block()->size();
        };
        if (size_on(Cluster::kAlpha) != size_on(Cluster::kBeta)) return "the sizes differ";
        return compare_backings(*machines[Cluster::kAlpha]->find(ClusterNames::kDisks).file_system,
                                *machines[Cluster::kBeta]->find(ClusterNames::kDisks).file_system,
                                "disk0", size_on(Cluster::kAlpha));
    }

    BlockClient client_;
};

template <typename Faults>
void run_campaign(std::uint64_t seeds_default, bool answers_early = false) {
    const std::vector<std::uint64_t> seeds = seeds_of(CampaignName::block, seeds_default);
    std::uint64_t answered = 0;
    std::uint64_t grown = 0;
    for (const std::uint64_t seed : seeds) {
        WithBlock<Faults> campaign(seed, answers_early);
        const std::string failure = campaign.run();
        answered += campaign.answered();
        grown += campaign.grown();
        if (failure.empty()) continue;
        if (is_one_seed()) std::cerr << campaign.trace() << '\n';
        ADD_FAILURE() << "GEMEL_SEED=" << seed << ": " << failure;
    }
    std::cout << seeds.size() << " seeds, " << answered
              << " requests of the block volume, which grew " << grown << " times\n";
    if (!is_one_seed()) {
        EXPECT_GT(grown, seeds.size() / 4);
    }
    EXPECT_GT(answered, seeds.size() * 20);
}

TEST(BlockCluster, LosesNothingAnsweredUnderSingleFaults) {
    run_campaign<SingleFaults>(kSeedsDefault);
}

// sync = "fsync": what a flush covered is there after a takeover, nothing is invented, and both
// copies are equal in the end.
TEST(BlockCluster, LosesNothingFlushedWhereAnswersAreEarly) {
    run_campaign<SingleFaults>(kSeedsDefault / 2, true);
}

}  // namespace
}  // namespace gemel::sim
