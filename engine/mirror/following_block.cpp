// SPDX-License-Identifier: Apache-2.0
// Changes of block volumes on the applying side: begun in the order of the stream, carried out in
// parallel where they do not overlap, acknowledged when all before them are done too.
#include "engine/base/probe.hpp"
#include "engine/mirror/following.hpp"

#include <algorithm>

namespace gemel {

class Following::BlockRun final : public BlockChange {
   public:
    explicit BlockRun(Following& an_owner) noexcept : owner(an_owner) {}
    void on_done(Status status) noexcept override { owner.block_done(*this, status); }

    Following& owner;
    std::uint64_t number = 0;
    std::uint64_t session = 0;
    Instant since;  // 0: idle
};

Following::Following(ReplicaContext& context, SyncRunner& syncs, Sizes& sizes) noexcept
    : context_(context), syncs_(syncs), sizes_(sizes) {}

Following::~Following() = default;

void Following::apply_block(const DecodedOp& decoded, BlockVolume& volume) noexcept {
    if (idle_runs_.empty()) {
        runs_.push_back(std::make_unique<BlockRun>(*this));
        idle_runs_.push_back(runs_.back().get());
    }
    BlockRun& run = *idle_runs_.back();
    idle_runs_.pop_back();
    run.number = decoded.number;
    run.session = session_;
    run.since = context_.loop.now();
    volume.submit(run, decoded.op);
}

void Following::block_done(BlockRun& run, Status status) noexcept {
    idle_runs_.push_back(&run);
    run.since = {};
    if (run.session != session_ || failed_) {
        // Nobody is told of a range that differs now, so this copy can't be a source.
        if (!status.ok()) context_.disk_failed(as_disk_failure(status));
    } else if (!status.ok()) {
        GEMEL_PROBE("following: a change of a block volume could not be applied");
        fail(status, "an operation of the serving node could not be carried out here");
        return;
    } else {
        note_applied(run.number);
    }
    context_.block_progress();
}

Duration Following::waiting_for_disk() const noexcept {
    Instant oldest = context_.loop.now();
    if (commit_pending_) oldest = std::min(oldest, commit_begun_);
    for (const auto& run : runs_) {
        if (run->since.ns != 0) oldest = std::min(oldest, run->since);
    }
    return context_.loop.now() - oldest;
}

// One of an earlier session or service may have been in the way too.
void Following::on_block_progress() noexcept {
    if (!queue_.empty() && !commit_pending_) drain();
}

void Following::note_applied(std::uint64_t number) noexcept {
    GEMEL_ASSERT(number > applied_ && number <= received_);
    done_[number - applied_ - 1] = true;
    ++context_.counters.ops_applied;
    if (!done_.front()) return;
    while (!done_.empty() && done_.front()) {
        done_.pop_front();
        ++applied_;
    }
    while (!waiting_syncs_.empty() && waiting_syncs_.front().after <= applied_) {
        const SyncRequest request = waiting_syncs_.front().request;
        waiting_syncs_.pop_front();
        begin_sync(request);
    }
    schedule_ack();
}

bool Following::is_clear(FrameType type, Bytes payload) noexcept {
    const bool verifies = type == FrameType::verify_check || type == FrameType::verify_question;
    const bool resyncs = type >= FrameType::resync_begin && type <= FrameType::resync_done;
    ResyncParty* asked = verifies  ? context_.verifier.get()
                         : resyncs ? context_.resync.get()
                                   : nullptr;
    if (asked == nullptr || asked->is_ready(type, payload)) return true;
    GEMEL_PROBE("following: a frame waits for changes under way");
    return false;
}

}  // namespace gemel
