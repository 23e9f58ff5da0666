// SPDX-License-Identifier: Apache-2.0
// Judges, from readings taken once a heartbeat, whether work goes on: whether an op has waited for
// the peer too long, whether the peer has been slow for too long, whether a disk hangs. No I/O and
// no clock. A wrong verdict costs a resync or a failover, never data: each is only the reason for a
// change of the register.
//
// Own starvation is nobody's fault: while nobody took readings, nothing is measured.
#pragma once

#include "engine/base/units.hpp"
#include "engine/mirror/application_load.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace gemel {

class ProgressWatch {
   public:
    struct Options {
        Duration detect = Duration::seconds(1);
        Duration io_timeout = Duration::seconds(30);  // 0: a disk may take as long as it wants
        Duration slow_peer;                           // mean of an op's wait; 0: any
        Duration slow_for = Duration::seconds(30);
    };
    struct Reading {
        Duration waiting_for_peer;  // of the oldest op that does
        Duration own_disk;          // of the oldest work of this node's disk
        Duration peer_disk;         // of the peer's, as its heartbeats say
        ApplicationLoad::Answered peer_answers;
    };
    struct Verdict {
        std::string peer_fault;       // a sentence: why it can't stay in the set; empty: it can
        bool own_disk_hangs = false;  // from half of `io_timeout` on
        bool peer_disk_hangs = false;
    };

    explicit ProgressWatch(const Options& options) noexcept : options_(options) {}

    [[nodiscard]] Verdict judge(const Reading& reading, Instant now);

   private:
    [[nodiscard]] bool hangs(Duration age) const noexcept {
        return options_.io_timeout.ns != 0 && age >= options_.io_timeout;
    }
    [[nodiscard]] std::string slowness(const ApplicationLoad::Answered& answers, Instant now);

    Options options_;
    std::optional<Instant> last_;  // reading
    std::uint64_t readings_ = 0;   // since it was
    Instant measured_since_;
    Instant awake_since_;
    ApplicationLoad::Answered window_;  // as it was when the present second began
    Instant window_begun_;
    std::optional<Instant> slow_since_;
};

}  // namespace gemel
