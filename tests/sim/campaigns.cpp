// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/campaigns.hpp"

#include "tests/sim/block_campaign.hpp"
#include "tests/sim/exclude_campaign.hpp"
#include "tests/sim/paced_campaign.hpp"
#include "tests/sim/verify_campaign.hpp"

namespace gemel::sim {

namespace {

template <typename Kind>
std::unique_ptr<Campaign> make(std::uint64_t seed, Mutant mutant) {
    return std::make_unique<Kind>(seed, mutant);
}

template <typename Faults, bool kAnswersEarly = false>
std::unique_ptr<Campaign> make_block(std::uint64_t seed, Mutant mutant) {
    return std::make_unique<WithBlock<Faults>>(seed, kAnswersEarly, mutant);
}

std::unique_ptr<Campaign> make_verify(std::uint64_t seed, Mutant mutant) {
    return std::make_unique<WithBlock<Verifies>>(seed, seed % 4 == 0, mutant);
}

std::unique_ptr<Campaign> make_paced_block(std::uint64_t seed, Mutant mutant) {
    return std::make_unique<Paced<WithBlock<SingleFaults>>>(seed, false, mutant);
}

using enum CampaignName;

constexpr CampaignKind kCampaigns[] = {
    {single_faults, "single-faults", "one fault after the other: nothing acknowledged is lost", 20,
     make<SingleFaults>},
    {two_faults, "two-faults", "two at once, and a person: nothing synced is lost", 20,
     make<DoubleFaults>},
    {fault_pairs, "fault-pairs", "each ordered pair of the kinds of faults", 20, make<FaultPairs>},
    {two_faults_under_logs, "two-faults-logs", "two faults under applications that write logs", 5,
     make<DoubleFaultsUnderLogs>},
    {hanging_disks, "hanging-disks", "the serving node's disk hangs, and goes on late", 5,
     make<HangingDisks>},
    {failed_copies, "failed-copies", "a failed copy is restarted while the witness is away", 2,
     make<FailedCopies>},
    {written_apart, "written-apart", "both serve, one by force: never merged silently", 2,
     make<WrittenApart>},
    {exclude, "exclude", "excluded names: published whole, kept apart", 2, make<ExcludedNames>},
    {verify, "verify", "verifies under work and faults: no false alarm, all found", 3, make_verify},
    {block, "block", "a block volume beside the directory, single faults", 6,
     make_block<SingleFaults>},
    {block_early, "block-early", "the same with sync = \"fsync\"", 3,
     make_block<SingleFaults, true>},
    {block_two_faults, "block-two-faults", "the same, two faults at once", 3,
     make_block<DoubleFaults>},
    {block_hanging_disks, "block-hanging-disks", "the same, disks that hang", 2,
     make_block<HangingDisks>},
    {paced, "paced", "slow resyncs, paused at random, single faults", 3, make<Paced<SingleFaults>>},
    {paced_block, "paced-block", "the same with a block volume", 2, make_paced_block},
    {paced_two_faults, "paced-two-faults", "the same, two faults at once", 2,
     make<Paced<DoubleFaults>>},
};

constexpr unsigned sum_of_shares() {
    unsigned sum = 0;
    for (const CampaignKind& kind : kCampaigns) sum += kind.share;
    return sum;
}
static_assert(sum_of_shares() == 100);

}  // namespace

std::span<const CampaignKind> campaigns() noexcept { return kCampaigns; }

const CampaignKind* find_campaign(std::string_view text) noexcept {
    for (const CampaignKind& kind : kCampaigns) {
        if (kind.text == text) return &kind;
    }
    return nullptr;
}

}  // namespace gemel::sim
