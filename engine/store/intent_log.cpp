// SPDX-License-Identifier: Apache-2.0
// The running log. One batch is on its way to the disk at a time: written, then synced; whatever is
// touched meanwhile goes with the next. Keys in a batch carry an in-flight state until then, so a
// touch always knows what the disk has for certain:
//   pending -> set_in_flight -> durable -> clear_pending -> clear_in_flight -> (gone)
//   a touch revives clear_pending at once, and sends clear_in_flight back to pending.
// A snapshot holds exactly what is marked in the file it replaces; new marks follow in a batch of
// their own. So until the new file has an append, the old one is as good.
#include "engine/store/intent_log.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/intent_log_format.hpp"
#include "engine/store/intent_log_recovery.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace gemel {

namespace {

using Waiter = std::function<void(Status)>;

// The start of an id range, for finding the range of an object.
struct RangeStart {
    std::uint16_t volume;
    std::uint64_t first;

    friend constexpr auto operator<=>(const RangeStart&, const RangeStart&) noexcept = default;
};

class IntentLogOnDisk;

// Moves one batch to the disk. It owns what the kernel may still be reading, so that a log can be
// destroyed at any time: the writer then outlives it until its operation has come back.
class BatchWriter final : public IoOp {
   public:
    BatchWriter(Loop& loop, IntentLogOnDisk* owner, std::array<ScopedFd, 2> log_files) noexcept
        : files(std::move(log_files)), loop_(loop), owner_(owner) {}

    // Requires: is_idle().
    void start(std::size_t file, std::uint32_t first_block) noexcept {
        GEMEL_ASSERT(is_idle());
        file_ = file;
        offset_ = std::uint64_t{first_block} * kIntentBlockSize;
        done_ = 0;
        step_ = Step::writing;
        write_rest();
    }
    [[nodiscard]] bool is_idle() const noexcept { return step_ == Step::idle; }
    // The log is gone. Destroys the writer now or when its operation has completed.
    void abandon() noexcept {
        owner_ = nullptr;
        if (is_idle()) delete this;
    }
    void on_complete(Status status, std::size_t count) noexcept override;

    ByteBuffer blocks;  // the batch; not to be changed unless is_idle()
    const std::array<ScopedFd, 2> files;

   private:
    enum class Step : std::uint8_t { idle, writing, syncing };

    void write_rest() noexcept {
        loop_.write(*this, files[file_].get(), Bytes(blocks).subspan(done_), offset_ + done_);
    }
    void finish(Status status) noexcept;

    Loop& loop_;
    IntentLogOnDisk* owner_;
    Step step_ = Step::idle;
    std::size_t file_ = 0, done_ = 0;
    std::uint64_t offset_ = 0;
};

class IntentLogOnDisk final : public IntentLog {
   public:
    IntentLogOnDisk(Loop& loop, LogSink& log, const Uuid& owner, OpenIntentFiles opened) noexcept;
    ~IntentLogOnDisk() override { writer_->abandon(); }
    IntentLogOnDisk(const IntentLogOnDisk&) = delete;
    IntentLogOnDisk& operator=(const IntentLogOnDisk&) = delete;

    [[nodiscard]] bool covers(const IntentKey& key) const noexcept override;
    bool touch(std::span<const IntentKey> keys) noexcept override { return touch_all(keys, false); }
    bool touch_once(std::span<const IntentKey> keys) noexcept override {
        return touch_all(keys, true);
    }
    void commit(std::function<void(Status)> done) noexcept override;
    std::uint64_t begin_round() noexcept override;
    void clear_through(std::uint64_t round, std::uint64_t idle_rounds) noexcept override;
    void clear(std::span<const IntentKey> keys) noexcept override;
    void for_each(const std::function<void(const IntentKey&)>& visit) const noexcept override;
    [[nodiscard]] std::size_t live_count() const noexcept override { return live_count_; }
    [[nodiscard]] bool is_failed() const noexcept override { return !failure_.ok(); }
    void recover() noexcept override;

    void on_batch_done(Status status) noexcept;

   private:
    enum class Batch : std::uint8_t { none, snapshot, append };

    bool touch_all(std::span<const IntentKey> keys, bool once) noexcept;
    bool touch_one(const IntentKey& key, bool once) noexcept;
    bool is_marked_broadly(const IntentKey& key) const noexcept;
    [[nodiscard]] bool is_key_marked(const IntentKey& key) const noexcept;
    template <typename Visit>
    bool any_range_of(const IntentKey& key, Visit&& visit) const noexcept;
    void forget(IntentSlot& slot) noexcept;
    void add_key(const IntentKey& key) noexcept;
    void remove_key(const IntentKey& key) noexcept;
    void set_state(IntentSlot& slot, IntentState state) noexcept;

    void start_batch() noexcept;
    void start_snapshot() noexcept;
    void start_append() noexcept;
    void finish_snapshot() noexcept;
    void finish_append() noexcept;
    void fail(Status status) noexcept;

    Loop& loop_;
    LogSink& log_;
    const Uuid owner_;
    IntentTable keys_;
    std::vector<RangeStart> ranges_;  // of every kIdRange key in keys_, sorted
    std::size_t broad_count_ = 0;     // kVolume and kAllContent keys in keys_
    std::size_t live_count_ = 0;
    std::uint32_t round_ = 1;
    std::uint32_t touched_round_ = 0;  // of the last touch that was not durable already

    std::vector<IntentKey> pending_;     // every key in state pending
    std::vector<IntentKey> clear_list_;  // every key with in_clear_list
    std::vector<IntentEntry> flight_;    // the append that is being written
    std::vector<Waiter> next_waiters_, flight_waiters_;
    // Round of the first touch that has to wait for the next append, or for the one in flight; 0:
    // none. Whatever was touched since may be behind that wait, so it counts as touched when the
    // wait ends.
    std::uint32_t next_wait_round_ = 0, flight_wait_round_ = 0;

    std::size_t current_;  // the file that is appended to
    std::uint64_t generation_;
    std::uint32_t block_count_, snapshot_count_, flight_block_count_ = 0;
    Batch batch_ = Batch::none;
    bool needs_snapshot_ = false;  // the current file ends with what a failed write left
    Status failure_;
    BatchWriter* writer_;  // owned; see BatchWriter::abandon
};

void BatchWriter::on_complete(Status status, std::size_t count) noexcept {
    if (step_ == Step::writing && status.ok() && count == 0) status = Status::from_errno(EIO);
    if (!status.ok() || owner_ == nullptr) return finish(status);
    if (step_ == Step::syncing) return finish(status);
    done_ += count;
    GEMEL_ASSERT(done_ <= blocks.size());
    if (done_ < blocks.size()) {
        GEMEL_PROBE("intent log: short write");
        return write_rest();
    }
    step_ = Step::syncing;
    loop_.sync(*this, files[file_].get(), true);
}

void BatchWriter::finish(Status status) noexcept {
    step_ = Step::idle;
    if (owner_ == nullptr) {
        delete this;
    } else {
        owner_->on_batch_done(status);
    }
}

IntentLogOnDisk::IntentLogOnDisk(Loop& loop, LogSink& log, const Uuid& owner,
                                 OpenIntentFiles opened) noexcept
    : loop_(loop),
      log_(log),
      owner_(owner),
      keys_(std::move(opened.keys)),
      current_(opened.current),
      generation_(opened.generation),
      block_count_(opened.block_count),
      snapshot_count_(opened.snapshot_count),
      writer_(new BatchWriter(loop, this, std::move(opened.files))) {
    keys_.for_each([&](const IntentSlot& slot) {
        ++live_count_;
        add_key(slot.key());
    });
    std::sort(ranges_.begin(), ranges_.end());
}

// ---- What is covered ----------------------------------------------------------------------

// Calls `visit(key of the range)` for the ranges that hold the key's object, until one says true.
template <typename Visit>
bool IntentLogOnDisk::any_range_of(const IntentKey& key, Visit&& visit) const noexcept {
    if (ranges_.empty() || key.object.is_none() || key.region == IntentKey::kIdRange) return false;
    auto range =
        std::upper_bound(ranges_.begin(), ranges_.end(), RangeStart{key.volume, key.object.value});
    while (range != ranges_.begin()) {
        --range;
        if (range->volume != key.volume || key.object.value - range->first >= kIdRangeCount) break;
        if (visit(IntentKey{{range->first}, IntentKey::kIdRange, key.volume})) return true;
    }
    return false;
}

bool IntentLogOnDisk::is_key_marked(const IntentKey& key) const noexcept {
    const IntentSlot* slot = keys_.find(key);
    return slot != nullptr && is_marked(slot->state);
}

bool IntentLogOnDisk::is_marked_broadly(const IntentKey& key) const noexcept {
    if (broad_count_ > 0) {
        if (is_key_marked({kNoObject, IntentKey::kVolume, key.volume})) return true;
        if (key.region <= IntentKey::kRegionMax &&
            is_key_marked({key.object, IntentKey::kAllContent, key.volume})) {
            return true;
        }
    }
    return any_range_of(key, [&](const IntentKey& range) { return is_key_marked(range); });
}

bool IntentLogOnDisk::covers(const IntentKey& key) const noexcept {
    return is_key_marked(key) || is_marked_broadly(key);
}

bool IntentLogOnDisk::touch_all(std::span<const IntentKey> keys, bool once) noexcept {
    bool all_covered = true;
    for (const IntentKey& key : keys) all_covered &= touch_one(key, once);
    if (all_covered) return true;
    if (!pending_.empty() && next_wait_round_ == 0) next_wait_round_ = round_;
    if (batch_ == Batch::append && flight_wait_round_ == 0) flight_wait_round_ = round_;
    return false;
}

bool IntentLogOnDisk::touch_one(const IntentKey& key, bool once) noexcept {
    GEMEL_ASSERT(is_intent_key_valid(key));
    if (IntentSlot* slot = keys_.find(key)) {
        slot->round = round_;
        slot->once &= once;
        if (slot->state == IntentState::durable) return true;
        if (slot->state == IntentState::clear_pending) {
            GEMEL_PROBE("intent log: touch revives a key about to be cleared");
            set_state(*slot, IntentState::durable);
            return true;
        }
        touched_round_ = round_;
        if (slot->state == IntentState::clear_in_flight) {
            GEMEL_PROBE("intent log: touch while the clear is being written");
            set_state(*slot, IntentState::pending);
            pending_.push_back(key);
        }
        return is_marked_broadly(key);
    }
    // An object of a live range needs no mark of its own: the range takes the touch. A range whose
    // clear is being written can't; then the object is marked like any other.
    bool range_covers = false;
    const bool range_takes = any_range_of(key, [&](const IntentKey& range_key) {
        IntentSlot* range = keys_.find(range_key);
        GEMEL_ASSERT(range != nullptr);
        if (range->state == IntentState::clear_in_flight) return false;
        range->round = round_;
        range->once &= once;
        range_covers = is_marked(range->state);
        if (range->state == IntentState::clear_pending) set_state(*range, IntentState::durable);
        return true;
    });
    if (range_takes) return range_covers || is_marked_broadly(key);

    // Under a marked volume or kAllContent nobody has to wait, but the key gets its own mark all
    // the same: it has to outlive the clearing of the broad one.
    touched_round_ = round_;
    add_key(key);
    IntentSlot& slot = keys_.insert(key, IntentState::pending);
    slot.round = round_;
    slot.once = once;
    ++live_count_;
    pending_.push_back(key);
    if (key.region == IntentKey::kIdRange) std::sort(ranges_.begin(), ranges_.end());
    return is_marked_broadly(key);
}

// ---- Keys ---------------------------------------------------------------------------------

void IntentLogOnDisk::add_key(const IntentKey& key) noexcept {
    if (key.region == IntentKey::kIdRange) ranges_.push_back({key.volume, key.object.value});
    const bool is_broad = key.region == IntentKey::kVolume || key.region == IntentKey::kAllContent;
    if (is_broad) ++broad_count_;
}

void IntentLogOnDisk::remove_key(const IntentKey& key) noexcept {
    keys_.erase(key);
    if (key.region == IntentKey::kIdRange) {
        const RangeStart start{key.volume, key.object.value};
        const auto found = std::lower_bound(ranges_.begin(), ranges_.end(), start);
        GEMEL_ASSERT(found != ranges_.end() && *found == start);
        ranges_.erase(found);
    }
    const bool is_broad = key.region == IntentKey::kVolume || key.region == IntentKey::kAllContent;
    if (is_broad) --broad_count_;
}

void IntentLogOnDisk::set_state(IntentSlot& slot, IntentState state) noexcept {
    if (is_live(slot.state)) --live_count_;
    if (is_live(state)) ++live_count_;
    slot.state = state;
}

// Takes the key out of the live ones. What is not durable yet stays: somebody may be waiting to
// touch it.
void IntentLogOnDisk::forget(IntentSlot& slot) noexcept {
    if (slot.state != IntentState::durable) return;
    set_state(slot, IntentState::clear_pending);
    if (slot.in_clear_list) return;
    slot.in_clear_list = true;
    clear_list_.push_back(slot.key());
}

std::uint64_t IntentLogOnDisk::begin_round() noexcept {
    GEMEL_ASSERT(round_ < std::numeric_limits<std::uint32_t>::max());
    return round_++;
}

void IntentLogOnDisk::clear_through(std::uint64_t round, std::uint64_t idle_rounds) noexcept {
    GEMEL_ASSERT(round < round_);
    std::uint64_t limit = round;
    for (const std::uint32_t wait_round : {next_wait_round_, flight_wait_round_}) {
        if (wait_round != 0) limit = std::min<std::uint64_t>(limit, wait_round - 1);
    }
    keys_.for_each([&](IntentSlot& slot) {
        const bool is_idle = slot.once || slot.round + idle_rounds <= round;
        if (is_idle && slot.round <= limit) forget(slot);
    });
    // Clears normally ride with the next commit. A whole block of them, or any while nobody is
    // waiting for new marks, is worth a write of its own: each is a region less to compare.
    const bool is_calm = touched_round_ + 1 < round_;
    if (clear_list_.size() >= kIntentEntriesPerBlock || is_calm) start_batch();
}

void IntentLogOnDisk::clear(std::span<const IntentKey> keys) noexcept {
    for (const IntentKey& key : keys) {
        if (IntentSlot* slot = keys_.find(key)) forget(*slot);
    }
}

void IntentLogOnDisk::for_each(const std::function<void(const IntentKey&)>& visit) const noexcept {
    keys_.for_each([&](const IntentSlot& slot) {
        if (is_live(slot.state)) visit(slot.key());
    });
}

// ---- Writing ------------------------------------------------------------------------------

void IntentLogOnDisk::commit(std::function<void(Status)> done) noexcept {
    if (is_failed() || (pending_.empty() && batch_ != Batch::append)) {
        loop_.post([done = std::move(done), status = failure_] { done(status); });
    } else if (pending_.empty()) {
        flight_waiters_.push_back(std::move(done));
    } else {
        next_waiters_.push_back(std::move(done));
        start_batch();
    }
}

void IntentLogOnDisk::start_batch() noexcept {
    if (is_failed() || batch_ != Batch::none) return;
    if (pending_.empty() && clear_list_.empty()) return;
    const std::uint32_t blocks = intent_block_count(pending_.size() + clear_list_.size());
    const std::uint32_t limit =
        std::max(kIntentFileBlocksMin, 4 * intent_block_count(keys_.size()));
    // A snapshot alone never fills a file, so two do not follow one another.
    const bool is_full = block_count_ > snapshot_count_ && block_count_ + blocks > limit;
    if (is_full || needs_snapshot_) {
        start_snapshot();
    } else {
        start_append();
    }
}

void IntentLogOnDisk::start_snapshot() noexcept {
    GEMEL_PROBE("intent log: snapshot");
    std::vector<IntentEntry> entries;
    keys_.for_each([&](const IntentSlot& slot) {
        if (is_marked(slot.state)) entries.push_back({slot.key()});
    });
    batch_ = Batch::snapshot;
    flight_block_count_ = intent_block_count(entries.size());
    writer_->blocks.clear();
    encode_intent_batch({owner_, generation_ + 1, 0, 0}, entries, writer_->blocks);
    writer_->start(1 - current_, 0);
}

void IntentLogOnDisk::start_append() noexcept {
    GEMEL_ASSERT(flight_.empty() && flight_waiters_.empty() && flight_wait_round_ == 0);
    // All sets before all clears: a clear may be safe only because of a set in the same batch, and
    // of a torn batch a reader takes a beginning.
    for (const IntentKey& key : pending_) {
        IntentSlot* slot = keys_.find(key);
        GEMEL_ASSERT(slot != nullptr && slot->state == IntentState::pending);
        set_state(*slot, IntentState::set_in_flight);
        flight_.push_back({key, IntentEntryKind::set});
    }
    for (const IntentKey& key : clear_list_) {
        IntentSlot* slot = keys_.find(key);
        GEMEL_ASSERT(slot != nullptr && slot->in_clear_list);
        slot->in_clear_list = false;
        if (slot->state != IntentState::clear_pending) continue;
        set_state(*slot, IntentState::clear_in_flight);
        flight_.push_back({key, IntentEntryKind::clear});
    }
    pending_.clear();
    clear_list_.clear();
    if (flight_.empty()) return;

    batch_ = Batch::append;
    std::swap(flight_waiters_, next_waiters_);
    std::swap(flight_wait_round_, next_wait_round_);
    flight_block_count_ = intent_block_count(flight_.size());
    writer_->blocks.clear();
    encode_intent_batch({owner_, generation_, block_count_, snapshot_count_}, flight_,
                        writer_->blocks);
    writer_->start(current_, block_count_);
}

void IntentLogOnDisk::on_batch_done(Status status) noexcept {
    if (!status.ok()) return fail(status);
    if (batch_ == Batch::snapshot) {
        finish_snapshot();
    } else {
        finish_append();
    }
}

void IntentLogOnDisk::finish_snapshot() noexcept {
    batch_ = Batch::none;
    needs_snapshot_ = false;
    current_ = 1 - current_;
    ++generation_;
    block_count_ = snapshot_count_ = flight_block_count_;
    if (writer_->blocks.size() > kIntentFileBlocksMin * kIntentBlockSize) {
        ByteBuffer().swap(writer_->blocks);
    }
    start_append();
}

void IntentLogOnDisk::finish_append() noexcept {
    GEMEL_ASSERT(batch_ == Batch::append);
    bool erased = false;
    for (const IntentEntry& entry : flight_) {
        IntentSlot* slot = keys_.find(entry.key);
        GEMEL_ASSERT(slot != nullptr);
        if (slot->state == IntentState::set_in_flight) {
            slot->round = round_;
            set_state(*slot, IntentState::durable);
        } else if (slot->state == IntentState::clear_in_flight) {
            remove_key(entry.key);
            erased = true;
        }
    }
    if (erased) keys_.shrink();
    flight_.clear();
    const std::uint32_t wait_round = std::exchange(flight_wait_round_, 0);
    if (wait_round != 0 && wait_round < round_) {
        GEMEL_PROBE("intent log: a round ended during a wait");
        keys_.for_each([&](IntentSlot& slot) {
            if (slot.round >= wait_round) slot.round = round_;
        });
    }
    block_count_ += flight_block_count_;
    batch_ = Batch::none;

    std::vector<Waiter> waiters;
    std::swap(waiters, flight_waiters_);
    if (!next_waiters_.empty()) start_batch();
    for (const Waiter& waiter : waiters) waiter({});
}

void IntentLogOnDisk::fail(Status status) noexcept {
    failure_ = status;
    batch_ = Batch::none;
    log_.log(LogLevel::error, "the intent log cannot be written: " + status.to_string());
    std::vector<Waiter> waiters;
    std::swap(waiters, flight_waiters_);
    for (Waiter& waiter : next_waiters_) waiters.push_back(std::move(waiter));
    next_waiters_.clear();
    for (const Waiter& waiter : waiters) waiter(status);
}

void IntentLogOnDisk::recover() noexcept {
    if (!is_failed()) return;
    GEMEL_PROBE("intent log: goes on after a failure");
    GEMEL_ASSERT(writer_->is_idle());
    // Whether the disk has what was being written is not known: neither a set nor a clear counts.
    for (const IntentEntry& entry : flight_) {
        IntentSlot* slot = keys_.find(entry.key);
        GEMEL_ASSERT(slot != nullptr);
        if (slot->state == IntentState::pending) continue;  // touched while its clear was written
        set_state(*slot, IntentState::pending);
        pending_.push_back(entry.key);
    }
    flight_.clear();
    const std::uint32_t wait_round = std::exchange(flight_wait_round_, 0);
    if (next_wait_round_ == 0 || (wait_round != 0 && wait_round < next_wait_round_)) {
        next_wait_round_ = wait_round;
    }
    needs_snapshot_ = true;
    failure_ = {};
}

}  // namespace

Result<std::unique_ptr<IntentLog>> IntentLog::open(Loop& loop, LogSink& log, Fd directory,
                                                   const Uuid& owner) noexcept {
    auto opened = open_intent_files(loop.vfs(), log, directory, owner);
    if (!opened.ok()) return opened.status();
    return std::unique_ptr<IntentLog>(
        std::make_unique<IntentLogOnDisk>(loop, log, owner, std::move(opened).value()));
}

}  // namespace gemel
