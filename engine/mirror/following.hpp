// SPDX-License-Identifier: Apache-2.0
// The applying side of a Replica, as a secondary or a resync's target: frames are processed
// strictly in the order received, each after the intents it needs are durable here (I1), so a frame
// that has to wait for the log makes all later ones wait. Changes of block volumes are only begun
// in that order (following_block.cpp). Acknowledgements are cumulative, one a turn.
#pragma once

#include "engine/mirror/messages.hpp"
#include "engine/mirror/op_codec.hpp"
#include "engine/mirror/replica_context.hpp"
#include "engine/mirror/sizes.hpp"
#include "engine/mirror/sync_runner.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace gemel {

class Following {
   public:
    Following(ReplicaContext& context, SyncRunner& syncs, Sizes& sizes) noexcept;
    ~Following();

    void begin() noexcept;
    void stop() noexcept;
    // Errors: corrupt (the caller ends the session).
    Status on_frame(FrameType type, Bytes payload) noexcept;
    // How long the oldest change, of an earlier session too, has been under way here.
    [[nodiscard]] Duration waiting_for_disk() const noexcept;
    // A change of a block volume is done, whoever asked for it; or a size has been taken over.
    void on_block_progress() noexcept;
    // Tells the peer that this copy can't follow any more, and applies nothing from here on.
    void fail(Status reason, std::string_view what) noexcept;

   private:
    class BlockRun;
    struct Queued {
        FrameType type;
        ByteBuffer payload;
    };

    // Whether all the frame needs is durable; touches it.
    Result<bool> ready(FrameType type, Bytes payload) noexcept;
    Status process(FrameType type, Bytes payload) noexcept;
    // Nothing is under way where the frame reads or writes.
    [[nodiscard]] bool is_clear(FrameType type, Bytes payload) noexcept;
    Status apply_op(Bytes payload) noexcept;
    void apply_block(const DecodedOp& decoded, BlockVolume& volume) noexcept;
    void block_done(BlockRun& run, Status status) noexcept;
    void note_applied(std::uint64_t number) noexcept;
    Status on_intend(Bytes payload) noexcept;
    Status on_sync(Bytes payload) noexcept;
    void begin_sync(const SyncRequest& request) noexcept;
    [[nodiscard]] bool is_over(std::uint64_t session, Status outcome) noexcept;
    Status on_round(Bytes payload) noexcept;
    Status on_round_durable(Bytes payload) noexcept;
    void schedule_ack() noexcept;
    void request_commit() noexcept;
    void drain() noexcept;

    ReplicaContext& context_;
    SyncRunner& syncs_;
    Sizes& sizes_;
    std::deque<Queued> queue_;
    std::uint64_t received_ = 0;  // number of the last op begun in this session
    std::uint64_t applied_ = 0;   // all ops up to this number have been applied
    std::deque<bool> done_;       // of those between the two: the first is the one behind applied_
    // Syncs that cover changes which are not done yet: those up to a number.
    struct WaitingSync {
        std::uint64_t after = 0;
        SyncRequest request;
    };
    std::deque<WaitingSync> waiting_syncs_;
    std::vector<std::unique_ptr<BlockRun>> runs_;
    std::vector<BlockRun*> idle_runs_;
    std::uint64_t acknowledged_ = 0;
    std::uint64_t session_ = 0;     // tells late callbacks of an earlier session
    std::uint64_t open_round_ = 0;  // the peer's number of the round being synced here
    std::uint64_t own_round_ = 0;   // this log's number for it
    bool ack_scheduled_ = false;
    bool commit_pending_ = false;
    Instant commit_begun_;
    bool failed_ = false;
};

}  // namespace gemel
