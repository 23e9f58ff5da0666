// SPDX-License-Identifier: Apache-2.0
// The source's session: how it begins, what answers mean, how it ends or breaks off.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"
#include "resync/source.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace gemel {

Status ResyncSource::on_frame(FrameType type, Bytes payload) noexcept {
    if (state_ == State::over) return Status();
    switch (type) {
        case FrameType::resync_begin:
            return on_hello(payload);
        case FrameType::resync_intents:
            return on_intents(payload);
        case FrameType::resync_answer:
            return on_answers(payload);
        case FrameType::resync_done:
            return on_done(payload);
        default:
            return Status(Code::corrupt);
    }
}

Status ResyncSource::on_hello(Bytes payload) noexcept {
    if (state_ != State::awaiting_hello) return Status(Code::corrupt);
    const Result<ResyncHello> hello = decode_hello(payload);
    if (!hello.ok()) return hello.status();
    if (hello->volumes.size() != volumes_.size()) return Status(Code::corrupt);
    boot_changed_ = memory_.peer_boot.is_none() || memory_.peer_boot != hello->boot;
    boot_ = hello->boot;
    comparison_ = hello->comparison;
    for (std::uint16_t i = 0; i < volumes_.size(); ++i) {
        const ResyncHello::Volume& there = hello->volumes[i];
        const bool foreign = there.id != replica_.volume(i).id();
        const bool demanded = there.must_compare && comparison_ != memory_.comparison;
        const bool continues = continues_full(i) && !boot_changed_ && !foreign && !demanded;
        const bool again = memory_.full_begun[i] || map(i).is_full();
        volumes_[i].begin_full =
            !continues && (options_.full || there.must_compare || foreign || again);
    }
    state_ = State::awaiting_intents;
    return Status();
}

// A comparison of everything was begun, and the map has not been told since that everything of
// this node's copy differs: with that nothing is known any more, not even the root.
bool ResyncSource::continues_full(std::uint16_t volume) noexcept {
    const DirtyMap& dirty = map(volume);
    return memory_.full_begun[volume] && (!dirty.is_full() || dirty.is_known(kRootObject));
}

Status ResyncSource::on_intents(Bytes payload) noexcept {
    if (state_ != State::awaiting_intents) return Status(Code::corrupt);
    const Result<bool> last = decode_resync_intents(payload, peer_intents_);
    if (!last.ok()) return last.status();
    for (const IntentKey& key : peer_intents_) {
        if (key.volume >= volumes_.size()) return Status(Code::corrupt);
    }
    if (last.value()) begin_work();
    return Status();
}

// Only from here on the map is what the target's boot and its reasons demand: a session that is
// lost before has changed nothing, and the next one has to meet them as new.
void ResyncSource::begin_work() noexcept {
    memory_.peer_boot = boot_;
    memory_.comparison = comparison_;
    const auto unite = [&](const IntentKey& key) {
        if (key.volume >= volumes_.size()) return;
        const bool whole = key.region == IntentKey::kVolume;
        // A comparison of everything that is under way covers it, or is begun anew (on_hello).
        if (whole && memory_.full_begun[key.volume]) return;
        if (whole) volumes_[key.volume].begin_full = true;
        if (!whole && !volumes_[key.volume].begin_full) replica_.mark_intent(key);
    };
    if (boot_changed_) {
        GEMEL_PROBE("resync: the target has been booted since");
        for (std::uint16_t i = 0; i < volumes_.size(); ++i) {
            if (volumes_[i].begin_full) memory_.full_begun[i] = false;
        }
        replica_.intents().for_each(unite);
    }
    for (const IntentKey& key : std::exchange(peer_intents_, {})) unite(key);
    ResyncPlan plan;
    for (std::uint16_t i = 0; i < volumes_.size(); ++i) {
        if (volumes_[i].begin_full) begin_full(i);
        if (replica_.volume(i).as_directory() != nullptr) mark_orphans(i);
        if (state_ == State::over) return;
        const bool full = map(i).is_full() || memory_.full_begun[i];
        plan.volumes.push_back({replica_.volume(i).id(), full});
    }
    estimate_total();
    progress_.running = true;
    progress_.started = loop_.now();
    state_ = State::working;
    frame_.clear();
    encode_plan(plan, frame_);
    send(FrameType::resync_begin);
    replica_.start_shipping();
    schedule();
}

void ResyncSource::begin_full(std::uint16_t volume) noexcept {
    memory_.full_begun[volume] = true;
    if (replica_.volume(volume).as_block() != nullptr) {
        map(volume).mark_all_content(kBlockObject);
        return;
    }
    map(volume).begin_full();
    map(volume).set_known(kRootObject, true);
    map(volume).set_known(kOrphanDirectory, true);
    // These two are no objects of their own with content.
    map(volume).clear_content(kRootObject, 0, DirtyRange::kEndOfObject);
    map(volume).clear_content(kOrphanDirectory, 0, DirtyRange::kEndOfObject);
    map(volume).clear_attributes(kOrphanDirectory);
    volumes_[volume] = VolumeState();
    if (scan_.volume == volume) scan_ = Scan();
}

// A target that was restarted has emptied its own orphan directory without a word.
void ResyncSource::mark_orphans(std::uint16_t volume) noexcept {
    std::vector<ListedEntry> entries;
    std::uint64_t position = 0;
    for (;;) {
        const std::size_t seen = entries.size();
        const Status status =
            replica_.directory(volume).list(kOrphanDirectory, position, 256, entries);
        if (!status.ok()) {
            fail(status, "the directory of unlinked open files could not be read");
            return;
        }
        if (entries.size() == seen) break;
        position = entries.back().next;
    }
    map(volume).mark_names(kOrphanDirectory);
    for (const ListedEntry& entry : entries) {
        if (!entry.id.is_none() && !entry.local && map(volume).is_known(entry.id)) {
            map(volume).mark_absent(entry.id);
        }
    }
}

void ResyncSource::estimate_total() noexcept {
    constexpr std::size_t kLookedAtMax = 10'000;
    for (std::uint16_t i = 0; i < volumes_.size(); ++i) {
        if (map(i).is_full()) {
            const Result<FileSystemStat> stat = replica_.directory(i).stat_file_system();
            if (stat.ok()) {
                progress_.total_bytes += (stat->blocks - stat->blocks_free) * stat->block_size;
            }
            continue;
        }
        std::uint64_t bytes = 0;
        std::size_t count = 0;
        ObjectId object = map(i).next_after(kNoObject);
        for (; !object.is_none() && count < kLookedAtMax; object = map(i).next_after(object)) {
            ++count;
            const DirtyObject* dirty = map(i).find(object);
            if (dirty->content.empty()) continue;
            const Result<Attributes> now = replica_.volume(i).attributes(object);
            if (now.ok()) bytes += dirty->content.bytes(now->stat.size);
        }
        if (count != 0) bytes = bytes / count * map(i).object_count();
        progress_.total_bytes += bytes;
    }
}

Status ResyncSource::on_answers(Bytes payload) noexcept {
    Result<std::vector<ItemAnswer>> answers = decode_answers(payload);
    if (!answers.ok()) return answers.status();
    for (const ItemAnswer& answer : answers.value()) {
        if (outstanding_.empty() || outstanding_.front().number != answer.number) {
            return Status(Code::corrupt);
        }
        Item item = std::move(outstanding_.front());
        outstanding_.pop_front();
        outstanding_bytes_ -= item.bytes;
        GEMEL_TRY(settle(item, answer));
    }
    if (state_ == State::working) schedule();
    return Status();
}

bool ResyncSource::is_settled(std::uint16_t volume, ObjectId object) const noexcept {
    const auto is_open = [&](const Item& item) {
        return item.kind == Item::Kind::check && item.volume == volume && item.object == object;
    };
    return std::none_of(outstanding_.begin(), outstanding_.end(), is_open) &&
           std::none_of(wants_.begin(), wants_.end(), is_open);
}

Status ResyncSource::settle(Item& item, const ItemAnswer& answer) noexcept {
    VolumeState& volume = volumes_[item.volume];
    const bool missing = answer.verdict == Verdict::missing;
    switch (item.kind) {
        case Item::Kind::names:
            if (answer.verdict == Verdict::want) return Status(Code::corrupt);
            if (!missing) break;
            if (answer.missing.empty()) peer_lacks(item.volume, item.object);
            for (const ObjectId id : answer.missing) {
                GEMEL_PROBE("resync: a listing names what the target lacks");
                if (replica_.volume(item.volume).exists(id)) map(item.volume).mark_absent(id);
            }
            map(item.volume).mark_names(item.object);
            return Status();
        case Item::Kind::make:
            if (missing) return Status(Code::corrupt);
            volume.made.erase(item.object);
            expects_new_ = answer.verdict == Verdict::want;
            if (answer.verdict != Verdict::want) break;
            if (item.unlisted) peer_lacks(item.volume, item.object);
            if (map(item.volume).any_content_dirty(item.object)) volume.fresh.insert(item.object);
            break;
        case Item::Kind::check:
            if (answer.verdict == Verdict::want) return want(item, answer);
            if (missing) peer_lacks(item.volume, item.object);
            return Status();
        case Item::Kind::attributes:
        case Item::Kind::content:
            if (answer.verdict == Verdict::want) return Status(Code::corrupt);
            if (missing) peer_lacks(item.volume, item.object);
            break;
    }
    ++progress_.objects_done;
    return Status();
}

// Blocks that were equal at the check stay so: later changes of them are behind it in the stream.
Status ResyncSource::want(Item& item, const ItemAnswer& answer) noexcept {
    if (answer.blocks.size() != item.blocks.size()) return Status(Code::corrupt);
    const std::uint64_t limit = item.offset + item.size;
    for (std::size_t i = 0; i < item.blocks.size(); ++i) {
        if (answer.blocks[i] == item.blocks[i]) continue;
        const std::uint64_t begin = item.offset + i * kChunkBlock;
        const std::uint64_t end = std::min(begin + kChunkBlock, limit);
        if (!item.pieces.empty() && item.pieces.back().end == begin) {
            item.pieces.back().end = end;
        } else {
            item.pieces.push_back({begin, end});
        }
    }
    if (item.pieces.empty()) return Status(Code::corrupt);
    std::vector<Digest128>().swap(item.blocks);
    wants_.push_back(std::move(item));
    return Status();
}

// The map said that the target has it: its copy has been changed by somebody else.
void ResyncSource::peer_lacks(std::uint16_t volume, ObjectId object) noexcept {
    if (!replica_.volume(volume).exists(object)) return;  // gone here too, meanwhile
    GEMEL_PROBE("resync: the target lacks what it should have");
    log_.log(LogLevel::warning,
             "resync: the peer's copy was changed by something else: comparing everything");
    begin_full(volume);
}

void ResyncSource::remark(const Item& item) noexcept {
    DirtyMap& dirty = map(item.volume);
    if (!replica_.volume(item.volume).exists(item.object)) return;  // settled by the names
    switch (item.kind) {
        case Item::Kind::names:
            dirty.mark_names(item.object);
            return;
        case Item::Kind::make:
            dirty.mark_absent(item.object);
            return;
        case Item::Kind::attributes:
            dirty.mark_attributes(item.object);
            // The target may not have cut off what the map, with the size in the stream, took for
            // settled: once the file grows again, that is a difference of content.
            if (item.size != 0) dirty.mark_content(item.object, item.offset, item.size);
            return;
        case Item::Kind::check:
        case Item::Kind::content:
            if (item.pieces.empty()) dirty.mark_content(item.object, item.offset, item.size);
            for (const DirtyRange& piece : item.pieces) {
                dirty.mark_content(item.object, piece.begin, piece.end - piece.begin);
            }
            return;
    }
}

void ResyncSource::on_session_lost() noexcept {
    state_ = State::over;
    progress_.running = false;
    pace_timer_.cancel();
    for (const Item& item : outstanding_) remark(item);
    for (const Item& item : wants_) remark(item);
    outstanding_.clear();
    wants_.clear();
}

void ResyncSource::try_end() noexcept {
    if (!outstanding_.empty() || !wants_.empty() || !all_clean()) return;
    end_number_ = next_number_++;
    frame_.clear();
    encode_number(end_number_, frame_);
    send(FrameType::resync_end);
    state_ = State::ending;
}

Status ResyncSource::on_done(Bytes payload) noexcept {
    const Result<std::uint64_t> number = decode_number(payload);
    if (!number.ok()) return number.status();
    if (state_ != State::ending || number.value() != end_number_) return Status(Code::corrupt);
    state_ = State::settling;
    replica_.hold_answers();
    try_complete();
    return Status();
}

bool ResyncSource::all_clean() noexcept {
    for (std::uint16_t i = 0; i < volumes_.size(); ++i) {
        if (!map(i).empty()) return false;
    }
    return true;
}

void ResyncSource::try_complete() noexcept {
    if (!all_clean()) {
        GEMEL_PROBE("resync: something became different at the end");
        state_ = State::working;
        schedule();
        return;
    }
    if (reporting_ || !replica_.all_acknowledged()) return;
    // In a turn of its own: the owner may drop this object when told, and has to be told at a
    // moment when all this holds.
    reporting_ = true;
    loop_.post([this, alive = alive_] {
        if (!*alive) return;
        reporting_ = false;
        if (state_ != State::settling) return;
        if (!all_clean() || !replica_.all_acknowledged()) {
            try_complete();
            return;
        }
        state_ = State::complete;
        progress_.running = false;
        memory_.full_begun.assign(volumes_.size(), false);
        replica_.report_resync_complete();
    });
}

void ResyncSource::fail(Status reason, const std::string& what) noexcept {
    if (state_ == State::over) return;
    // What is unanswered stays known to the session: on_session_lost marks it again.
    state_ = State::over;
    progress_.running = false;
    loop_.post([this, alive = alive_, reason, what] {
        if (*alive) replica_.fail_locally(reason, what);
    });
}

}  // namespace gemel
