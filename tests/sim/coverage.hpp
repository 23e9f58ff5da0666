// SPDX-License-Identifier: Apache-2.0
// Whether every real difference of the two copies is known, at any moment of a run.
//
// What is true whenever a node S serves alone (or held) without a session, and the process of the
// other one, T, is there with its storage open: an aspect of an object in which the two trees
// differ (4 KiB of content, attributes, a directory's names) is
//   in S's dirty map, at that grain;
//   or covered by a live intent of T's, which S unites with its map at each session's beginning:
//     T touches nothing without one, and none is cleared before both have synced;
//   or, while T is not in the boot that S's map relates to, covered by a live intent of S's: T may
//     have lost whatever it had not synced, and S unites its own as well then. After a takeover
//     S's map relates to no boot.
// Nothing is on its way then: what was, S has marked when the session was lost. While there is a
// session, marks are cleared for items of the stream that nobody outside of it can see.
//
// Excepted is what has to be compared in full in any case: a copy whose superblock says so, that
// has never been in sync, or that has another volume's id. Clusters with excluded names are not
// looked at.
#pragma once

#include "engine/base/prng.hpp"
#include "tests/sim/cluster.hpp"

#include <cstdint>
#include <string>

namespace gemel::sim {

class Coverage {
   public:
    // Looks at random moments from start() on, and says in Cluster::failures what nobody knows of.
    // Requires: the cluster outlives it.
    explicit Coverage(Cluster& cluster);
    Coverage(const Coverage&) = delete;
    Coverage& operator=(const Coverage&) = delete;

    void start();
    // Aspects that were found to differ, each time they were looked at.
    [[nodiscard]] std::uint64_t differences() const noexcept { return differences_; }

   private:
    void look();
    void check(std::size_t serving);

    Cluster& cluster_;
    Prng prng_;  // its own: whether anybody looks changes nothing
    std::uint64_t differences_ = 0;
};

}  // namespace gemel::sim
