// SPDX-License-Identifier: Apache-2.0
// Any campaign with resyncs that are slow and paused at random moments, by a person who resumes
// them. Of a block volume what is not under way is sent: requests wait for that, but never for a
// pause.
#pragma once

#include "tests/sim/campaign.hpp"
#include "tests/sim/node_program.hpp"

#include <cstdint>
#include <vector>

namespace gemel::sim {

template <typename Faults>
class Paced final : public Faults {
   public:
    template <typename... More>
    explicit Paced(std::uint64_t seed, More... more) : Faults(seed, more...) {
        ResyncRateRange& range = this->cluster_.names->resync_rate;
        range.min = (64 + this->prng().below(448)) * kKiB;
        if (seed % 3 != 0) range.max = range.min * (1 + this->prng().below(8));
    }
    [[nodiscard]] std::vector<Tally> tallies() const override {
        std::vector<Tally> tallies = Faults::tallies();
        tallies.push_back({"resyncs paused", pauses_, 0.25});
        return tallies;
    }

   private:
    void start_more() override {
        Faults::start_more();
        person_is_there_ = true;
        come_again();
    }
    void stop_more() override {
        Faults::stop_more();
        person_is_there_ = false;
        for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) pause(node, false);
    }
    void come_again() {
        this->cluster_.world.after(this->random_time(20, 1200), [this] {
            if (!person_is_there_) return;
            const std::size_t node = this->prng().below(2);
            const NodeProgram* program = this->cluster_.program(node);
            if (program != nullptr) pause(node, !program->port().resync_pacer().is_paused());
            come_again();
        });
    }
    void pause(std::size_t node, bool paused) {
        const NodeProgram* program = this->cluster_.program(node);
        if (program == nullptr || this->cluster_.machines[node]->is_paused()) return;
        const bool is_alone = program->node()->machine().state() == MirrorState::alone;
        if (paused && !is_alone) return;
        this->note(paused ? "a person pauses the resync" : "a person resumes the resync");
        if (paused && program->port().resync_progress().running) ++pauses_;
        program->port().pause_resync(paused);
    }

    bool person_is_there_ = false;
    std::uint64_t pauses_ = 0;  // of resyncs that were under way
};

}  // namespace gemel::sim
