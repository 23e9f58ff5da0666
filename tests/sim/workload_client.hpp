// SPDX-License-Identifier: Apache-2.0
// One client of a Workload: chooses and submits, hears, looks and judges.
#pragma once

#include "tests/sim/client_tree.hpp"
#include "tests/sim/workload.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel::sim {

class Workload::Client {
   public:
    Client(Workload& owner, std::string name) : owner_(owner), directory_(std::move(name)) {}

    void schedule();
    [[nodiscard]] bool is_idle() const noexcept { return waiting_ == 0; }
    [[nodiscard]] bool is_cleared() const noexcept {
        return is_idle() && !uncertain_ && pending_.empty() && tree_.files.empty() &&
               tree_.directories.empty();
    }
    void verify(SimMount& mount) {
        if (made_ || !pending_.empty()) look(mount);
    }
    void expect_loss(bool of_anything);

   private:
    Prng& prng() { return owner_.world_.prng(); }

    void act();
    void work(SimMount& mount);

    // --- Doing: workload_client.cpp ----------------------------------------------------------
    void begin(SimMount& mount);
    void submit(SimMount& mount, ObjectId own, Change change);
    void finished(SimMount& mount, std::uint64_t number, Status status, std::uint64_t size);
    void settle();
    void begin_sync(SimMount& mount, const std::string& name);
    [[nodiscard]] bool begins_log();
    void log_on(SimMount& mount);
    std::optional<ObjectId> id_of(SimMount& mount, ObjectId parent, const std::string& name);
    bool fill(SimMount& mount, ObjectId own, const Change& change, SimOp& op);
    std::string random_file();
    std::string fresh_name() { return "n" + std::to_string(++names_made_); }
    std::optional<Change> random_change();
    std::optional<Change> removal() const;
    std::optional<Change> random_rename(const std::string& name);
    std::optional<Change> random_directory();
    Change random_edit(const Tree& tree, const std::string& name);
    Change random_write(const File& file, const std::string& name);

    // --- Looking: workload_look.cpp ----------------------------------------------------------
    // Compares what is there with what may be, and goes on from what is there. False: not now.
    bool look(SimMount& mount);
    bool is_missing(SimMount& mount, Status status);
    bool judge(const std::string& node, const Tree& seen);
    bool read_tree(SimMount& mount, ObjectId own, Tree& seen);
    bool read_file(SimMount& mount, ObjectId id, File& file);
    // The volume could not be read. True: the process has died or its disk has failed, and who
    // serves has been told.
    bool excuses(SimMount& mount, Status status);
    [[nodiscard]] bool is_deposed(const SimMount& mount) const;

    struct Pending {
        std::uint64_t number = 0;
        Change change;
    };

    Workload& owner_;
    std::string directory_;
    Tree tree_;                    // acknowledged, or seen since
    std::deque<Pending> pending_;  // on their way, or of unknown outcome, in order
    DurableFacts facts_;
    SimMount* mount_ = nullptr;
    std::uint64_t generation_ = 0;
    Instant begun_;  // the ops on their way
    std::uint64_t next_number_ = 1;
    std::uint64_t names_made_ = 0;
    std::size_t waiting_ = 0;     // answers
    std::uint64_t log_left_ = 0;  // records and syncs of them
    std::string log_;
    bool record_is_next_ = true;
    bool made_ = false;
    bool uncertain_ = false;  // an outcome is not known, or must be looked at
    bool may_lose_ = false;   // what was not synced
};

}  // namespace gemel::sim
