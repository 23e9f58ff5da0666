// SPDX-License-Identifier: Apache-2.0
// Verifies of clusters whose applications write all the while, with faults in the middle of some:
// none ever finds a difference that is none; what is changed behind either node's back is found,
// exactly; and --repair makes the copies equal.
#pragma once

#include "tests/sim/campaign.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace gemel::sim {

class NodeProgram;

class Verifies : public Campaign {
   public:
    using Campaign::Campaign;
    [[nodiscard]] std::vector<Tally> tallies() const override;

   private:
    std::string misfortune() override;
    // Null: nobody is primary.
    [[nodiscard]] NodeProgram* primary() const;
    // A directory that no application works in, with files of its own.
    std::string make_kept();
    bool carry_out(std::unique_ptr<SimOp> op, ObjectId& object);
    // Until it has ended, in whatever way; the program that ran it, or null when it is gone.
    const NodeProgram* verify(bool repair, const std::function<void()>& meanwhile = {});
    // A death that was to come late would be a fault in the middle.
    bool settle();
    std::string verify_equal();
    std::string verify_with_fault();
    // Behind the back of either node's engine; says which paths differ then.
    std::set<std::string> plant();
    std::string find_and_mend();

    std::string refusal_;
    std::uint64_t completed_ = 0;
};

}  // namespace gemel::sim
