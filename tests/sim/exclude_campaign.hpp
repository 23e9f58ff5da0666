// SPDX-License-Identifier: Apache-2.0
// Clusters in which names are excluded, under random single faults: what was published is on
// whoever serves, whole; what is a node's own is never on the other (docs/exclude.md). Beside the
// publishers the ordinary clients work.
#pragma once

#include "tests/sim/campaign.hpp"
#include "tests/sim/publishers.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel::sim {

class ExcludedNames final : public Campaign {
   public:
    explicit ExcludedNames(std::uint64_t seed, Mutant mutant = Mutant::none);
    [[nodiscard]] std::vector<Tally> tallies() const override;

   private:
    std::string misfortune() override;
    void random_fault() override;
    std::string verify();
    void start_more() override { publishers_.start(); }
    void stop_more() override { publishers_.stop(); }
    [[nodiscard]] bool is_more_idle() const override { return publishers_.is_idle(); }
    void verify_more(SimMount& mount) override { publishers_.verify_all(mount); }
    std::string compare_more() override;

    Publishers publishers_;
    std::uint64_t verified_ = 0;
};

}  // namespace gemel::sim
