// SPDX-License-Identifier: Apache-2.0
// One replica on a simulated machine, whose peer is the test: it sees every frame and answers when
// it likes. For the rules of engine/mirror, one by one.
#pragma once

#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::mirror_test {

using resync_test::Side;
using resync_test::TestOp;
using resync_test::TestSync;

struct SentFrame {
    FrameType type;
    ByteBuffer payload;
};

// What the test sees of a session, which outlives the replica's end of it.
struct Session {
    std::vector<SentFrame> sent;
    std::size_t flushed = 0;  // so many of them
    std::size_t unsent = 0;   // what the link says of its queue
    bool closed = false;
    PeerLinkHandler* handler = nullptr;

    [[nodiscard]] std::size_t count(FrameType type) const;
    // The ops sent so far, in order; their views point into `sent`.
    [[nodiscard]] std::vector<DecodedOp> ops() const;
};

// Calls of the disk that a test watches or lets fail.
class WatchedDisk final : public sim::FaultPolicy {
   public:
    sim::VfsFault before(const sim::VfsFaultPoint& point) noexcept override {
        if (on_call) on_call(point);
        return faults.before(point);
    }
    std::function<void(const sim::VfsFaultPoint&)> on_call;
    sim::ScriptedFaults faults;
};

class ReplicaTest : public testing::Test {
   protected:
    // `block_size`: of a block volume, volume 1; 0: there is none.
    explicit ReplicaTest(std::uint64_t block_size = 0) : block_size_(block_size) {}
    void SetUp() override;
    void TearDown() override;

    Replica& replica() { return *side_->replica; }
    DirtyMap& dirty() { return replica().dirty_map(0); }
    // A file of which the peer has everything. Requires: serving.
    ObjectId make_file(std::string_view name, std::string_view content = {});
    // Alone, with files that a peer in sync would have: nothing is dirty, no intent waits.
    void become_alone();
    // Alone, with a session over which ops are shipped.
    void attach();
    void become_primary();
    void become_secondary(bool as_target = false);

    TestOp& submit(std::unique_ptr<TestOp> op);
    TestOp& submit_write(ObjectId object, std::uint64_t offset, std::string data);
    TestSync& submit_sync(ObjectId object, bool data_only = false);
    // Everything that can happen by itself has happened; less than a round.
    void settle();
    // So many seconds, in which the peer says of each round that it has synced it.
    void run_rounds(int seconds);
    // From the peer.
    void receive(FrameType type, Bytes payload);
    void receive_number(FrameType type, std::uint64_t number);
    void receive_op(const Op& op, std::uint64_t number);
    void lose_session();
    // The numbers of the acks sent, joined by spaces: "1 3".
    std::string acks();
    std::string content(ObjectId object);
    // Of the descriptor's file in the volume's tree.
    std::uint64_t inode_of(ObjectId object);

    const std::uint64_t block_size_;
    Replica::Options options_;
    std::unique_ptr<sim::World> world_;
    std::unique_ptr<Side> side_;
    std::shared_ptr<Session> session_;
    WatchedDisk disk_;
    std::vector<std::unique_ptr<TestOp>> ops_;
    std::vector<std::unique_ptr<TestSync>> syncs_;
};

// An op about `object`, as a serving node would ship it.
Op write_op(ObjectId object, std::uint64_t offset, std::string_view data);

}  // namespace gemel::mirror_test
