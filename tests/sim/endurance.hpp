// SPDX-License-Identifier: Apache-2.0
// One cluster for many hours: work and single faults in turns with long rests. After the first hour
// and after the last one the applications clear away what they made, everything comes to rest, and
// all that can be counted is counted (census.hpp): it must be the same.
//
// In the first hour and in the second half of the run no process ends (wires are cut, processes
// paused, disks fail, the roles are swapped), so that what a process gathers adds up; in the hours
// between, processes are killed and machines lose their power too.
#pragma once

#include "tests/sim/campaign.hpp"
#include "tests/sim/census.hpp"

#include <optional>
#include <string>

namespace gemel::sim {

class Endurance final : public SingleFaults {
   public:
    Endurance(std::uint64_t seed, std::uint64_t hours, Mutant mutant = Mutant::none);

    [[nodiscard]] std::uint64_t faults() const noexcept { return faults_; }
    [[nodiscard]] std::uint64_t events() const noexcept { return cluster_.world.event_count(); }
    // The first count and the last.
    [[nodiscard]] const std::optional<Census>& first() const noexcept { return first_; }
    [[nodiscard]] const std::optional<Census>& last() const noexcept { return last_; }

   private:
    std::string misfortune() override;
    void random_fault() override;

    std::string one_hour();
    // Both copies are equal and complete; then nothing is left in them, and everything rests.
    std::string come_to_rest();
    // Of the process on this machine: it is ended, and started again.
    std::string add_memory(Census& census, std::size_t machine);
    std::string count(std::optional<Census>& census);

    std::uint64_t hours_;
    std::uint64_t faults_ = 0;
    bool spares_processes_ = false;
    std::optional<Census> first_, last_;
};

}  // namespace gemel::sim
