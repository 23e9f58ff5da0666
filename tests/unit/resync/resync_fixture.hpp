// SPDX-License-Identifier: Apache-2.0
// Two simulated machines with a replica each, and a link between them whose frames arrive in order
// after arbitrary delays and which can be cut at any frame. For every test of a resync.
#pragma once

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "engine/mirror/replica.hpp"
#include "engine/store/intent_log.hpp"
#include "resync/source.hpp"
#include "resync/target.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::resync_test {

class Wire;

class WireEnd final : public PeerLink {
   public:
    WireEnd(std::shared_ptr<Wire> wire, int side) : wire_(std::move(wire)), side_(side) {}
    ~WireEnd() override { close(); }
    void send(FrameType type, Bytes head, Bytes body) noexcept override;
    void flush() noexcept override {}
    std::size_t unsent() const noexcept override;
    void close() noexcept override;
    void set_handler(PeerLinkHandler& handler) noexcept override;

   private:
    std::shared_ptr<Wire> wire_;
    int side_;
};

struct FrameCounts {
    std::map<FrameType, std::uint64_t> frames;
    std::uint64_t content_bytes = 0;  // of op and resync_content
};

// Both directions of one session.
class Wire : public std::enable_shared_from_this<Wire> {
   public:
    Wire(sim::World& world, Duration delay_max, Duration delay_min)
        : world_(world), delay_max_(delay_max), delay_min_(delay_min) {}

    void send(int side, FrameType type, Bytes head, Bytes body);
    void close(int side) { handlers_[side] = nullptr; }
    void set_handler(int side, PeerLinkHandler& handler) { handlers_[side] = &handler; }
    // Nothing on the way arrives; both ends are told.
    void cut();
    // Nothing more of this side arrives.
    void hold(int side) { held_[side] = true; }

    FrameCounts counts;
    std::uint64_t delivered = 0;
    // Called after each delivery with the sending side (0: the source).
    std::function<void(int, FrameType)> after_delivery;
    std::function<void(int, FrameType, Bytes)> before_delivery;
    std::deque<std::string> history;  // the last frames delivered, for a failure's message
    std::size_t unsent = 0;           // as the ends see it
    std::uint64_t cut_at = 0;         // cuts itself instead of delivering this frame; 0: never

   private:
    struct Frame {
        FrameType type;
        ByteBuffer payload;
    };
    void deliver(int side);

    sim::World& world_;
    Duration delay_max_;  // above the least one
    Duration delay_min_;
    PeerLinkHandler* handlers_[2] = {};
    std::deque<Frame> queues_[2];
    Instant last_due_[2];
    bool cut_ = false;
    bool held_[2] = {};
};

class Side final : public ReplicaEvents {
   public:
    Side(sim::World& world, const std::string& name);
    ~Side() { close(); }

    // A process with all that it has on its disk. A machine that is off is booted. No volume id: as
    // the disk says.
    void open(const Uuid& volume);
    void close();

    void on_local_failure(Status reason, const std::string& what) noexcept override;
    void on_peer_failure(const std::string& what) noexcept override {
        peer_failures.push_back(what);
    }
    void on_first_write_alone() noexcept override;
    void on_resync_complete() noexcept override { complete = true; }
    void on_control_frame(FrameType, Bytes) noexcept override {}
    void on_session_lost(Status) noexcept override { lost = true; }

    DirectoryVolume& volume() { return replica->directory(0); }
    void kill_process() {
        node.kill_process();
        close();
    }

    sim::Node& node;
    sim::SimLoop* loop = nullptr;
    std::string log_directory = "/log";
    ExcludeList exclude;
    std::size_t open_files_max = 1024;
    std::uint64_t block_size = 0;  // of a block volume beside the directory; 0: there is none
    Replica::Options replica_options;
    std::function<void(Status)> on_failure;  // what its owner does then
    std::vector<std::unique_ptr<Volume>> volumes;
    std::unique_ptr<IntentLog> intents;
    std::unique_ptr<Replica> replica;
    std::unique_ptr<ReadAhead> read_ahead;
    ResyncProgress progress;
    std::vector<std::string> failures, peer_failures;
    bool complete = false, lost = false;
};

// A client op with the memory its views point to.
class TestOp final : public ClientOp {
   public:
    void on_complete(Status status) noexcept override {
        done = true;
        outcome = status;
    }
    std::string name, new_name;
    std::string data;
    bool done = false;
    Status outcome;
};

class TestSync final : public ClientSync {
   public:
    void on_complete(Status status) noexcept override {
        done = true;
        outcome = status;
    }
    bool done = false;
    Status outcome;
};

class ResyncTest : public testing::Test {
   protected:
    void begin(std::uint64_t seed, bool same_volume = true);
    void TearDown() override;

    // A session between the source, which serves alone, and the other as target.
    void connect(bool full = false, bool must_compare = false);
    // Until the resync is through; false: the session was lost or a node failed.
    bool finish();
    void cut() { wire_->cut(); }
    // The pair is in sync: secondary and primary.
    void join();
    // In sync, and so long without a change that no intent is left.
    void join_and_rest();
    // Submits the op in the turn in which ops begin to be shipped, before anything is listed; it
    // needs `names` to have intents. Requires: connect() has just been called.
    TestOp& submit_first(std::unique_ptr<TestOp> op, std::initializer_list<ObjectId> names);
    std::unique_ptr<TestOp> make_rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                                        std::string_view new_name);
    // The resync ends, the pair joins and everything is acknowledged: the trees are equal.
    void expect_good_end();
    // The session is lost and the source goes on alone.
    void go_alone();
    void close_session();
    // The target loses its power and its intent log, and starts; the source goes on alone.
    void lose_target_and_its_log();
    void expect_equal(const std::string& when = {});

    Status run(TestOp& op);
    ObjectId create(ObjectId parent, std::string_view name, std::uint32_t mode,
                    std::string_view data = {});
    ObjectId make_dir(ObjectId parent, std::string_view name) {
        return create(parent, name, S_IFDIR | 0755);
    }
    ObjectId make_file(ObjectId parent, std::string_view name, std::string_view content);
    void write(ObjectId object, std::uint64_t offset, std::string_view data);
    void truncate(ObjectId object, std::uint64_t size);
    void rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                std::string_view new_name, std::uint32_t flags = 0);
    void link(ObjectId object, ObjectId parent, std::string_view name);
    void unlink(ObjectId parent, std::string_view name, bool directory = false);
    void set_xattr(ObjectId object, std::string_view name, std::string_view value);
    ObjectId id_of(ObjectId parent, std::string_view name);
    // Writes a tree past the volumes, as an older copy or a foreign change.
    void plant(Side& side, const std::string& path, std::string_view content);

    // One op drawn at random on the tree as it is.
    std::unique_ptr<TestOp> random_op();
    void random_ops(std::size_t count);
    // Ops at random times from now on, `count` of them, while the world runs.
    void random_ops_meanwhile(std::size_t count, Duration gap_max);

    std::unique_ptr<sim::World> world_;
    std::unique_ptr<Side> a_, b_;
    std::shared_ptr<Wire> wire_;
    ResyncMemory memory_;
    ResyncPacer pacer_;
    BeforeImage* before_ = nullptr;      // of the targets to come
    Uuid comparison_{{1}};               // the same
    std::vector<std::string> exclude_;   // for begin()
    std::size_t open_files_max_ = 1024;  // the same
    std::uint64_t epoch_ = 5;
    std::vector<std::unique_ptr<TestOp>> ops_;
    std::vector<ObjectId> orphans_;
    std::size_t ops_to_come_ = 0;
    Duration wire_delay_min_;
    Uuid id_{{7, 7, 7}};

   private:
    void submit_one(Duration gap_max);
    struct Known {
        ObjectId parent, id;
        std::string name;
        std::uint32_t mode = 0;
    };
    std::vector<Known> walk_ids();
};

// Everything that can be seen from outside and is mirrored, by path; `.gemel` apart from orphans/,
// detached/ and incoming/ left out.
std::map<std::string, std::string> tree_of(Side& side);
// The same of excluded names alone.
std::map<std::string, std::string> local_tree_of(Side& side);

}  // namespace gemel::resync_test
