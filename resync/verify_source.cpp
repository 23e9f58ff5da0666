// SPDX-License-Identifier: Apache-2.0
// The source's turns: what is compared next, and when to pause.
#include "resync/verify_source.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"

#include <algorithm>
#include <linux/fs.h>
#include <sys/stat.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::size_t kListBatch = 64;
// Of a block volume, so much is looked for holes at once.
constexpr std::uint64_t kBlockStepMax = 4 * kMiB;
// After so many looks in vain a range of a block volume is claimed: what begins there then waits
// for what is under way.
constexpr unsigned kBusyMax = 16;

std::uint64_t next_multiple(std::uint64_t offset, std::uint64_t unit) noexcept {
    return offset / unit * unit + unit;
}

}  // namespace

VerifySource::VerifySource(Loop& loop, Replica& replica, ResyncProgress& progress,
                           VerifyReport& report, Options options) noexcept
    : loop_(loop),
      replica_(replica),
      progress_(progress),
      report_(report),
      options_(std::move(options)),
      timer_(loop, [this] { work(); }) {
    progress_ = ResyncProgress();
}

VerifySource::~VerifySource() {
    *alive_ = false;
    if (is_running_) progress_.running = false;
}

void VerifySource::start() noexcept {
    GEMEL_ASSERT(!is_running_ && !has_ended_ && replica_.role() == ReplicaRole::primary);
    run_ = loop_.prng().next();
    for (std::uint16_t i = 0; i < replica_.volume_count(); ++i) {
        DirectoryVolume* directory = replica_.volume(i).as_directory();
        walks_.push_back(directory == nullptr ? nullptr : std::make_unique<VerifyWalk>(*directory));
        if (directory == nullptr) contents_.push_back({i, {kBlockObject, S_IFREG, {}, {}}});
    }
    is_running_ = true;
    progress_.running = true;
    progress_.started = refilled_ = loop_.now();
    estimate_total();
    schedule();
}

void VerifySource::estimate_total() noexcept {
    for (std::uint16_t i = 0; i < replica_.volume_count(); ++i) {
        if (BlockVolume* block = replica_.volume(i).as_block(); block != nullptr) {
            progress_.total_bytes += block->size();
            continue;
        }
        const Result<FileSystemStat> stat = directory(i).stat_file_system();
        if (!stat.ok()) continue;
        progress_.total_bytes += (stat->blocks - stat->blocks_free) * stat->block_size;
    }
}

void VerifySource::on_progress() noexcept {
    if (is_running_ && busy_ > 0) schedule();
}

void VerifySource::on_shipped(const Op& op) noexcept {
    if (!is_running_ || (op.kind != OpKind::rename && op.kind != OpKind::link)) return;
    VerifyWalk* walk = walks_[op.volume].get();
    if (walk == nullptr) return;
    if (op.kind == OpKind::link) return walk->moved(op.object, op.parent, op.name);
    walk->moved(op.object, op.new_parent, op.new_name);
    if ((op.flags & RENAME_EXCHANGE) != 0) walk->moved(op.resolved.replaced, op.parent, op.name);
}

void VerifySource::on_session_lost() noexcept {
    claims_ = false;  // ended with the session
    end(VerifyEnd::lost, "the two nodes are not in sync with each other any more");
}

void VerifySource::fail(Status status) noexcept {
    GEMEL_PROBE("verify: the serving node can't read its copy");
    // The owner may drop this object when told.
    loop_.post([this, alive = alive_, status] {
        if (*alive) replica_.note_read_failure(status);
    });
    end(VerifyEnd::failed, "this node's copy could not be read: " + status.to_string());
}

void VerifySource::end(VerifyEnd how, const std::string& why) noexcept {
    if (std::exchange(has_ended_, true)) return;
    is_running_ = false;
    progress_.running = false;
    timer_.cancel();
    if (std::exchange(claims_, false)) replica_.release_claim();
    loop_.post([on_end = options_.on_end, how, why] { on_end(how, why); });
}

// --- Turns ---------------------------------------------------------------------------------------

void VerifySource::schedule() noexcept {
    if (is_scheduled_) return;
    is_scheduled_ = true;
    loop_.post([this, alive = alive_] {
        if (!*alive) return;
        is_scheduled_ = false;
        work();
    });
}

void VerifySource::refill() noexcept {
    const Instant now = loop_.now();
    const std::int64_t elapsed_us = std::min<std::int64_t>((now - refilled_).ns / 1000, 1'000'000);
    if (options_.rate == 0) {
        allowance_ = static_cast<std::int64_t>(kTurnBytes);
        return;
    }
    // Nothing is saved up for later but a turn's worth.
    const auto rate = static_cast<std::int64_t>(std::min(options_.rate, 1024 * kGiB));
    const std::int64_t most = std::max<std::int64_t>(kTurnBytes, rate / 100);
    const std::int64_t fresh = rate * elapsed_us / 1'000'000;
    if (fresh == 0) return;
    allowance_ = std::min(allowance_ + fresh, most);
    refilled_ = now;
}

void VerifySource::wait_for_rate() noexcept {
    if (timer_.is_running()) return;
    const auto rate = static_cast<std::int64_t>(std::max<std::uint64_t>(options_.rate, kKiB));
    const std::int64_t owed = std::max<std::int64_t>(-allowance_, 0) + 1;
    const std::int64_t wait_ms = std::clamp<std::int64_t>(owed / (rate / 1'000 + 1), 1, 1'000);
    timer_.start(Duration::milliseconds(wait_ms));
}

bool VerifySource::may_send() const noexcept {
    return turn_bytes_ < kTurnBytes && items_.size() < kTurnUnits && allowance_ > 0 &&
           outstanding_.size() < kOutstandingMax && replica_.link()->unsent() < kUnsentMax;
}

void VerifySource::work() noexcept {
    if (!is_running_ || replica_.link() == nullptr) return;
    refill();
    turn_bytes_ = 0;
    content_waits_ = false;
    bool busy = true;
    while (busy && is_running_ && may_send()) busy = step();
    if (!is_running_) return;
    flush();
    // Nobody waits for a claim that can't be used now.
    const bool pauses = allowance_ <= 0 || outstanding_.size() >= kOutstandingMax;
    if (claims_ && pauses) {
        claims_ = false;
        replica_.release_claim();
    }
    rate_.update(progress_, loop_.now());
    if (is_finished()) {
        progress_.total_bytes = progress_.done_bytes;
        end(VerifyEnd::complete, {});
    } else if (busy && outstanding_.size() < kOutstandingMax) {
        const bool must_wait = allowance_ <= 0 || replica_.link()->unsent() >= kUnsentMax;
        must_wait ? wait_for_rate() : schedule();
    }
    // Else an answer, or the end of a change, goes on.
}

bool VerifySource::is_finished() const noexcept {
    return volume_ == walks_.size() && met_.empty() && contents_.empty() && name_by_name_.empty() &&
           questions_.empty() && !asked_ && outstanding_.empty() && items_.empty();
}

bool VerifySource::step() noexcept {
    if (!asked_ && !questions_.empty() && ask()) return true;
    if (!is_running_ || questions_.size() > kQuestionsMax) return false;
    if (!contents_.empty() && !content_waits_) {
        if (content_step()) return true;
        if (!is_running_) return false;
        content_waits_ = true;
    }
    // The walk does not run ahead of what it finds.
    if (contents_.size() > kWaitingMax) return false;
    if (!met_.empty()) return object_step();
    if (!name_by_name_.empty() && name_by_name_step()) return true;
    if (!is_running_ || volume_ == walks_.size()) return false;
    return name_by_name_.size() <= kWaitingMax && walk_step();
}

void VerifySource::add(Item item, std::uint64_t cost) noexcept {
    items_.push_back(std::move(item));
    turn_bytes_ += cost;
    allowance_ -= static_cast<std::int64_t>(cost);
}

void VerifySource::flush() noexcept {
    if (items_.empty()) return;
    VerifyCheck check{run_, next_number_++, {}};
    for (Item& item : items_) {
        if (item.unit.kind == VerifyKind::entry) item.unit.name = item.met.name;
        check.units.push_back(item.unit);
    }
    frame_.clear();
    encode_verify_check(check, frame_);
    outstanding_.push_back({check.number, std::exchange(items_, {})});
    replica_.link()->send(FrameType::verify_check, frame_);
    replica_.link()->flush();
}

// --- Steps ---------------------------------------------------------------------------------------

bool VerifySource::walk_step() noexcept {
    VerifyWalk* walk = walks_[volume_].get();
    if (walk == nullptr || walk->is_done()) {
        ++volume_;
        return true;
    }
    found_.clear();
    std::optional<VerifyWalk::Begun> begun;
    const Status status = walk->step(found_, begun);
    if (!status.ok()) {
        fail(status);
        return false;
    }
    turn_bytes_ += found_.size() * kEntryCost;
    allowance_ -= static_cast<std::int64_t>(found_.size() * kEntryCost);
    for (VerifyWalk::Met& met : found_) met_.emplace_back(volume_, std::move(met));
    if (!begun) return true;
    if (!begun->names) {
        GEMEL_PROBE("verify: a directory with many names");
        name_by_name_.push_back({volume_, begun->directory});
        return true;
    }
    Item item;
    item.unit.kind = VerifyKind::names;
    item.unit.volume = volume_;
    item.unit.object = begun->directory.id;
    item.unit.digest = begun->names->digest;
    item.unit.count = begun->names->count;
    item.met.directory = begun->directory;
    add(std::move(item), kEntryCost);
    return true;
}

bool VerifySource::object_step() noexcept {
    auto [volume, met] = std::move(met_.front());
    met_.pop_front();
    const Result<ObjectDescription> now = describe_object(directory(volume), met.object);
    if (!now.ok()) {
        if (is_gone(now.status())) return true;
        fail(now.status());
        return false;
    }
    ++progress_.objects_done;
    if (S_ISREG(now->mode) && now->size != 0) contents_.push_back({volume, met});
    Item item;
    item.unit.volume = volume;
    item.unit.object = met.object;
    item.unit.digest = digest_of(now.value());
    item.met = std::move(met);
    add(std::move(item), kObjectCost);
    return true;
}

bool VerifySource::is_quiet(std::uint16_t volume, std::uint64_t offset,
                            std::uint64_t size) noexcept {
    bool quiet = false;
    if (busy_ <= kBusyMax && !claims_) {
        quiet = replica_.is_content_settled(volume, offset, size);
    } else {
        GEMEL_PROBE("verify: a range of a block volume is claimed");
        quiet = replica_.claim_content(volume, offset, size);
        claims_ = !quiet;
    }
    busy_ = quiet ? 0 : busy_ + 1;
    return quiet;
}

// To where the content may be looked at in this turn; its beginning: nowhere.
std::uint64_t VerifySource::quiet_limit(const Content& content, std::uint64_t limit) noexcept {
    if (walks_[content.volume] != nullptr) return limit;
    const std::uint64_t far = std::min(limit, next_multiple(content.begin, kBlockStepMax));
    if (replica_.is_content_settled(content.volume, content.begin, far - content.begin) &&
        !claims_) {
        busy_ = 0;
        return far;
    }
    const std::uint64_t near = std::min(limit, next_multiple(content.begin, kCheckSizeMax));
    return is_quiet(content.volume, content.begin, near - content.begin) ? near : content.begin;
}

bool VerifySource::content_step() noexcept {
    Content& content = contents_.front();
    Volume& volume = replica_.volume(content.volume);
    const auto give_up = [&](Status status) {
        if (!is_gone(status)) {
            fail(status);
            return false;
        }
        contents_.pop_front();
        return true;
    };
    const Result<Attributes> now = volume.attributes(content.met.object);
    if (!now.ok()) return give_up(now.status());
    const std::uint64_t end = std::min(content.end, now->stat.size);
    if (content.begin >= end || !volume.exists(content.met.object)) {
        contents_.pop_front();
        return true;
    }
    const std::uint64_t limit = quiet_limit(content, end);
    if (limit == content.begin) return false;
    const Result<Fd> file = volume.data_fd(content.met.object);
    if (!file.ok()) return give_up(file.status());
    const Result<std::uint64_t> data = next_data(loop_.vfs(), file.value(), content.begin, limit);
    if (!data.ok()) return give_up(data.status());
    Item item;
    item.unit.volume = content.volume;
    item.unit.object = content.met.object;
    item.unit.offset = content.begin;
    item.met = content.met;
    std::uint64_t to = data.value() == limit ? limit : data.value() / kChunkBlock * kChunkBlock;
    to = std::min(to, next_multiple(content.begin, kVerifyHoleMax));
    if (to > content.begin && !content.is_fine) {
        item.unit.kind = VerifyKind::hole;
        item.unit.size = to - content.begin;
        add(std::move(item), kEntryCost);
    } else {
        to = std::min(limit, next_multiple(content.begin, kCheckSizeMax));
        item.unit.kind = VerifyKind::content;
        item.unit.size = to - content.begin;
        const Status status = read_for_verify(loop_.vfs(), volume, item.unit, chunk_);
        if (!status.ok()) return give_up(status);
        item.unit.digest = chunk_.digest();
        progress_.bytes_compared += item.unit.size;
        add(std::move(item), kObjectCost + chunk_.data.size());
    }
    progress_.done_bytes += to - content.begin;
    content.begin = to;
    // What a file has got behind its end meanwhile has come by ops.
    if (to >= end) contents_.pop_front();
    return true;
}

bool VerifySource::name_by_name_step() noexcept {
    NameByName& names = name_by_name_.front();
    Item item;
    item.unit.volume = names.volume;
    item.unit.object = names.directory.id;
    item.met.directory = names.directory;
    if (!names.theirs_are_done) {
        if (asked_ || !questions_.empty()) return false;
        item.unit.kind = VerifyKind::listing;
        item.unit.position = names.position;
        questions_.push_back(std::move(item));
        return true;
    }
    listed_.clear();
    const Status status =
        directory(names.volume).list(names.directory.id, names.position, kListBatch, listed_);
    if (!status.ok() && !is_gone(status)) {
        fail(status);
        return false;
    }
    if (!status.ok() || listed_.empty()) {
        name_by_name_.pop_front();
        return true;
    }
    names.position = listed_.back().next;
    item.unit.kind = VerifyKind::entry;
    for (const ListedEntry& entry : listed_) {
        if (entry.local || entry.id.is_none()) continue;
        item.unit.entry = entry.id;
        item.met.name = entry.name;
        add(item, kEntryCost);
    }
    return true;
}

}  // namespace gemel
