// SPDX-License-Identifier: Apache-2.0
// Changes of block volumes on the serving node (docs/block.md). An op is shipped or marked and
// given to its volume in one turn, so the order of frames is the order in which overlapping changes
// are carried out on both nodes; it is answered when it is done here and, where that counts, there
// (not with sync = "fsync", where only syncs wait for the peer).
//
// What the map says of a range is changed by a resync, and the peer is mended, only while nothing
// is under way in that range: then what this node holds is exactly what has been decided before.
#include "engine/base/probe.hpp"
#include "engine/mirror/serving.hpp"
#include "engine/mirror/ship_rules.hpp"

#include <algorithm>

namespace gemel {

namespace {

bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
    const auto down = [](std::uint64_t at) { return at / kBlockUnit * kBlockUnit; };
    return down(a) < b + b_size && down(b) < a + a_size;
}

}  // namespace

class Serving::BlockRun final : public BlockChange {
   public:
    explicit BlockRun(Serving& an_owner) noexcept : owner(an_owner) {}
    void on_done(Status status) noexcept override { owner.block_done(*this, status); }

    Serving& owner;
    ClientOp* client = nullptr;  // null: answered meanwhile
    Instant since;               // 0: idle
    Op op;                       // without views
    bool shipped = false;
    std::uint64_t number = 0;      // of its record
    std::uint64_t generation = 0;  // of the records
};

Serving::Serving(ReplicaContext& context, SyncRunner& syncs) noexcept
    : context_(context),
      syncs_(syncs),
      disk_check_(context, syncs, [this] { return is_syncing_everything(); }) {}

Serving::~Serving() {
    *alive_ = false;
    // The owner of the ops is gone or going: links only, no calls.
    while (waiting_.pop_front() != nullptr) {
    }
    while (stranded_.pop_front() != nullptr) {
    }
    for (const auto& publication : publications_) {
        while (publication->held.pop_front() != nullptr) {
        }
    }
}

Serving::BlockRun& Serving::take_run() noexcept {
    if (idle_runs_.empty()) {
        runs_.push_back(std::make_unique<BlockRun>(*this));
        return *runs_.back();
    }
    BlockRun& run = *idle_runs_.back();
    idle_runs_.pop_back();
    return run;
}

// Requires: the queue's head, its intents are durable and nothing holds its range.
void Serving::begin_block(ClientOp& client, BlockVolume& volume) noexcept {
    waiting_.remove(client);
    note_activity(client);
    const Op& op = client.op;
    BlockRun& run = take_run();
    run.client = &client;
    run.since = context_.loop.now();
    run.op = without_views(op);
    run.op.flags = op.flags;
    run.shipped = context_.shipping && can_ship(map_of(op), op);
    run.generation = records_generation_;
    if (run.shipped) {
        run.number = ship(op);
        shipped_.push_back(
            {run.number, nullptr, Status(), context_.loop.now(), run.op, 0, true, op.data.size()});
        unacknowledged_bytes_ += op.data.size();
    } else {
        GEMEL_ASSERT(!waits_for_peer());
        mark(map_of(op), op);
        ++context_.counters.ops_marked;
    }
    volume.submit(run, op);
}

bool Serving::is_held(const Op& op) const noexcept {
    const auto holds = [&](const Hold& hold) {
        return hold.volume == op.volume && overlap(hold.offset, hold.size, op.offset, op.size);
    };
    if (claimed_ && holds(*claimed_)) return true;
    return std::any_of(mendings_.begin(), mendings_.end(),
                       [&](const Mending& mending) { return holds(mending.range); });
}

void Serving::release_claim() noexcept {
    if (claimed_ && !waiting_.empty()) schedule_pump();
    claimed_.reset();
}

bool Serving::is_content_settled(std::uint16_t volume, std::uint64_t offset,
                                 std::uint64_t size) const noexcept {
    const auto mends = [&](const Mending& mending) {
        return mending.range.volume == volume &&
               overlap(mending.range.offset, mending.range.size, offset, size);
    };
    return !context_.block(volume)->is_busy(offset, size) &&
           std::none_of(mendings_.begin(), mendings_.end(), mends);
}

bool Serving::claim_content(std::uint16_t volume, std::uint64_t offset,
                            std::uint64_t size) noexcept {
    release_claim();
    if (is_content_settled(volume, offset, size)) return true;
    GEMEL_PROBE("serving: a resync waits for changes under way");
    claimed_ = Hold{volume, offset, size};
    return false;
}

// Null: the peer has acknowledged it, or nobody waits for that any more.
Serving::Shipped* Serving::record_of(const BlockRun& run) noexcept {
    if (!run.shipped || run.generation != records_generation_) return nullptr;
    auto record = std::lower_bound(
        shipped_.begin(), shipped_.end(), run.number,
        [](const Shipped& one, std::uint64_t number) { return one.number < number; });
    for (; record != shipped_.end() && record->number == run.number; ++record) {
        if (record->runs_here) return &*record;
    }
    return nullptr;
}

void Serving::block_done(BlockRun& run, Status status) noexcept {
    ClientOp* client = std::exchange(run.client, nullptr);
    Shipped* record = record_of(run);
    if (record != nullptr) record->runs_here = false;
    idle_runs_.push_back(&run);
    run.since = {};
    if (!status.ok()) {
        block_failed(run, client, status);
    } else if (client != nullptr) {
        answer_block(*client, record);
    }
    advance_mendings();
    settle();
    if (claimed_) schedule_pump();
    context_.block_progress();
}

// It is done here; `record`: the peer has not acknowledged it.
void Serving::answer_block(ClientOp& client, Shipped* record) noexcept {
    const bool held = context_.role == ReplicaRole::held;
    // At the end of a resync even these wait, or it would have none.
    const bool early = context_.options.answers_blocks_early && !holds_answers_ && !held;
    if (record != nullptr && ((answer_waits() && !early) || held || congested())) {
        record->client = &client;
    } else {
        complete(client, Status());
    }
}

void Serving::block_failed(const BlockRun& run, ClientOp* client, Status status) noexcept {
    const bool serves = waits_for_peer() || context_.role == ReplicaRole::alone ||
                        context_.role == ReplicaRole::held;
    if (is_disk_failure(status) || !serves || stalled_) {
        // While another serves, nobody would tell it of a range that differs: no source either.
        if (client != nullptr) answer_failed(*client, as_disk_failure(status));
        context_.disk_failed(as_disk_failure(status));
        return;
    }
    const Mending mending{{run.op.volume, run.op.offset, run.op.size}, client, status, run.op};
    if (run.shipped && context_.shipping && run.generation == records_generation_) {
        GEMEL_PROBE("serving: a failed change of a block volume is mended on the peer");
        mendings_.push_back(mending);
        context_.being_mended.push_back(mending.range);
    } else {
        give_up_mending(mending);
    }
}

// The peer is not there to be mended: the range stays marked.
void Serving::give_up_mending(const Mending& mending) noexcept {
    mark(map_of(mending.op), mending.op);
    if (mending.client == nullptr) return;
    if (context_.role == ReplicaRole::alone) {
        complete(*mending.client, mending.status);
        return;
    }
    // Answered when it is known who goes on.
    const std::uint64_t number = shipped_.empty() ? 0 : shipped_.back().number;
    shipped_.push_back({number, mending.client, mending.status, context_.loop.now(), mending.op});
}

void Serving::give_up_mendings() noexcept {
    for (const Mending& mending : std::exchange(mendings_, {})) give_up_mending(mending);
    context_.being_mended.clear();
}

// Each as soon as nothing is under way in its range; what waits to be begun there waits for it.
void Serving::advance_mendings() noexcept {
    for (auto mending = mendings_.begin(); mending != mendings_.end();) {
        const Hold& range = mending->range;
        if (context_.block(range.volume)->is_busy(range.offset, range.size)) {
            ++mending;
            continue;
        }
        const Mending one = *mending;
        mending = mendings_.erase(mending);
        if (mendings_.empty()) context_.being_mended.clear();
        schedule_pump();
        const Status failure = mend_block(one);
        if (failure.ok()) continue;
        if (one.client != nullptr) answer_failed(*one.client, failure);
        context_.disk_failed(failure);
        return;
    }
}

// Ships what this node holds of the range.
Status Serving::mend_block(const Mending& mending) noexcept {
    const Hold& range = mending.range;
    const std::uint64_t begin = range.offset / kBlockUnit * kBlockUnit;
    BlockVolume& volume = *context_.block(range.volume);
    const std::uint64_t end = std::min(
        (range.offset + range.size + kBlockUnit - 1) / kBlockUnit * kBlockUnit, volume.size());
    const Result<Fd> fd = volume.data_fd(kBlockObject);
    AlignedBuffer buffer(static_cast<std::size_t>(std::min<std::uint64_t>(end - begin, kMiB)));
    Op op;
    op.volume = range.volume;
    op.object = kBlockObject;
    for (op.offset = begin; op.offset < end; op.offset += op.size) {
        op.size = std::min<std::uint64_t>(buffer.size(), end - op.offset);
        const MutableBytes data = MutableBytes(buffer).first(static_cast<std::size_t>(op.size));
        for (std::size_t done = 0; done < data.size();) {
            const Result<std::size_t> got =
                context_.loop.vfs().pread(fd.value(), data.subspan(done), op.offset + done);
            if (!got.ok() || got.value() == 0) return Status::from_errno(EIO);
            done += got.value();
        }
        op.data = data;
        ship_mending(op);
    }
    if (mending.client == nullptr) return Status();
    if (answer_waits()) {
        shipped_.back().client = mending.client;
        shipped_.back().status = mending.status;
    } else {
        complete(*mending.client, mending.status);
    }
    return Status();
}

// What is under way goes on; nobody waits for it.
void Serving::end_block_service() noexcept {
    const Status lost = Status::from_errno(EIO);
    for (const auto& run : runs_) {
        if (run->client != nullptr) complete(*std::exchange(run->client, nullptr), lost);
    }
    for (const Mending& mending : mendings_) {
        if (mending.client != nullptr) complete(*mending.client, lost);
    }
    mendings_.clear();
    context_.being_mended.clear();
    claimed_.reset();
}

Instant Serving::oldest_block_run() const noexcept {
    Instant oldest = context_.loop.now();
    for (const auto& run : runs_) {
        if (run->since.ns != 0) oldest = std::min(oldest, run->since);
    }
    return oldest;
}

void Serving::forget_records() noexcept {
    ++records_generation_;
    shipped_.clear();
    unacknowledged_bytes_ = 0;
    published_unacknowledged_ = 0;
}

}  // namespace gemel
