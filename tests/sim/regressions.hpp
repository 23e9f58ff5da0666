// SPDX-License-Identifier: Apache-2.0
// Seeds that once found a fault; every run of their campaign begins with them. Whoever fixes what a
// seed has found adds a line, in the commit of the fix, and none is ever removed. A change of what
// a campaign does changes what its seeds do: then an old line is one seed more, chosen by nobody.
#pragma once

#include "tests/sim/campaigns.hpp"

#include <cstdint>

namespace gemel::sim {

struct Regression {
    CampaignName campaign;
    std::uint64_t seed;
    const char* found;  // the fault, or the subject of the commit that fixed it
};

inline constexpr const char* kFailedLog = "an intent log that had failed once stayed failed";
inline constexpr const char* kShortWrite = "blocks of a short write stayed allocated on the peer";
inline constexpr const char* kUnreadWaited =
    "sim: what a paused process had not read kept all later bytes from a rebooted node";
inline constexpr const char* kNotCutOff =
    "what a lost session was to cut off stayed on the peer when the file had grown again";

inline constexpr const char* kDamagedRecord =
    "an object whose record in the index is damaged passed for gone";

inline constexpr const char* kStateMovedAway =
    "a node whose state was gone passed for one that never began to serve";

inline constexpr Regression kRegressions[] = {
    {CampaignName::single_faults, 61, kFailedLog},
    {CampaignName::single_faults, 412, kFailedLog},
    {CampaignName::single_faults, 80, kShortWrite},
    {CampaignName::single_faults, 81, kShortWrite},
    {CampaignName::single_faults, 259, kShortWrite},
    {CampaignName::single_faults, 572, kShortWrite},
    {CampaignName::two_faults, 9017, kUnreadWaited},
    {CampaignName::block_two_faults, 32, kNotCutOff},
    {CampaignName::two_faults, 179, kStateMovedAway},
    {CampaignName::two_faults, 306, kStateMovedAway},
    {CampaignName::two_faults, 648, kStateMovedAway},
    {CampaignName::hanging_disks, 146,
     "a hang was not seen when all waited for a sync of everything"},
    {CampaignName::failed_copies, 177,
     "what a suspect copy's files had behind their ends was read when they grew"},
    {CampaignName::two_faults, 44, kDamagedRecord},
    {CampaignName::fault_pairs, 235, kDamagedRecord},
    {CampaignName::fault_pairs, 320, kDamagedRecord},
    {CampaignName::fault_pairs, 329, kDamagedRecord},
};

}  // namespace gemel::sim
