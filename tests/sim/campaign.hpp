// SPDX-License-Identifier: Apache-2.0
// A cluster, its applications and faults from one seed, and what every campaign over them shares:
// beginning, healing, judging. What is injected when is the campaign's own (campaign_single.cpp,
// campaign_double.cpp).
#pragma once

#include "tests/sim/cluster.hpp"
#include "tests/sim/coverage.hpp"
#include "tests/sim/disk_faults.hpp"
#include "tests/sim/fault_kinds.hpp"
#include "tests/sim/wire_faults.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace gemel::sim {

// How much a campaign did of what it is there for. A campaign that does less than `least` a seed,
// on average, shows nothing.
struct Tally {
    const char* what;
    std::uint64_t count = 0;
    double least = 0;
};

class Campaign {
   public:
    explicit Campaign(std::uint64_t seed, Mutant mutant = Mutant::none);
    virtual ~Campaign() = default;

    // Empty when all held, else a sentence.
    std::string run();
    // Leaves faults out, by their numbers in injected(): how a run that fails is made smaller. What
    // chance decides after that is something else. Before run().
    void leave_out(std::set<std::size_t> faults) { left_out_ = std::move(faults); }
    [[nodiscard]] std::uint64_t digest() const { return cluster_.world.digest(); }
    // Keeps so many lines of each of the two below, and remarks in them what the applications do.
    void remark(std::size_t lines_max);
    // The last events, or only those that have a text.
    [[nodiscard]] std::string trace() const { return cluster_.world.trace_text(); }
    [[nodiscard]] std::string timeline() const { return cluster_.world.timeline(); }
    [[nodiscard]] std::uint64_t acknowledged() const { return workload_.acknowledged(); }
    // Aspects in which the copies differed when somebody looked whether that is known.
    [[nodiscard]] std::uint64_t differences_seen() const { return coverage_.differences(); }
    [[nodiscard]] Duration simulated() const { return cluster_.world.now() - Instant(); }
    // Those that came, in their order, with those left out.
    [[nodiscard]] const std::vector<FaultKind>& injected() const { return injected_; }
    [[nodiscard]] virtual std::vector<Tally> tallies() const {
        return {{"ops acknowledged", acknowledged(), 20}};
    }

   protected:
    Campaign(std::uint64_t seed, Mutant mutant, const Workload::Options& options);
    [[nodiscard]] static Workload::Options options_of(std::uint64_t seed);

    // Injects faults and heals; empty when all held.
    virtual std::string misfortune() = 0;
    [[nodiscard]] virtual bool has_person() const { return false; }
    // For a campaign with further applications; they report to cluster_.failures.
    virtual void start_more() {}
    virtual void stop_more() {}
    [[nodiscard]] virtual bool is_more_idle() const { return true; }
    virtual void expect_loss_of_more() {}
    virtual void verify_more(SimMount&) {}
    virtual std::string compare_more() { return {}; }

    Prng& prng() { return cluster_.world.prng(); }
    Duration random_time(std::uint64_t low_ms, std::uint64_t high_ms) {
        return Duration::milliseconds(static_cast<std::int64_t>(prng().between(low_ms, high_ms)));
    }
    void run_for(Duration duration) { cluster_.world.run_for(duration); }
    void note(const std::string& text);
    // What a person could see of the cluster, and the first broken promise if there is one.
    [[nodiscard]] std::string failure(const std::string& what) const;

    // Ends every fault; machines run again.
    void end_faults();
    // Waits for the cluster to be in sync and served, restarting processes that die as a service
    // manager does. Where there is a person, what only he can decide is decided.
    bool heal();
    void restart_processes();
    // One of the faults that concern processes, power and wires.
    virtual void random_fault();
    // Every fault asks when its turn comes. False: this run leaves it out.
    [[nodiscard]] bool admit(FaultKind kind);
    // `to`: the other end of a cut.
    void inject(FaultKind kind, std::size_t machine, std::size_t to);
    // The applications rest until the intents are cleared; returns about when they go on, so that
    // the fault that follows meets regions without an intent.
    void rest_first();
    void pause(std::size_t machine);
    // campaign_machines.cpp: clocks, state directories, and what persons do.
    void drift(std::size_t machine);
    void restart_with_wrong_clock(std::size_t machine);
    void begin_verify();
    void restart_with_other_options(std::size_t machine);
    void damage_state_of(std::size_t node);
    // What the last verify on either node says of two copies in sync. Empty: nothing differs.
    [[nodiscard]] std::string false_alarm() const;
    void cut_around(std::size_t machine);
    // Tells the applications when this machine was the last that held everything.
    void power_cut(std::size_t machine);
    // The same as a part of another fault.
    void lose_power(std::size_t machine);
    void expect_loss_of_unsynced();
    // Null when it is left out. Requires: the machine's disks have none.
    DiskFault* begin_disk_fault(std::size_t machine, DiskFault::Kind kind);

    // The mount that the applications work through.
    [[nodiscard]] SimMount* serving();

    Cluster cluster_;
    std::optional<std::size_t> bound_to_;  // they know of this node only
    Workload workload_;
    std::vector<std::unique_ptr<DiskFault>> disk_faults_;
    WireFaults wire_faults_{cluster_.world};

   private:
    void help();
    std::string finish();

    std::vector<FaultKind> injected_;
    std::set<std::size_t> left_out_;
    Coverage coverage_{cluster_};
    std::array<Instant, 3> next_restart_;  // of a process that could not open its storage
};

// One fault at a time, each healed before the next: nothing at all is lost, and nobody is needed.
class SingleFaults : public Campaign {
   public:
    using Campaign::Campaign;

   protected:
    // A while of work, a fault, and everything heals; empty when all held.
    std::string one_fault();

   private:
    std::string misfortune() override;
    void cut_with_ops_under_way();
    std::string disk_fault();
    std::string check_secondary_alone(std::size_t machine, const DiskFault& fault);
};

// The serving node's disk hangs while the node answers heartbeats: the other takes over, and what
// has hung is done late, on a copy that does not count any more.
class HangingDisks : public SingleFaults {
   public:
    explicit HangingDisks(std::uint64_t seed, Mutant mutant = Mutant::none);

   private:
    std::string misfortune() override;
    std::string hang();
};

// A disk fails while the witness is away, so that nothing can be recorded, and the process that
// knows of it is restarted: the copy must not come back as if nothing had been.
class FailedCopies final : public SingleFaults {
   public:
    using SingleFaults::SingleFaults;

   private:
    std::string misfortune() override;
    void fail_and_restart();
};

// Two faults at once, or a second while the first is being healed, and a person who does as he
// likes: what was synced is there, and nothing diverges silently.
class DoubleFaults : public Campaign {
   public:
    using Campaign::Campaign;

   protected:
    [[nodiscard]] bool has_person() const override { return true; }
    void wait_for_second();

   private:
    std::string misfortune() override;
    void one_of_two();
    void random_command();
};

// Each ordered pair of the kinds of faults: the seed says which.
class FaultPairs final : public DoubleFaults {
   public:
    using DoubleFaults::DoubleFaults;

    static constexpr std::uint64_t kPairs = kFaultKinds * kFaultKinds;

   private:
    std::string misfortune() override;
};

// The same under applications that write logs, record by record with a sync of each, so that syncs
// are begun before they are asked for.
class DoubleFaultsUnderLogs final : public DoubleFaults {
   public:
    explicit DoubleFaultsUnderLogs(std::uint64_t seed, Mutant mutant = Mutant::none);

   private:
    [[nodiscard]] static Workload::Options logging_options(std::uint64_t seed);
};

// Both sides serve, one of them by a person's force: refused on both as soon as they meet, until a
// person has chosen the copy to keep.
class WrittenApart final : public Campaign {
   public:
    using Campaign::Campaign;

   private:
    std::string misfortune() override;
    bool serve_apart();
    bool reaches(std::size_t node, MirrorState state);
    std::string write_apart();
    std::string check_refused();
    bool keep_forced();

    std::size_t alone_ = 0, forced_ = 0;
    std::unique_ptr<Workload> forced_workload_;
};

}  // namespace gemel::sim
