// SPDX-License-Identifier: Apache-2.0
// A simulated machine: clocks, disks, addresses, and at most one process. What happens to it:
//   kill_process  the process ends at once (kill -9): its timers, posts, jobs and I/O vanish, its
//                 kernel closes its sockets, its files keep what was written;
//   power_cut     the same, but nobody is told, and the disks lose what was not synced
//                 (durability.hpp); the machine stays off until power_on() or start();
//   pause         the process does not run (SIGSTOP); what arrives for it waits.
// A process killed inside one of its own calls goes on to the end of that call without any
// effect: its Vfs answers cancelled, its loop and network ignore it.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/prng.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/network.hpp"
#include "engine/io/sim/clock.hpp"
#include "engine/io/sim/fault_policy.hpp"
#include "engine/io/sim/file_system.hpp"
#include "engine/io/sim/world.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel::sim {

class SimLoop;

// Everything that a process is made of. The node destroys it when the process has ended: after its
// last call has returned, while its loop still exists (and ignores everything).
class Program {
   public:
    virtual ~Program() = default;
};
using ProgramFactory = std::function<std::unique_ptr<Program>(SimLoop& loop)>;

// Delays are drawn anew each time: mostly near `min`, at times several times `max`.
struct Latency {
    Duration min;
    Duration max;

    [[nodiscard]] Duration sample(Prng& prng) const noexcept;
};

struct NodeOptions {
    std::string name;
    // An address and the network it is on; links are cut per pair of nodes and network.
    struct Address {
        SocketAddress ip;
        std::uint8_t network = 0;
    };
    std::vector<Address> addresses;
    std::int64_t clock_drift_ppm = 0;
    Duration wall_offset;
    Latency turn = {Duration::microseconds(1), Duration::microseconds(20)};  // posts, wake-ups
    Latency job = {Duration::microseconds(20), Duration::milliseconds(2)};   // each of its halves
    Latency transfer = {Duration::microseconds(5), Duration::microseconds(300)};
    Latency sync = {Duration::microseconds(200), Duration::milliseconds(10)};
    // The file system mounted at "/"; more by Node::mount.
    FileSystemOptions disk;
};

class Node final {
   public:
    Node(World& world, std::uint16_t index, const NodeOptions& options);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    [[nodiscard]] World& world() noexcept { return world_; }
    [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
    [[nodiscard]] std::uint16_t index() const noexcept { return index_; }

    // --- Its process -------------------------------------------------------------------------
    // Switches the machine on if it is off, and starts a process. Requires: has_process() is false.
    void start(const ProgramFactory& factory);
    // A bare process for tests that make their objects themselves: those outlive no World, and the
    // loop of a killed one stays (ignoring everything) as long as the world.
    SimLoop& start();
    [[nodiscard]] bool has_process() const noexcept;
    [[nodiscard]] SimLoop& loop() noexcept { return *loop_; }  // Requires: has_process()
    void kill_process() noexcept;
    // Called in an event of the world's after each end of a process, its program destroyed: a
    // supervisor, which may start the next one.
    void set_on_end(std::function<void()> on_end) { on_end_ = std::move(on_end); }
    // The n-th call from now on of the process's Vfs (n >= 1) finds the process dead, has no effect
    // and answers cancelled, as do all after it; then the process, or with `power` the machine's
    // power, is gone. 0: not at all. Ends with the process.
    void die_at_vfs_call(std::uint64_t n, bool power = false) noexcept;
    // The same at the n-th callback (timer, post, completion, arrival) instead of running it.
    void die_at_callback(std::uint64_t n, bool power = false) noexcept;
    void pause() noexcept;
    void resume() noexcept;
    [[nodiscard]] bool is_paused() const noexcept { return paused_; }

    // --- The machine -------------------------------------------------------------------------
    void power_cut() noexcept;
    // Boots: a new boot id, a monotonic clock that begins anew. No effect while it is on.
    void power_on() noexcept;
    [[nodiscard]] bool is_on() const noexcept { return on_; }
    [[nodiscard]] const Uuid& boot_id() const noexcept { return boot_id_; }
    [[nodiscard]] Instant monotonic_now() const noexcept { return clock_.monotonic(world_.now()); }
    [[nodiscard]] WallTime wall_now() const noexcept { return clock_.wall(world_.now()); }
    void set_wall_offset(Duration offset) noexcept { clock_.set_wall_offset(offset); }
    void set_drift(std::int64_t ppm) noexcept;

    // --- Its disks ---------------------------------------------------------------------------
    // Another file system, under an absolute path ("/state"). open_directory finds the file system
    // with the longest matching path; open_at does not cross from one to the other.
    FileSystem& mount(std::string_view path, const FileSystemOptions& options);
    // The file system that an absolute path lies on, and the rest of the path.
    struct Place {
        FileSystem* file_system = nullptr;
        std::string_view path;
    };
    [[nodiscard]] Place find(std::string_view absolute_path) noexcept;
    // mkdir -p, durable: for the roots that a test needs.
    void make_directories(std::string_view absolute_path) noexcept;
    // Attaches a block device as `name` in a directory, with what /sys says of it ("serial": its
    // number, none if empty). Each attachment has a sequence number of its own. Returns its inode.
    struct DeviceOptions {
        std::string directory = "/dev";
        std::string name;
        std::uint64_t size = 0;
        std::uint32_t logical_block = 512;
        std::string serial;
    };
    Inode& attach_device(const DeviceOptions& options) noexcept;
    // Its node goes, and what it held.
    void detach_device(const std::string& directory, std::string_view name) noexcept;
    [[nodiscard]] FileSystem& disk(std::size_t index = 0) noexcept { return *mounts_[index].disk; }
    // Consulted at each call of the process's Vfs; stays the caller's; null: no faults.
    void set_fault_policy(FaultPolicy* policy) noexcept { fault_policy_ = policy; }
    [[nodiscard]] FaultPolicy* fault_policy() const noexcept { return fault_policy_; }
    // Jobs and IoOps wait until it is no longer stuck (or for ever).
    void set_disk_stuck(bool stuck) noexcept;
    [[nodiscard]] bool is_disk_stuck() const noexcept { return disk_stuck_; }
    // Jobs and IoOps take this many times as long.
    void set_disk_slowness(std::int64_t factor) noexcept { slowness_ = factor; }

    // --- Its addresses -----------------------------------------------------------------------
    // From now on `ip` (port ignored) leads here, also if another node has it too (the last who
    // announced it gets the packets).
    void add_address(const SocketAddress& ip, std::uint8_t network = 0) noexcept;
    void remove_address(const SocketAddress& ip) noexcept;

    // Log lines go to the world's trace with the node's name.
    [[nodiscard]] LogSink& log() noexcept { return log_; }

    // --- For the parts of the simulation -----------------------------------------------------
    [[nodiscard]] const NodeOptions& options() const noexcept { return options_; }
    [[nodiscard]] const NodeClock& clock() const noexcept { return clock_; }
    [[nodiscard]] std::int64_t slowness() const noexcept { return slowness_; }
    [[nodiscard]] Prng& prng() noexcept { return prng_; }
    [[nodiscard]] EventOwner machine() const noexcept { return {index_, 0}; }
    [[nodiscard]] bool is_process(std::uint32_t serial) const noexcept;
    void defer(EventId event) { deferred_.push_back(event); }
    // The process has died inside one of its own calls and has returned from it now.
    void reap() noexcept;

   private:
    class Log final : public LogSink {
       public:
        explicit Log(Node& node) noexcept : node_(node) {}
        void log(LogLevel level, std::string_view text) noexcept override;

       private:
        Node& node_;
    };
    struct Mount {
        std::string path;  // "" for "/", else "/state"
        std::unique_ptr<FileSystem> disk;
    };
    // Requires: it exists.
    Inode& directory_at(std::string_view absolute_path) noexcept;
    void end_process(bool power) noexcept;
    void make_loop();

    World& world_;
    std::uint16_t index_;
    NodeOptions options_;
    Prng prng_;
    NodeClock clock_;
    Log log_{*this};
    Uuid boot_id_;
    bool on_ = false;
    bool paused_ = false;
    bool disk_stuck_ = false;
    bool power_goes_ = false;  // the process died of a power cut: the disks follow at reap()
    std::int64_t slowness_ = 1;
    FaultPolicy* fault_policy_ = nullptr;
    std::vector<Mount> mounts_;
    std::vector<EventId> deferred_;
    std::unique_ptr<SimLoop> loop_;
    std::unique_ptr<Program> program_;
    std::function<void()> on_end_;
    bool bare_ = false;
    unsigned devices_ = 0;  // attached so far
    std::vector<std::unique_ptr<SimLoop>> dead_bare_loops_;
};

}  // namespace gemel::sim
