// SPDX-License-Identifier: Apache-2.0
// The serving side of a Replica: the FIFO of client ops, their execution, shipping and
// acknowledgement. See replica.hpp for the invariants; here they are kept as follows:
//   I1  pump() executes the head of the FIFO only when IntentLog::touch says that all is durable;
//   I2  pump() puts the frame into the stream in the turn of its execution, and the FIFO has no
//       bypass;
//   I3  a ClientOp stays in shipped_ until on_ack while waits_for_peer();
//   I4  every frame sent has a record in shipped_ until acknowledged; a lost session marks them.
// What is sent of a publication is no part of the peer's copy before the op that ends it.
#pragma once

#include "engine/mirror/disk_check.hpp"
#include "engine/mirror/intent_rules.hpp"
#include "engine/mirror/messages.hpp"
#include "engine/mirror/replica_context.hpp"
#include "engine/mirror/sync_forecast.hpp"
#include "engine/mirror/sync_runner.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>

namespace gemel {

class Serving {
   public:
    Serving(ReplicaContext& context, SyncRunner& syncs) noexcept;
    ~Serving();

    void submit(ClientOp& op) noexcept;
    void sync(ClientSync& sync) noexcept;

    void begin_alone(bool history_is_new) noexcept;
    void history_stored(Status status) noexcept;
    void begin_attaching() noexcept;
    void finish_attaching(bool peer_in_set) noexcept;
    // The peer's frames.
    Status on_ack(Bytes payload) noexcept;
    Status on_sync_done(Bytes payload) noexcept;
    // The session is gone (already closed): primary and attaching become held, alone marks.
    void on_session_lost() noexcept;
    // Everything waiting or in flight is answered EIO.
    void stop() noexcept;
    // No new op is executed; `done` once nothing is in flight. resume() undoes it.
    void quiesce(std::function<void()> done) noexcept;
    void resume() noexcept;

    // Something was executed since the last call (rounds are only held when there is work).
    [[nodiscard]] bool take_activity() noexcept { return std::exchange(activity_, false); }
    // Answers wait for the peer from here on, as if it were in the in-sync set already.
    void hold_answers() noexcept;
    // The peer has every op that was answered.
    [[nodiscard]] bool all_acknowledged() const noexcept {
        return shipped_.empty() || (holds_answers_ && shipped_.front().number > held_after_);
    }
    // replica.hpp
    [[nodiscard]] bool claim_content(std::uint16_t volume, std::uint64_t offset,
                                     std::uint64_t size) noexcept;
    [[nodiscard]] bool is_content_settled(std::uint16_t volume, std::uint64_t offset,
                                          std::uint64_t size) const noexcept;
    void release_claim() noexcept;
    [[nodiscard]] std::uint64_t in_flight() const noexcept { return shipped_.size(); }
    [[nodiscard]] Duration oldest_unfinished() const noexcept;
    [[nodiscard]] Duration waiting_for_peer() const noexcept;
    [[nodiscard]] Duration waiting_for_disk() const noexcept;

   private:
    struct Shipped {
        std::uint64_t number = 0;
        ClientOp* client = nullptr;  // null: already answered
        Status status;               // for the client
        Instant since;
        Op op;                      // without views: only for mark()
        std::size_t published = 0;  // bytes counted in published_unacknowledged_
        bool runs_here = false;     // a change of a block volume that is not done here
        std::size_t bytes = 0;      // counted in unacknowledged_bytes_
    };
    class BlockRun;
    // A range of a block volume in which nothing is begun until nothing is under way there.
    using Hold = ReplicaContext::ContentRange;
    // A change of a block volume that failed here and that the peer may have carried out.
    struct Mending {
        Hold range;
        ClientOp* client = nullptr;
        Status status;
        Op op;  // without views
    };
    struct BatchedWrite {
        ClientOp* client = nullptr;
        std::uint64_t number = 0;
        std::uint64_t size = 0;  // asked for
        Status status;           // of its execution here
        bool is_whole = false;
    };
    struct PendingSync {
        ClientSync* client = nullptr;  // null: nobody has asked for it (yet)
        SyncRequest request;
        bool local_done = false, peer_done = false;
        Instant since;
        bool local_object = false;  // nothing of it is on the peer
    };
    // A sync that was begun together with the write before it. It covers all that was carried out
    // until then, so it may be the answer to a client for as long as nothing else is carried out
    // and the nodes that count are the same; any change, and any change of role, forgets it.
    struct ExpectedSync {
        std::uint64_t token = 0;
        bool done = false;
    };
    // An op that gives an object of this node's own a mirrored name, while the peer is being sent
    // the object. Other ops about the object wait for it; nothing else does.
    struct Publication {
        ClientOp* client = nullptr;
        ObjectId object;
        std::uint64_t sent = 0, size = 0;  // of the content
        bool begun = false;                // there is something in the peer's incoming/
        bool attributes_sent = false;
        std::uint64_t sync_token = 0;  // the peer has been asked to sync it
        bool durable_there = false;
        Instant since;
        IntrusiveList<ClientOp> held;
    };
    enum class Advance : std::uint8_t { again, waits, done };
    enum class History : std::uint8_t { stored, needed, asked };

    [[nodiscard]] bool may_execute() const noexcept;
    [[nodiscard]] bool waits_for_peer() const noexcept;
    [[nodiscard]] bool answer_waits() const noexcept { return waits_for_peer() || holds_answers_; }
    [[nodiscard]] bool congested() const noexcept;
    // What mark() needs to know of an op after its owner's memory is gone.
    static Op without_views(const Op& op) noexcept;
    static Op as_attempted(const Op& op, std::uint64_t size) noexcept;

    void schedule_pump() noexcept;
    void pump() noexcept;
    Status judge(Op& op) noexcept;
    void add_kept_times(const Op& op, IntentSet& set) noexcept;
    bool touch_intents(ClientOp& client) noexcept;
    bool need_history() noexcept;
    void request_commit() noexcept;
    void note_activity(ClientOp& client) noexcept;
    void execute_writes() noexcept;
    void ship_batch() noexcept;
    void write_shipped(BatchedWrite& one) noexcept;
    void write_unshipped(ClientOp& client) noexcept;
    void execute(ClientOp& client) noexcept;
    void execute_then_ship(ClientOp& client) noexcept;
    void execute_local(ClientOp& client) noexcept;
    void answer_after_shipped(ClientOp& client) noexcept;
    void execution_failed(ClientOp& client, Status status) noexcept;
    void answer_failed(ClientOp& client, Status status) noexcept;
    void report_disk_failure(Status status) noexcept;
    std::uint64_t ship(const Op& op) noexcept;
    std::uint64_t ship_one(const Op& op) noexcept;
    void record(std::uint64_t number, ClientOp* client, Status status, const Op& op) noexcept;
    Status mend(ClientOp& client, Status status, const Op& attempted, bool shipped) noexcept;
    bool ship_content(const Op& origin) noexcept;
    bool ship_data(const Op& origin, const FileStat& now) noexcept;
    void ship_mending(const Op& op) noexcept;
    void complete(ClientOp& client, Status status) noexcept;
    void drain_completed() noexcept;
    void complete_shipped(bool keep_records) noexcept;

    // serving_block.cpp
    void begin_block(ClientOp& client, BlockVolume& volume) noexcept;
    [[nodiscard]] bool is_held(const Op& op) const noexcept;
    BlockRun& take_run() noexcept;
    void block_done(BlockRun& run, Status status) noexcept;
    void block_failed(const BlockRun& run, ClientOp* client, Status status) noexcept;
    Shipped* record_of(const BlockRun& run) noexcept;
    void answer_block(ClientOp& client, Shipped* record) noexcept;
    void give_up_mending(const Mending& mending) noexcept;
    void give_up_mendings() noexcept;
    void advance_mendings() noexcept;
    Status mend_block(const Mending& mending) noexcept;
    void end_block_service() noexcept;
    [[nodiscard]] Instant oldest_block_run() const noexcept;
    void forget_records() noexcept;

    // serving_publish.cpp
    [[nodiscard]] Publication* publication_of(const Op& op) noexcept;
    bool hold_back(ClientOp& client) noexcept;
    [[nodiscard]] bool must_be_sent_first(const Op& op) noexcept;
    void begin_publication(ClientOp& client) noexcept;
    void ship_part(const Op& part, std::size_t published = 0) noexcept;
    bool send_skeleton(Publication& publication) noexcept;
    Advance advance(Publication& publication, std::size_t& budget) noexcept;
    Result<std::size_t> send_chunk(Publication& publication) noexcept;
    Status send_attributes(Publication& publication) noexcept;
    bool is_durable_enough(Publication& publication) noexcept;
    Advance finish_publication(Publication& publication) noexcept;
    void break_off(Publication& publication, Status status) noexcept;
    void drop_at_peer(const Publication& publication) noexcept;
    void put_back(Publication& publication) noexcept;
    void put_back_publications(bool drop) noexcept;
    void release_held(Publication& publication) noexcept;
    void remove_publication(const Publication& publication) noexcept;
    void schedule_publications() noexcept;
    void advance_publications() noexcept;

    // serving_sync.cpp
    [[nodiscard]] bool is_removed(std::uint16_t volume, ObjectId object) noexcept;
    bool add_sync(ClientSync* client, const SyncRequest& request) noexcept;
    void send_sync(const SyncRequest& request) noexcept;
    void begin_local_sync(const SyncRequest& request) noexcept;
    void expect_sync(const Op& op) noexcept;
    void begin_expected_sync(bool written) noexcept;
    void forget_expected_sync() noexcept;
    bool take_expected_sync(ClientSync& client) noexcept;
    [[nodiscard]] std::deque<PendingSync>::iterator find_sync(std::uint64_t token) noexcept;
    void local_sync_done(std::uint64_t token, Status status) noexcept;
    [[nodiscard]] bool is_syncing_everything() const noexcept;
    void answer(ClientSync& client, Status status) noexcept;
    void finish_syncs(Status status) noexcept;
    void settle() noexcept;
    [[nodiscard]] DirtyMap& map_of(const Op& op) noexcept { return context_.dirty[op.volume]; }
    // Requires: the op concerns a directory.
    [[nodiscard]] DirectoryVolume& volume_of(const Op& op) noexcept {
        DirectoryVolume* directory = context_.volumes[op.volume]->as_directory();
        GEMEL_ASSERT(directory != nullptr);
        return *directory;
    }

    ReplicaContext& context_;
    SyncRunner& syncs_;
    IntrusiveList<ClientOp> waiting_;   // not executed yet, in order
    IntrusiveList<ClientOp> stranded_;  // executed or failed here; answered EIO by stop()
    struct Completed {
        ClientOp* client;
        Status status;
    };
    std::vector<Completed> completed_, completing_;
    std::vector<BatchedWrite> batch_;  // sent, being carried out here
    std::deque<Shipped> shipped_;
    std::size_t unacknowledged_bytes_ = 0;  // data of block volumes
    // Grows whenever records are dropped that the peer has not acknowledged: what is under way
    // then finds none of its own any more.
    std::uint64_t records_generation_ = 0;
    std::vector<std::unique_ptr<BlockRun>> runs_;
    std::vector<BlockRun*> idle_runs_;
    std::deque<Mending> mendings_;
    std::optional<Hold> claimed_;
    std::deque<PendingSync> pending_syncs_;
    DiskCheck disk_check_;
    SyncForecast forecast_;
    std::optional<ExpectedSync> expected_;
    std::deque<std::unique_ptr<Publication>> publications_;
    std::size_t published_unacknowledged_ = 0;  // bytes
    bool publications_scheduled_ = false;
    ByteBuffer chunk_;
    std::uint64_t next_number_ = 1;  // of the next op of this session
    std::uint64_t next_token_ = 1;
    History history_ = History::stored;
    bool pump_scheduled_ = false;
    bool commit_pending_ = false;
    Instant commit_begun_;
    bool holds_answers_ = false;
    std::uint64_t held_after_ = 0;  // number of the last op that may have been answered alone
    bool quiesced_ = false;
    bool stalled_ = false;  // a disk failure: nothing more until stop()
    bool activity_ = false;
    std::function<void()> when_settled_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
