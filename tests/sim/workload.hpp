// SPDX-License-Identifier: Apache-2.0
// Applications of a simulated mirror: clients that work through whichever node serves, each in a
// directory of its own, and that know at any moment which states of it are possible: what was
// acknowledged, plus a first part of the few ops whose outcome was never told. After an unknown
// outcome a client looks, and what it sees must be one of these (the first op that is missing may
// be a write torn at sectors). They sync files and everything, and know what has to be there when
// every node has lost its memory.
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/sim/world.hpp"
#include "engine/mirror/replica.hpp"
#include "tests/sim/client_tree.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel::sim {

class Workload;

// An op on its way; owns what its views point to.
class SimOp final : public ClientOp {
   public:
    void on_complete(Status status) noexcept override;

    std::string name, new_name;
    ByteBuffer data;
    std::function<void(Status)> done;
};

class SimSync final : public ClientSync {
   public:
    void on_complete(Status status) noexcept override;

    std::function<void(Status)> done;
};

// What a node's mount is to its applications: alive from show(serving) to abort().
class SimMount {
   public:
    [[nodiscard]] bool is_serving() const noexcept { return replica != nullptr; }
    // Submits to the replica; `done` comes only while this mount is alive.
    void submit(std::unique_ptr<SimOp> op, std::function<void(Status)> done);
    void sync(ObjectId object, std::function<void(Status)> done, std::uint16_t volume = 0);
    void serve(Replica& served_replica, Loop& served_loop) noexcept;
    void abort() noexcept;

    // Where each op and its result are remarked; null: nowhere.
    World* remarks = nullptr;
    Replica* replica = nullptr;
    Loop* loop = nullptr;
    std::uint64_t generation = 0;          // grows with serve() and abort()
    std::function<std::uint64_t()> epoch;  // of the service, for the order of acknowledgements
    std::string node;

   private:
    [[nodiscard]] std::function<void(Status)> remarked(const Op& op,
                                                       std::function<void(Status)> done);

    // Until the process ends, which may still answer them after an abort.
    std::deque<std::unique_ptr<SimOp>> ops_;
    std::deque<std::unique_ptr<SimSync>> syncs_;
};

class Workload {
   public:
    struct Options {
        std::size_t clients = 3;
        Duration pause_max = Duration::milliseconds(4);  // between two steps of a client
        // After one step in `rest_every` all clients rest for up to rest_max, so that regions
        // become idle and their intents are cleared. 0: never.
        std::uint64_t rest_every = 0;
        Duration rest_max = Duration::seconds(4);
        // One step in so many begins a log: records of one file, each followed by its sync, while
        // all others wait. 0: never.
        std::uint64_t log_every = 0;
        std::string name = "client";  // of the directories, with a number
    };

    // `serving` gives the mount to work through now, or null. Requires: it and the world outlive
    // the workload; `fail` is called with a sentence when a promise is broken.
    Workload(World& world, const Options& options, std::function<SimMount*()> serving,
             std::function<void(const std::string&)> fail);
    ~Workload();

    // Clients begin no new op after stop(); is_idle() when none is on its way. They go on with
    // start(), once they have stopped.
    void start();
    void stop() noexcept { stopped_ = true; }
    // No new op for so long.
    void rest(Duration duration) noexcept { rests_until_ = world_.now() + duration; }
    // Every node that held all that was acknowledged has lost its memory: what was not synced may
    // be gone, in any part.
    void unsynced_may_be_lost();
    // A person has chosen a copy, whatever it lacks.
    void anything_may_be_lost();
    [[nodiscard]] bool is_idle() const noexcept;
    // From here on clients only remove what they have made, or again work as ever.
    void clear_away(bool only) noexcept { clears_away_ = only; }
    // Their directories are empty, and every outcome is known.
    [[nodiscard]] bool is_cleared() const noexcept;
    // Every client looks at everything through this mount. Requires: is_idle().
    void verify_all(SimMount& mount);
    [[nodiscard]] std::uint64_t acknowledged() const noexcept { return acknowledged_; }
    [[nodiscard]] std::uint64_t synced() const noexcept { return synced_; }
    // Definite refusals (no space) and errors that applications were told.
    [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }
    [[nodiscard]] std::uint64_t failed() const noexcept { return failed_; }

   private:
    class Client;

    void note_acknowledgement(const SimMount& mount, Instant begun);
    void note_epoch(const SimMount& mount);

    World& world_;
    Options options_;
    std::function<SimMount*()> serving_;
    std::function<void(const std::string&)> fail_;
    std::vector<std::unique_ptr<Client>> clients_;
    const Client* logs_ = nullptr;
    bool stopped_ = false;
    bool clears_away_ = false;
    Instant rests_until_;
    std::uint64_t acknowledged_ = 0;
    std::uint64_t synced_ = 0, refused_ = 0, failed_ = 0;
    std::uint64_t newest_epoch_ = 0;  // of an acknowledgement
    Instant newest_since_;
};

}  // namespace gemel::sim
