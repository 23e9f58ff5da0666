// SPDX-License-Identifier: Apache-2.0
// Applications of a simulated mirror: clients that work through whichever node serves, each in a
// directory of its own and one op at a time, and that know at any moment which states of it are
// possible: what was acknowledged, plus at most the one op whose outcome was never told. After an
// unknown outcome a client looks, and what it sees must be one of the two (a write that was not
// acknowledged may also be torn at sectors).
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/sim/world.hpp"
#include "engine/mirror/replica.hpp"

#include <deque>
#include <functional>
#include <map>
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

// What a node's mount is to its applications: alive from show(serving) to abort().
class SimMount {
   public:
    [[nodiscard]] bool is_serving() const noexcept { return replica != nullptr; }
    // Submits to the replica; `done` comes only while this mount is alive.
    void submit(std::unique_ptr<SimOp> op, std::function<void(Status)> done);
    void serve(Replica& served_replica, Loop& served_loop) noexcept;
    void abort() noexcept;

    Replica* replica = nullptr;
    Loop* loop = nullptr;
    std::uint64_t generation = 0;          // grows with serve() and abort()
    std::function<std::uint64_t()> epoch;  // of the service, for the order of acknowledgements
    std::string node;

   private:
    std::deque<std::unique_ptr<SimOp>> ops_;  // until the process ends
};

class Workload {
   public:
    struct Options {
        std::size_t clients = 3;
        Duration pause_max = Duration::milliseconds(4);  // between two ops of a client
    };

    // `serving` gives the mount to work through now, or null. Requires: it and the world outlive
    // the workload; `fail` is called with a sentence when a promise is broken.
    Workload(World& world, const Options& options, std::function<SimMount*()> serving,
             std::function<void(const std::string&)> fail);
    ~Workload();

    // Clients begin no new op after stop(); is_idle() when none is on its way.
    void start();
    void stop() noexcept { stopped_ = true; }
    [[nodiscard]] bool is_idle() const noexcept;
    // Every client looks at everything through this mount. Requires: is_idle().
    void verify_all(SimMount& mount);
    [[nodiscard]] std::uint64_t acknowledged() const noexcept { return acknowledged_; }
    [[nodiscard]] std::uint64_t uncertain() const noexcept { return uncertain_; }

   private:
    class Client;

    void note_acknowledgement(const SimMount& mount, Instant begun);

    World& world_;
    std::function<SimMount*()> serving_;
    std::function<void(const std::string&)> fail_;
    std::vector<std::unique_ptr<Client>> clients_;
    bool stopped_ = false;
    std::uint64_t acknowledged_ = 0;
    std::uint64_t uncertain_ = 0;
    std::uint64_t newest_epoch_ = 0;  // of an acknowledgement
    Instant newest_since_;
};

}  // namespace gemel::sim
