// SPDX-License-Identifier: Apache-2.0
// All campaigns over clusters, by name: what gemel-sim runs.
#pragma once

#include "tests/sim/campaign.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace gemel::sim {

enum class CampaignName : unsigned char {
    single_faults,
    two_faults,
    fault_pairs,
    two_faults_under_logs,
    hanging_disks,
    failed_copies,
    written_apart,
    exclude,
    verify,
    block,
    block_early,
    block_two_faults,
    block_hanging_disks,
    paced,
    paced_block,
    paced_two_faults,
};

struct CampaignKind {
    CampaignName name;
    std::string_view text;   // on the command line
    std::string_view about;  // one line
    unsigned share;          // of 100 seeds that run over all campaigns
    std::unique_ptr<Campaign> (*make)(std::uint64_t seed, Mutant mutant);
};

[[nodiscard]] std::span<const CampaignKind> campaigns() noexcept;
// Null: there is none of this name.
[[nodiscard]] const CampaignKind* find_campaign(std::string_view text) noexcept;

}  // namespace gemel::sim
